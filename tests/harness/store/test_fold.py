"""A fold may die at any moment, and nobody who reads can tell."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_store import Install, kills, small

from harness.store import SCHEMAS, Rows, Store
from harness.store import files as files_module
from harness.store import fold as fold_module
from harness.store.schemas import PARTITIONS, SCHEMA_VERSION

Content = dict[str, list[str]]


@pytest.fixture
def pending(root: Path, make_rows: Callable[..., Rows], make_failure: Callable[..., Rows]) -> Store:
    """Units in parts and in commits, of two methods, and a unit that failed before it was done."""
    store = Store.open(str(root), write=True)
    store.commit("a" * 20, small(make_rows("a" * 20)))
    store.commit_failure("d" * 20, 1, make_failure("d" * 20))
    store.fold()
    store.commit("b" * 20, small(make_rows("b" * 20, method="ct")))
    store.commit("d" * 20, small(make_rows("d" * 20, attempt=2)))
    store.commit_failure("e" * 20, 1, make_failure("e" * 20))
    return store


def known(store: Store, content: Callable[[Store], Content]) -> tuple[object, ...]:
    return content(store), store.committed(), store.attempts()


def test_a_fold_that_dies_anywhere_changes_nothing_that_is_read(
    pending: Store,
    root: Path,
    make_rows: Callable[..., Rows],
    content: Callable[[Store], Content],
    disk: Install,
) -> None:
    expected = known(pending, content)
    pending.commit("f" * 20, small(make_rows("f" * 20)))
    later = known(pending, content)
    (root / "commits" / f"{'f' * 20}.arrow").unlink()
    saved = root.with_name("saved")
    shutil.copytree(root, saved)

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        Store.open(str(root), write=True).fold()

    deaths = 0
    for _ in kills(disk, again):
        deaths += 1
        store = Store.open(str(root), write=True)
        assert known(store, content) == expected
        store.commit("f" * 20, small(make_rows("f" * 20)))  # work goes on before somebody folds again
        store.fold()
        assert known(store, content) == later
        assert store.fold() == 0
    assert deaths > 20
    assert not list(root.glob("commits/*.arrow"))


def test_a_commit_that_dies_anywhere_is_there_or_not(
    root: Path, make_rows: Callable[..., Rows], content: Callable[[Store], Content], disk: Install
) -> None:
    store = Store.open(str(root), write=True)
    none = known(store, content)
    store.commit("a" * 20, make_rows("a" * 20))
    whole = known(store, content)
    (root / "commits" / f"{'a' * 20}.arrow").unlink()
    seen = []
    for _ in kills(disk, lambda: store.commit("a" * 20, make_rows("a" * 20))):
        seen.append(known(store, content))
    assert [none in (one,) for one in seen] == sorted((none == one for one in seen), reverse=True)
    assert all(one in (none, whole) for one in seen)
    assert none in seen
    assert whole in seen


def test_readers_see_the_same_at_every_moment_of_a_fold(
    pending: Store, content: Callable[[Store], Content], disk: Install
) -> None:
    expected = known(pending, content)
    reader = Store.open(pending.uri)
    disk(lambda _: None if known(reader, content) == expected else pytest.fail("a reader saw something else"))
    assert pending.fold() == 3
    assert known(reader, content) == expected


def test_a_reader_that_lists_commits_before_they_are_folded_misses_nothing(
    pending: Store, content: Callable[[Store], Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing is old when the files are read: the whole fold happens in between."""
    from harness.store import commits

    expected = content(pending)
    reader, find = Store.open(pending.uri), commits.find

    def find_then_fold(files: files_module.Files) -> list[commits.Commit]:
        found = find(files)
        monkeypatch.setattr(commits, "find", find)
        pending.fold()
        monkeypatch.setattr(commits, "find", find_then_fold)
        return found

    monkeypatch.setattr(commits, "find", find_then_fold)
    assert content(reader) == expected


def test_units_are_written_last_and_commits_go_after_them(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(files_module.Files, "write", lambda self, path, data: steps.append(f"write {path}"))
    monkeypatch.setattr(files_module.Files, "delete", lambda self, path: steps.append(f"delete {path}"))
    assert filled.fold() == 3
    kinds = [step.split("/")[1] if step.startswith("write") else "delete" for step in steps]
    assert kinds[-4:] == ["units", "delete", "delete", "delete"]
    assert "units" not in kinds[:-4]


def test_only_the_named_units_are_folded(filled: Store, content: Callable[[Store], Content]) -> None:
    before = known(filled, content)
    assert filled.fold(["b" * 20, "d" * 20, "not there"]) == 2
    assert [file.name for file in filled._files.find("commits", ".arrow")] == [f"{'c' * 20}.arrow"]
    assert known(filled, content) == before


@pytest.mark.parametrize("bound", ["number", "bytes"])
def test_many_commits_are_folded_in_batches(
    bound: str,
    store: Store,
    make_rows: Callable[..., Rows],
    content: Callable[[Store], Content],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(8):
        store.commit(f"{number:020}", small(make_rows(f"{number:020}")))
    if bound == "number":
        monkeypatch.setattr(fold_module, "BATCH", 3)
    else:
        sizes = [file.size for file in store._files.find("commits", ".arrow")]
        monkeypatch.setattr(fold_module, "BATCH_BYTES", 3 * max(sizes))
        assert max(sizes) < 4 / 3 * min(sizes)
    before = content(store)
    assert store.fold() == 8
    assert len(store._files.find("tables/units", ".parquet")) == 3
    assert content(store) == before


def test_parts_are_sealed_zstd_with_the_columns_of_their_folders(filled: Store, root: Path) -> None:
    filled.fold()
    for file in filled._files.find("tables", ".parquet"):
        table = file.path.split("/")[1]
        data = pq.ParquetFile(io.BytesIO(filled._files.read(file.path)))
        assert data.schema_arrow.equals(SCHEMAS[table])
        assert data.metadata.metadata[b"harness.schema_version"] == str(SCHEMA_VERSION).encode()
        assert file.path.count("=") == len(PARTITIONS.get(table, ()))
        columns = [data.metadata.row_group(0).column(at) for at in range(data.metadata.num_columns)]
        assert {column.compression for column in columns} == {"ZSTD"}
        phi = [column for column in columns if column.path_in_schema == "phi.list.element"]
        assert [("BYTE_STREAM_SPLIT" in column.encodings, column.has_dictionary_page) for column in phi] == (
            [(True, False)] if table == "signals" else []
        )


def test_the_same_commits_make_the_same_parts(root: Path, make_rows: Callable[..., Rows]) -> None:
    paths = []
    for name in ("one", "two"):
        store = Store.open(str(root / name), write=True)
        for unit in ("a", "b"):
            store.commit(unit, make_rows(unit))
        store.fold()
        paths.append({file.path: store._files.read(file.path) for file in store._files.find("tables", ".parquet")})
    assert paths[0] == paths[1]
