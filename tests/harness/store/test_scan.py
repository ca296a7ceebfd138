"""Reading: unique keys, explicit columns, no silent holes; and other people's readers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store import SCHEMAS, Rows, Store, StoreCorrupt, UnknownTable
from harness.store.files import Files
from harness.store.schemas import polars_schema

TEXT = ["digits", "fashion_mnist@10000", "a/b c=ü%25", "", None, "..", "2020-01-01", "7"]


@pytest.mark.parametrize("table", SCHEMAS)
def test_an_empty_table_has_its_columns(tmp_path: Path, store: Store, table: str) -> None:
    for empty in (store, Store.open(str(tmp_path / "nowhere"))):
        frame = empty.scan(table).collect()
        assert frame.schema == polars_schema(table)
        assert frame.height == 0


def test_an_unknown_table_is_refused_with_the_nearest_name(store: Store) -> None:
    with pytest.raises(UnknownTable, match="did you mean 'epochs'"):
        store.scan("epoch")


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),  # unit
            st.integers(1, 3),  # attempt
            st.booleans(),  # failed
            st.sampled_from([None, ["a"], ["b"], ["a", "b"]]),  # what is folded afterwards
        ),
        max_size=7,
    )
)
def test_the_newest_attempt_wins_whatever_was_folded_when(
    tmp_path_factory: pytest.TempPathFactory,
    make_rows: Callable[..., Rows],
    make_failure: Callable[..., Rows],
    history: list[tuple[str, int, bool, list[str] | None]],
) -> None:
    """Against a model of two dictionaries. An attempt of one number ends in one way."""
    store = Store.open(str(tmp_path_factory.mktemp("root")), write=True)
    done: dict[str, int] = {}
    ended: dict[tuple[str, int], bool] = {}
    pending: dict[str, int] = {}
    for unit, attempt, failed, folded in history:
        if ended.setdefault((unit, attempt), failed) != failed:
            continue
        if failed:
            store.commit_failure(unit, attempt, make_failure(unit, attempt=attempt))
        else:
            store.commit(unit, make_rows(unit, attempt=attempt, value=attempt / 8))
            pending[unit] = attempt  # a commit replaces one of the same unit that was not yet folded
        if folded is not None:
            store.fold(folded)
            for one in folded:
                done[one] = max(done.get(one, 0), pending.pop(one, 0))
    finished = {unit: max(done.get(unit, 0), pending.get(unit, 0)) for unit in "ab"}
    finished = {unit: attempt for unit, attempt in finished.items() if attempt}
    failures = {unit: max((n for (u, n), bad in ended.items() if u == unit and bad), default=0) for unit in "ab"}

    assert store.committed() == finished.keys()
    assert store.attempts() == {unit: n for unit, n in failures.items() if n and unit not in finished}
    units = store.scan("units").collect()
    newest = {unit: finished.get(unit, failures[unit]) for unit in "ab" if finished.get(unit) or failures[unit]}
    assert dict(units.select("unit", "attempt").rows()) == newest
    assert units.height == len(newest)
    metrics = store.scan("metrics").collect()
    assert dict(metrics.select("unit", "value").rows()) == {unit: n / 8 for unit, n in finished.items()}
    assert metrics.height == 2 * len(finished)


def test_filters_and_columns_reach_the_files(filled: Store) -> None:
    """Else a question about one method would read every signal of the root."""
    filled.fold()
    wanted = filled.scan("signals").filter(pl.col("method") == "ct", pl.col("pool") == "val").select("unit", "n")
    _, _, files = wanted.explain().partition("Parquet SCAN")
    assert 'col("method")' in files
    assert 'col("pool")' in files
    assert f"/{len(SCHEMAS['signals'])} COLUMNS" in files
    assert wanted.collect().rows() == [("b" * 20, 5)]


def test_an_older_part_reads_null_in_later_columns(root: Path, make_rows: Callable[..., Rows]) -> None:
    store = Store.open(str(root), write=True)
    store.commit("new", make_rows("new"))
    store.fold()
    old = pa.table({"unit": ["old"], "attempt": pa.array([1], pa.int32()), "status": ["done"]})
    pq.write_table(old, root / "tables" / "units" / "part-0123.parquet")
    assert store.scan("units").sort("unit").collect()["steps"].to_list() == [7, None]
    assert store.committed() == {"old", "new"}


@pytest.mark.parametrize("table", ["units", "signals"])
def test_any_altered_byte_of_a_part_is_noticed(root: Path, make_rows: Callable[..., Rows], table: str) -> None:
    store = Store.open(str(root), write=True)
    store.commit("a", make_rows("a"))
    store.fold()
    [path] = (root / "tables" / table).rglob("*.parquet")
    whole = path.read_bytes()

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with pytest.raises(StoreCorrupt, match=re.escape(str(path))) as caught:
            Store.open(str(root)).scan(table)
        assert "\n" not in str(caught.value)

    mark = whole.rindex(b"harness.digest")
    for at in [*range(0, len(whole), 11), *range(mark - 40, mark + 100)]:
        check(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
    for length in range(0, len(whole), 211):
        check(whole[:length])


def test_a_part_that_is_damaged_later_is_noticed_too(root: Path, make_rows: Callable[..., Rows]) -> None:
    store = Store.open(str(root), write=True)
    store.commit("a", make_rows("a"))
    store.fold()
    assert store.committed() == {"a"}
    [path] = (root / "tables" / "units").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    for table in ("units", "metrics"):
        with pytest.raises(StoreCorrupt, match=rf"{path.name} is damaged: .*; harness run STUDY repairs it"):
            store.scan(table)
    [line] = store.ended().damage
    assert path.name in line
    assert (store.committed(), store.attempts()) == (set(), {})


def test_a_part_of_an_object_store_is_fetched_once(
    bucket: Store, make_rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    read = Files.read
    monkeypatch.setattr(Files, "read", lambda self, path: fetched.append(path) or read(self, path))
    for number in range(3):
        bucket.commit(f"u{number}", make_rows(f"u{number}"))
        bucket.fold()
        fetched.clear()
        for _ in range(2):
            assert bucket.scan("metrics").collect()["unit"].n_unique() == number + 1
        assert [path.split("/")[1] for path in fetched] == ["units", "metrics"]


def test_temporary_files_are_never_read(filled: Store, content: Callable[[Store], object]) -> None:
    filled.fold()
    before = content(filled), filled.committed(), filled.plans()
    for path in (
        "commits/.x.tmp",
        "commits/.x.arrow",
        "tables/.x.tmp",
        "tables/units/.x.parquet",
        "studies/.x.json",
    ):
        filled._files.write(path, b"torn")
    assert (content(filled), filled.committed(), filled.plans()) == before


def test_other_readers_read_the_same(root: Path, make_rows: Callable[..., Rows]) -> None:
    """DuckDB and polars, with and without the folders as columns, for values that are no file names."""
    store = Store.open(str(root), write=True)
    for number, text in enumerate(TEXT):
        store.commit(f"u{number}", make_rows(f"u{number}", dataset=text, method=text))
    store.fold()
    columns = ["unit", "dataset", "method", "part", "value"]
    expected = sorted(store.scan("metrics").select(columns).collect().rows(), key=repr)
    assert {row[1] for row in expected} == set(TEXT)

    parts = f"{root}/tables/metrics/**/*.parquet"
    for hive in ("true", "false"):
        answer = duckdb.sql(f"select {', '.join(columns)} from read_parquet('{parts}', hive_partitioning={hive})")
        assert sorted(answer.fetchall(), key=repr) == expected
    for frame in (
        pl.scan_parquet(root / "tables" / "metrics"),
        pl.scan_parquet(root / "tables" / "metrics", hive_partitioning=False),
        pl.scan_parquet(parts, hive_partitioning=True),
    ):
        assert sorted(frame.select(columns).collect().rows(), key=repr) == expected
    phi = duckdb.sql(f"select phi from read_parquet('{root}/tables/signals/**/*.parquet') where pool = 'val'")
    assert phi.fetchall() == [([0.5] * 5,)] * len(TEXT)
