"""Compacting: fewer parts, the same tables, at any moment and for whoever looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_store import Install, kills, small

from harness.store import Rows, Store
from harness.store.errors import LeaseHeld
from harness.store.parts import Parts

Content = dict[str, list[str]]
MakeRows = Callable[..., Rows]
Read = Callable[[Store], Content]


def fresh(store: Store) -> Store:
    """The same root for a process that has seen nothing yet."""
    return Store(store.uri, store._files, Parts(store._files))


def parts_of(store: Store) -> list[str]:
    return [file.path for file in store._files.find("tables", ".parquet")]


@pytest.fixture
def many(store: Store, make_rows: MakeRows, make_failure: MakeRows) -> Store:
    """Ten folds of three units of three methods; one unit failed before it was done."""
    store.commit_failure("unit-0-0", 1, make_failure("unit-0-0", method="m0"))
    for batch in range(10):
        for number in range(3):
            attempt = 2 if (batch, number) == (0, 0) else 1
            unit, rows = f"unit-{batch}-{number}", {"attempt": attempt, "method": f"m{number}"}
            store.commit(unit, make_rows(unit, value=batch + number / 4, **rows))
        store.fold()
    return store


def test_few_parts_tell_what_many_told(many: Store, content: Read) -> None:
    expected, units = content(many), many.committed()
    paths = parts_of(many)
    before, after = many.compact()
    assert before == len(paths)
    assert after == len(parts_of(many)) < before / 5
    assert content(fresh(many)) == expected
    assert fresh(many).committed() == units
    assert fresh(many).repair() == [], "nothing is damaged, missing or left over"
    assert fresh(many).compact() == (after, after), "once is enough"


def test_what_is_folded_later_joins_it(many: Store, content: Read, make_rows: MakeRows) -> None:
    many.compact()
    many.commit("later", make_rows("later", method="m1", value=99.0))
    expected = content(fresh(many))
    many.fold()
    _, after = fresh(many).compact()
    assert content(fresh(many)) == expected
    assert len([path for path in parts_of(many) if path.startswith("tables/units/")]) == 1
    assert after == len(parts_of(many))


def test_a_unit_that_ended_twice_is_told_as_before(
    root: Path, content: Read, make_rows: MakeRows, disk: Install
) -> None:
    """Two folds may tell of one attempt, where the first was killed before its commits went."""
    store = Store.open(str(root), write=True)
    store.commit("a", small(make_rows("a")))
    for _ in kills(disk, store.fold):
        if parts_of(store):
            break
    store.commit("b", small(make_rows("b")))
    store.fold()
    store.commit("a", small(make_rows("a", attempt=2, value=7.0)))
    store.fold()
    expected = content(fresh(store))
    fresh(store).compact()
    assert content(fresh(store)) == expected


def test_it_may_be_killed_at_any_moment(root: Path, content: Read, make_rows: MakeRows, disk: Install) -> None:
    store = Store.open(str(root), write=True)
    for batch in range(2):
        for number in range(2):
            unit = f"unit-{batch}-{number}"
            store.commit(unit, make_rows(unit, method=f"m{number}", value=batch + number / 4))
        store.fold()
    expected, units, deaths = content(store), store.committed(), 0
    for _ in kills(disk, lambda: fresh(store).compact()):
        deaths += 1
        assert content(fresh(store)) == expected
        assert fresh(store).committed() == units
        assert fresh(store).repair() == [], "what is left over is no damage"
    assert deaths > 10
    assert content(fresh(store)) == expected
    assert len(parts_of(store)) == 1 + 2 * 4, "units; four tables of two methods"


def test_not_while_a_study_runs(many: Store) -> None:
    before = parts_of(many)
    many.write_plan("plan", {"id": "plan", "study": "plan"})
    with many.lease("plan"), pytest.raises(LeaseHeld, match=r"^plan plan is being run; compact the root once it has"):
        fresh(many).compact()
    assert parts_of(many) == before


def test_an_empty_root_has_nothing_to_compact(store: Store) -> None:
    assert store.compact() == (0, 0)
