"""One object per unit: whole or not at all, and never a silent change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from harness.store import SCHEMAS, InvalidRows, Rows, SchemaMismatch, Store, StoreCorrupt, commits
from harness.store.commits import Commit
from harness.store.schemas import COMMITTED, KEYS, is_about_units

UNIT = "0123456789abcdef0123"


def value_of(field: pa.Field) -> object:
    return pa.array([{"int32": 3, "int64": 4, "double": 0.5, "string": field.name}.get(str(field.type))])[0].as_py()


@pytest.mark.parametrize("table", COMMITTED)
def test_every_table_comes_back_as_it_went_in(store: Store, make_rows: Callable[..., Rows], table: str) -> None:
    row = {field.name: value_of(field) for field in SCHEMAS[table]}
    if is_about_units(table):
        row |= {"unit": UNIT, "attempt": 1}
    if table == "units":
        row |= {"status": "done"}
    store.commit(UNIT, {"units": make_rows(UNIT)["units"], table: [row]})
    unfolded = store.scan(table).collect()
    assert unfolded.rows(named=True) == [row]
    assert store.fold() == 1
    assert store.scan(table).collect().equals(unfolded)


def test_a_commit_is_one_object_with_one_row_per_table(root: Path, make_rows: Callable[..., Rows]) -> None:
    rows = make_rows(UNIT)
    Store.open(str(root), write=True).commit(UNIT, rows)
    [path] = [path for path in root.rglob("*") if path.is_file()]
    assert path == root / "commits" / f"{UNIT}.arrow"
    packed = pa.ipc.open_file(path.read_bytes()).read_all()
    assert packed["table"].to_pylist() == list(rows)
    for table, data in zip(packed["table"].to_pylist(), packed["data"].to_pylist(), strict=True):
        stored = pa.ipc.open_stream(data).read_all()
        assert stored.schema == SCHEMAS[table]
        assert len(stored) == len(rows[table])


def test_names_alone_tell_what_is_committed(filled: Store) -> None:
    assert filled.committed() == {"a" * 20, "b" * 20, "c" * 20}
    assert filled.attempts() == {"d" * 20: 1}
    filled.fold()
    assert filled.committed() == {"a" * 20, "b" * 20, "c" * 20}
    assert filled.attempts() == {"d" * 20: 1}


@pytest.mark.parametrize("fold", [False, True])
def test_failures_count_until_the_unit_is_done(
    store: Store, make_rows: Callable[..., Rows], make_failure: Callable[..., Rows], fold: bool
) -> None:
    for attempt in (1, 2):
        store.commit_failure(UNIT, attempt, make_failure(UNIT, attempt=attempt))
        if fold:
            store.fold()
        assert store.attempts() == {UNIT: attempt}
        assert store.committed() == set()
        assert store.scan("units").collect()["status"].to_list() == ["failed"]
    store.commit(UNIT, make_rows(UNIT, attempt=3, status="diverged"))
    if fold:
        store.fold()
    assert store.attempts() == {}
    assert store.committed() == {UNIT}
    assert store.scan("units").collect()["status"].to_list() == ["diverged"]
    assert sorted(store.scan("failures").collect()["attempt"]) == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows | {"units": []}, "needs one row in units with status done or diverged"),
        (lambda rows: rows | {"units": [rows["units"][0] | {"status": "failed"}]}, "needs one row in units"),
        (lambda rows: rows | {"metrics": [rows["metrics"][0] | {"unit": "other"}]}, "is about unit 'other'"),
        (lambda rows: rows | {"metrics": [rows["metrics"][0] | {"attempt": None}]}, "attempt None"),
        (lambda rows: rows | {"metric": []}, "did you mean 'metrics'"),
        (lambda rows: rows | {"rankings": []}, "rankings is a view"),
    ],
)
def test_rows_that_would_be_lost_are_refused(
    store: Store, make_rows: Callable[..., Rows], change: Callable[[Rows], Rows], message: str
) -> None:
    from harness.store import StoreError

    with pytest.raises(StoreError, match=message):
        store.commit(UNIT, change(make_rows(UNIT)))
    assert store.committed() == set()


def test_a_failure_needs_its_row(
    store: Store, make_rows: Callable[..., Rows], make_failure: Callable[..., Rows]
) -> None:
    rows = make_failure(UNIT, attempt=2)
    with pytest.raises(InvalidRows, match="needs one row in failures with attempt 1"):
        store.commit_failure(UNIT, 1, rows)
    with pytest.raises(InvalidRows, match="status other than failed"):
        store.commit_failure(UNIT, 2, {**rows, "units": make_rows(UNIT, attempt=2)["units"]})


@pytest.mark.parametrize("unit", ["", "a/b", "..", "a.1.failed", "a b"])
def test_a_unit_id_is_a_file_name(store: Store, make_rows: Callable[..., Rows], unit: str) -> None:
    with pytest.raises(InvalidRows, match="is no unit id"):
        store.commit(unit, make_rows(unit))


def test_any_altered_byte_is_noticed(root: Path, make_rows: Callable[..., Rows]) -> None:
    store = Store.open(str(root), write=True)
    store.commit(UNIT, {"units": make_rows(UNIT)["units"]})
    path = root / "commits" / f"{UNIT}.arrow"
    whole = path.read_bytes()
    commit = Commit(UNIT, None)

    def refused(data: bytes) -> bool:
        path.write_bytes(data)
        with pytest.raises(StoreCorrupt, match=path.name) as caught:
            commits.read(store._files, commit)
        return "\n" not in str(caught.value)

    mark = whole.rindex(b"harness.digest")
    for at in [*range(0, len(whole), 11), *range(mark - 40, mark + 100)]:
        assert refused(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
    for length in range(0, len(whole), 61):
        assert refused(whole[:length])
    with pytest.raises(StoreCorrupt, match="harness run STUDY repairs it"):
        store.fold()
    with pytest.raises(StoreCorrupt, match="harness run STUDY repairs it"):
        store.scan("units")


def test_a_commit_of_an_older_version_lacks_later_columns(store: Store, make_rows: Callable[..., Rows]) -> None:
    old = pa.table({"unit": ["old"], "kind": ["unlearn"], "attempt": pa.array([1], pa.int32()), "status": ["done"]})
    store._files.write("commits/old.arrow", commits._pack({"units": old}))
    store.commit("new", make_rows("new"))
    for _ in range(2):
        units = store.scan("units").sort("unit").collect()
        assert units["steps"].to_list() == [7, None]
        assert store.committed() == {"old", "new"}
        store.fold()


@pytest.mark.parametrize("table", ["units", "hopes"])
def test_what_a_newer_version_wrote_is_not_folded_away(store: Store, table: str) -> None:
    newer = pa.table({"unit": ["new"], "attempt": pa.array([1], pa.int32()), "charm": [1.0]})
    store._files.write("commits/new.arrow", commits._pack({table: newer}))
    with pytest.raises(SchemaMismatch, match=rf"new.arrow holds {table}.(charm|unit), unknown here"):
        store.fold()
    assert store.committed() == {"new"}


def test_a_unit_that_finishes_twice_is_there_once(store: Store, make_rows: Callable[..., Rows]) -> None:
    """A driver that took a worker for dead lets the unit run again; both may come back, in any order."""
    for order in ((1, 2), (2, 1)):
        unit = hashlib.sha256(repr(order).encode()).hexdigest()[:20]
        for attempt in order:
            store.commit(unit, make_rows(unit, attempt=attempt, value=attempt / 8))
            store.fold([unit])
        for table in ("units", "metrics", "epochs", "signals", "hyperparameters"):
            rows = store.scan(table).filter(unit=unit).collect()
            assert set(rows["attempt"]) == {2}
            assert not rows.select(KEYS[table]).is_duplicated().any()
