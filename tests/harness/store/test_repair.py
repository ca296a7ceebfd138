"""What is damaged goes aside, what only it told is not finished any more, and everything else stays as it was."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_store import HOW, Install, Killed, deleted, flipped, installer, kills, small, torn

from harness.store import SCHEMAS, Row, Rows, Store, StoreCorrupt, commits
from harness.store import parts as parts_module
from harness.store.parts import Part, Parts
from harness.store.processes import exists

Content = dict[str, list[str]]
MakeRows = Callable[..., Rows]
Read = Callable[[Store], Content]

UNITS = {"a" * 20: "finetune", "b" * 20: "finetune", "c" * 20: "ct", "d" * 20: "scrub"}
TABLES = ("units", "hyperparameters", "metrics", "epochs", "signals")


def break_(store: Store, path: str, how: Callable[..., bytes | None], seed: int = 0) -> None:
    data = how(store._files.read(path), random.Random(seed))
    store._files.delete(path)
    if data is not None:
        store._files.write(path, data)


def fresh(store: Store) -> Store:
    """The same root for a process that has seen nothing yet."""
    return Store(store.uri, store._files, Parts(store._files))


def files_of(store: Store, folder: str = "") -> list[str]:
    return [file.path for file in store._files.find(folder, "")]


def part_of(store: Store, table: str, unit: str) -> str:
    """The part that tells of a unit."""
    for file in store._files.find(f"tables/{table}", ".parquet"):
        rows = fresh(store)._parts.load(fresh(store)._parts.check(file))
        if unit in rows["unit"].to_pylist():
            return file.path
    raise AssertionError(f"no {table} of {unit}")


def of_units(content: Content, units: set[str]) -> Content:
    """What of a content is about some units."""
    return {table: [row for row in rows if any(unit in row for unit in units)] for table, rows in content.items()}


def filled(store: Store, make_rows: MakeRows, make_failure: MakeRows) -> Store:
    """Four units of three methods and a failed attempt, folded at once; one of another fold."""
    for unit, method in UNITS.items():
        store.commit(unit, make_rows(unit, method=method))
    store.commit_failure("e" * 20, 1, make_failure("e" * 20))
    store.fold()
    store.commit("f" * 20, make_rows("f" * 20))
    store.fold()
    return store


@pytest.fixture
def folded(request: pytest.FixtureRequest, root: Path, make_rows: MakeRows, make_failure: MakeRows) -> Store:
    """What is `filled`, on the disk; with the parameter `bucket`, in an object store."""
    in_bucket = getattr(request, "param", "") == "bucket"
    store: Store = request.getfixturevalue("bucket") if in_bucket else Store.open(str(root), write=True)
    return filled(store, make_rows, make_failure)


CASES = [
    *(("folder", table, how) for table in TABLES for how in HOW),
    *(("bucket", *case) for case in (("units", torn), ("metrics", flipped), ("signals", deleted))),
]


@pytest.mark.parametrize(("folded", "table", "how"), CASES, indirect=["folded"])
def test_a_unit_runs_again_if_one_of_its_parts_is_lost_and_no_other_does(
    folded: Store, make_rows: MakeRows, content: Read, table: str, how: Callable[..., bytes | None]
) -> None:
    everything, path = content(folded), part_of(folded, table, "c" * 20)
    break_(folded, path, how)
    lost = set(UNITS) if table == "units" else {"c" * 20}

    if (table, how) == ("units", deleted):  # nobody who reads can tell: these units are not finished
        assert fresh(folded).committed() == {"f" * 20}
    else:
        wrong = rf"{re.escape(path)} is (damaged: .*|missing); harness run STUDY repairs it"
        with pytest.raises(StoreCorrupt, match=wrong):
            fresh(folded).scan(table)
    if how is deleted and table != "units":
        with pytest.raises(StoreCorrupt, match=rf"{re.escape(path)} is missing; harness run STUDY repairs it"):
            fresh(folded).scan("units")
        assert fresh(folded).ended().damage
        assert fresh(folded).committed() == {*UNITS, "f" * 20} - lost

    lines = fresh(folded).repair()
    assert len(lines) == 1
    assert path in lines[0]
    assert "\n" not in lines[0]
    whole = {*UNITS, "e" * 20, "f" * 20} - lost - ({"e" * 20} if table == "units" else set())
    for _ in range(2):
        store = fresh(folded)
        assert store.committed() == whole - {"e" * 20}
        assert content(store) == of_units(everything, whole)
        assert (store.ended().damage, store.repair()) == ([], [])
    aside = files_of(store, "damaged")
    assert (f"damaged/{path}" in aside) == (how is not deleted)

    for unit in sorted(lost):
        store.commit(unit, make_rows(unit, method=UNITS[unit]))
    store.fold()
    if table == "units":
        everything = of_units(everything, {*UNITS, "f" * 20})
    assert content(fresh(folded)) == everything
    assert raw_rows_are_unique(folded)


def raw_rows_are_unique(store: Store) -> bool:
    """Whether who reads the parts without this package sees nothing twice."""
    for table in TABLES:
        parts = fresh(store)._parts
        rows = [row for file in parts.find(table) for row in map(repr, parts.load(parts.check(file)).to_pylist())]
        if len(rows) != len(set(rows)):
            return False
    return True


def test_everything_damaged_at_once_leaves_an_empty_root_and_says_so(folded: Store, content: Read) -> None:
    paths = files_of(folded, "tables")
    for number, path in enumerate(paths):
        break_(folded, path, HOW[number % 3], number)
    lines = fresh(folded).repair()
    assert sorted(line.partition(" is damaged")[0].partition("tables/")[2] for line in lines) == sorted(
        path.partition("/")[2] for path in paths
    )
    assert not any(content(fresh(folded)).values())
    assert sorted(files_of(folded, "damaged")) == [f"damaged/{path}" for path in paths]


def test_what_is_damaged_twice_is_kept_twice(folded: Store, make_rows: MakeRows) -> None:
    for _ in range(3):
        path = part_of(folded, "metrics", "c" * 20)
        break_(folded, path, torn)
        fresh(folded).repair()
        folded.commit("c" * 20, make_rows("c" * 20, method="ct"))
        folded.fold()
    aside = files_of(folded, "damaged/tables/metrics")
    assert len(aside) == len(set(aside)) >= 3


def test_a_damaged_commit_goes_aside_and_its_unit_runs_again(store: Store, make_rows: MakeRows, content: Read) -> None:
    for unit in ("a", "b", "c"):
        store.commit(unit, make_rows(unit))
    whole = of_units(content(store), {"'a'", "'c'"})
    break_(store, "commits/b.arrow", flipped)
    with pytest.raises(StoreCorrupt, match=r"commits/b.arrow is damaged.*; harness run STUDY repairs it"):
        store.fold()
    [line] = fresh(store).repair()
    assert "commits/b.arrow is damaged" in line
    assert store.committed() == {"a", "c"}
    assert store.fold() == 2
    assert content(fresh(store)) == whole
    assert files_of(store, "damaged") == ["damaged/commits/b.arrow"]


def test_a_damaged_plan_goes_aside_and_the_others_are_read(store: Store) -> None:
    store.write_plan("one", {"study": "one", "id": "one"})
    store.write_plan("two", {"study": "two", "id": "two"})
    document = store._files.read("studies/two.json")
    store._files.write("studies/two.json", document.replace(b"two", b"twp", 1))
    with pytest.raises(StoreCorrupt, match=r"two.json is damaged: its digest does not match"):
        store.studies()
    told: list[StoreCorrupt] = []
    assert [plan.id for plan in store.outlines(None, told.append)] == ["one"]
    assert "two.json" in str(told[0])
    assert "two.json" in store.repair()[0]
    assert [plan["id"] for plan in store.studies()] == ["one"]
    store._files.write("studies/old.json", b'{\n  "study": "old",\n  "id": "old"\n}')  # of an older version
    assert [plan["id"] for plan in store.studies()] == ["old", "one"]


def test_damaged_weights_go_aside_if_they_are_needed(store: Store) -> None:
    for unit in ("a", "b", "c"):
        store.save_model(unit, {"weight": torch.arange(100.0)})
    for unit in ("a", "c"):
        break_(store, f"models/{unit}.safetensors", flipped)
    [line] = store.repair_models(["a", "b", "never made"])
    assert re.search(r"models/a.safetensors is damaged: .*; it is in .*/damaged now$", line)
    assert [store.has_model(unit) for unit in ("a", "b", "c")] == [False, True, True]
    assert files_of(store, "damaged") == ["damaged/models/a.safetensors"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("before", [False, True])
def test_roots_of_older_versions_are_read_get_an_account_and_heal(
    root: Path,
    make_rows: MakeRows,
    make_failure: MakeRows,
    content: Read,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[..., bytes | None],
    before: bool,
) -> None:
    encode, store = parts_module.encode, Store.open(str(root), write=True)
    with monkeypatch.context() as patch:  # as parts were written before
        patch.setattr(parts_module, "encode", lambda schema, rows, **_: encode(schema, rows))
        for unit, method in UNITS.items():
            store.commit(unit, make_rows(unit, method=method))
            if unit.startswith("b"):
                store.commit_failure("e" * 20, 1, make_failure("e" * 20))
                store.fold()
        store.fold()
    everything, path = content(store), part_of(store, "metrics", "c" * 20)
    if before and how is deleted:
        return  # nobody can tell
    if before:
        break_(store, path, how)
    else:
        assert store.repair() == []
        assert content(fresh(store)) == everything
        break_(store, path, how)
    [line] = fresh(store).repair()
    assert path in line
    assert fresh(store).committed() == set(UNITS) - {"c" * 20}
    assert fresh(store).attempts() == {"e" * 20: 1}
    assert content(fresh(store)) == of_units(everything, {*UNITS, "e" * 20} - {"c" * 20})


def test_an_account_cannot_lead_out_of_the_root(root: Path, make_rows: MakeRows) -> None:
    store = Store.open(str(root), write=True)
    for unit in ("a", "b"):
        store.commit(unit, make_rows(unit))
    store.fold()
    outside = root.parent / "outside.parquet"
    outside.write_bytes(b"mine")
    [units] = (root / "tables" / "units").rglob("*.parquet")
    rows = pq.read_table(units)
    for hostile in ("../outside.parquet", "tables/../../outside.parquet", str(outside), "commits/a.arrow", "tables//x"):
        units.write_bytes(parts_module.encode(SCHEMAS["units"], rows, beside={hostile: [0]}))
        assert fresh(store).committed() == set()
        assert any(f"{units.name} is damaged" in line for line in fresh(store).repair())
        assert outside.read_bytes() == b"mine"
        assert fresh(store).repair() == []


@pytest.mark.parametrize("beside", ["[]", '{"x": 1}', '{"x": [2]}', '{"x": [-1]}', '{"x": [[0]]}', "{", "[" * 10**5])
def test_an_account_that_is_none_is_damage(root: Path, make_rows: MakeRows, beside: str) -> None:
    store = Store.open(str(root), write=True)
    store.commit("a", make_rows("a"))
    store.fold()
    [units] = (root / "tables" / "units").rglob("*.parquet")
    rows = pq.read_table(units).replace_schema_metadata({parts_module.BESIDE: beside})
    pq.write_table(rows, units)
    with pytest.raises(StoreCorrupt, match=f"{units.name} is damaged") as caught:
        fresh(store).scan("units")
    assert len(str(caught.value)) < 2000
    assert fresh(store).committed() == set()


def test_of_two_rows_of_one_attempt_the_same_batch_wins_in_every_table(store: Store, make_rows: MakeRows) -> None:
    """Two drivers ran one unit at the same time: what is read is one of the two, never a mixture."""
    for number in range(6):
        for value in (0.25, 0.75):
            store.commit("u", make_rows("u", value=value))
            store.commit(f"v{number}-{value > 0.5}", make_rows(f"v{number}-{value > 0.5}"))
            store.fold()
        own = pl.col("unit") == "u"
        seconds = store.scan("units").filter(own).collect()["seconds"].to_list()
        assert seconds == store.scan("metrics").filter(own).collect()["value"].unique().to_list()
        assert seconds == store.scan("hyperparameters").filter(own, name="lr").collect()["number"].to_list()


def test_the_number_of_the_last_attempt_is_that_of_whatever_ended(
    store: Store, make_rows: MakeRows, make_failure: MakeRows
) -> None:
    for unit, attempts in (("done", 3), ("failed", 2)):
        for attempt in range(1, attempts):
            store.commit_failure(unit, attempt, make_failure(unit, attempt=attempt))
    store.commit("done", make_rows("done", attempt=3))
    for _ in range(2):
        assert store.last_attempts() == {"done": 3, "failed": 1}
        store.fold()


def test_temporary_files_of_writers_that_are_gone_are_removed(root: Path) -> None:
    store = Store.open(str(root), write=True)
    digits, host = "0" * 32, os.uname().nodename
    dead = 2**22 - 1  # no process of this machine
    assert not exists(dead)

    def leave(folder: str, name: str, age: float) -> Path:
        path = root / folder / name
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
        return path

    gone = [
        leave("commits", f".{host}.{dead}.{digits}.tmp", 100),
        leave("models", f".{host}.{os.getpid()}.{digits}.tmp", 90_000),
        leave("tables", f".elsewhere.1.{digits}.tmp", 90_000),
        leave("studies", f".{digits}.tmp", 90_000),
    ]
    kept = [
        leave("commits", f".{host}.{dead}.{'1' * 32}.tmp", 10),
        leave("models", f".{host}.{os.getpid()}.{'1' * 32}.tmp", 3600),
        leave("tables", f".elsewhere.1.{'1' * 32}.tmp", 3600),
        leave("studies", f".{'1' * 32}.tmp", 3600),
        leave("logs", "a.log", 90_000),
    ]
    assert store.repair() == []
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


@pytest.fixture
def hurt(root: Path, make_rows: MakeRows, make_failure: MakeRows) -> Store:
    """Two folds, of which each has lost a part; commits, one of them damaged; and a damaged view."""
    store = Store.open(str(root), write=True)
    for unit, method in UNITS.items():
        store.commit(unit, small(make_rows(unit, method=method)))
        if unit.startswith("b"):
            store.fold()
    store.commit_failure("e" * 20, 1, make_failure("e" * 20))
    store.fold()
    for unit in ("f" * 20, "g" * 20):
        store.commit(unit, small(make_rows(unit)))
    break_(store, part_of(store, "metrics", "c" * 20), deleted)
    break_(store, part_of(store, "units", "a" * 20), torn)
    break_(store, f"commits/{'f' * 20}.arrow", torn)
    return store


def told(store: Store) -> Content:
    """The rows of the tables that `hurt` has, as sorted text."""
    return {table: sorted(map(repr, store.scan(table).collect().rows())) for table in ("units", "metrics", "failures")}


HEALED = {"d" * 20, "g" * 20}
"""What is whole in `hurt`."""


def test_a_repair_that_dies_anywhere_is_repeated(hurt: Store, root: Path, disk: Install) -> None:
    saved = root.with_name("saved")
    shutil.copytree(root, saved)
    hurt.repair()
    expected = told(fresh(hurt))
    assert fresh(hurt).committed() == HEALED

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        fresh(hurt).repair()

    deaths = 0
    for _ in kills(disk, again):
        deaths += 1
        fresh(hurt).repair()
        assert told(fresh(hurt)) == expected
        assert fresh(hurt).committed() == HEALED
        fresh(hurt).fold()
        assert told(fresh(hurt)) == expected
        assert fresh(hurt).repair() == []
    assert deaths > 10


def test_readers_see_what_is_whole_at_every_moment_of_a_repair(hurt: Store, disk: Install) -> None:
    seen = []
    disk(lambda _: seen.append(fresh(hurt).committed()))
    hurt.repair()
    assert all(units - {"f" * 20} == HEALED for units in seen)  # by its name alone, one seems to be committed
    assert len(seen) > 10


def test_a_repair_at_any_moment_of_a_fold_changes_nothing(root: Path, make_rows: MakeRows, disk: Install) -> None:
    """Of another driver, whose plan shares the root."""
    store, moments = Store.open(str(root), write=True), 0
    while True:
        shutil.rmtree(root)
        store = Store.open(str(root), write=True)
        for unit in ("a", "b"):
            store.commit(unit, small(make_rows(unit, method=unit)))
        expected, lines = told(store), list[list[str]]()

        def before(count: int, at: int = moments, lines: list[list[str]] = lines, store: Store = store) -> None:
            if count == at:
                lines.append(fresh(store).repair())

        disk(before)
        store.fold()
        assert lines in ([], [[]])
        assert told(fresh(store)) == expected
        assert fresh(store).committed() == {"a", "b"}
        if not lines:
            break
        moments += 1
    assert moments > 15


def test_a_fold_at_any_moment_of_a_repair_loses_nothing(
    hurt: Store, root: Path, make_rows: MakeRows, disk: Install
) -> None:
    saved, moments = root.with_name("saved"), 0
    shutil.copytree(root, saved)
    while True:
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        folded: list[int] = []

        def before(count: int, at: int = moments, folded: list[int] = folded) -> None:
            if count == at and not folded:
                folded.append(0)
                other = fresh(hurt)
                other.commit("h" * 20, small(make_rows("h" * 20)))
                folded.append(other.fold(["g" * 20, "h" * 20]))

        disk(before)
        fresh(hurt).repair()
        if not folded:
            break
        assert folded == [0, 2]
        assert fresh(hurt).committed() == {*HEALED, "h" * 20}
        assert fresh(hurt).repair() == []
        assert fresh(hurt).scan("metrics").collect()["unit"].n_unique() == 3
        moments += 1
    assert moments > 10


def test_drivers_that_repair_at_once_lose_nothing(hurt: Store, content: Read) -> None:
    barrier, told = threading.Barrier(4), []

    def start() -> None:
        barrier.wait()
        told.append(Store.open(hurt.uri, write=True).repair())

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, told)) == [0, 0, 0, 3]
    assert fresh(hurt).committed() == HEALED
    assert {row for row in content(fresh(hurt))["metrics"] if "'metrics'" in row} == set()


def test_what_an_interrupted_fold_left_behind_goes_without_a_word(
    root: Path, make_rows: MakeRows, content: Read, disk: Install
) -> None:
    store = Store.open(str(root), write=True)
    store.commit("a", small(make_rows("a")))
    for at in kills(disk, store.fold):
        if files_of(store, "tables/metrics"):
            break
        assert at < 100
    store.commit("b", small(make_rows("b")))
    expected = content(store)
    store.fold()
    assert len(files_of(store, "tables/metrics")) == 2
    assert content(fresh(store)) == expected
    assert fresh(store).repair() == []
    assert len(files_of(store, "tables/metrics")) == 1
    assert content(fresh(store)) == expected
    assert raw_rows_are_unique(store)


def complete(store: Store, finished: dict[str, int], make_rows: MakeRows) -> bool:
    """Whether the tables hold all that was committed in these attempts of units, and nothing else."""
    expected: dict[str, list[Row]] = {"units": [], "metrics": []}
    for unit, attempt in finished.items():
        for table, rows in small(make_rows(unit, attempt=attempt, value=attempt / 8, method=unit)).items():
            expected[table] += [{name: value for name, value in row.items() if name != "started"} for row in rows]
    found = {table: store.scan(table).collect().select(list(rows[0])) for table, rows in expected.items() if rows}
    return all(
        sorted(map(repr, found[table].rows(named=True))) == sorted(map(repr, expected[table])) for table in found
    )


def holders(store: Store) -> dict[str, set[tuple[str, int]]]:
    """Return by path the units and attempts that a file tells of; nothing of what cannot be read."""
    files, parts = store._files, fresh(store)._parts
    found = {
        file.path: set(parts.told(part)) for file in parts.find() if isinstance(part := parts._outcome(file), Part)
    }
    for commit in commits.find(files):
        with contextlib.suppress(StoreCorrupt):
            rows = commits.read(files, commit) or {}
            found[commit.path] = {(commit.unit, rows["units"]["attempt"][0].as_py())}
    return found


STEPS = st.one_of(
    st.tuples(st.just("run"), st.sets(st.sampled_from("abcd"), min_size=1)),
    st.tuples(st.just("fold"), st.integers(0, 40)),
    st.tuples(st.just("damage"), st.integers(0, 10**6)),
)


@given(st.lists(STEPS, min_size=2, max_size=10))
def test_no_damage_takes_what_it_did_not_touch_and_nothing_half_is_finished(
    tmp_path_factory: pytest.TempPathFactory, make_rows: MakeRows, steps: list[tuple[str, Any]]
) -> None:
    """Drivers run units, fold (some are killed in the middle), and files are damaged, in any order."""
    store = Store.open(str(tmp_path_factory.mktemp("root")), write=True)
    whole: dict[str, int] = {}  # the attempt of every unit that nothing has touched
    for step, argument in [*steps, ("run", set())]:
        if step == "run":
            store.repair()
            committed, last = store.committed(), store.last_attempts()
            assert committed >= whole.keys()
            finished = dict(store.scan("units").collect().select("unit", "attempt").rows())
            assert finished.keys() == committed
            assert complete(store, finished, make_rows)
            for unit in sorted(argument - committed):
                whole[unit] = last.get(unit, 0) + 1
                rows = make_rows(unit, attempt=whole[unit], value=whole[unit] / 8, method=unit)
                store.commit(unit, small(rows))
        elif step == "fold":
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed, StoreCorrupt):
                die_at(argument, installer(patch))
                fresh(store).fold()
        else:
            files = holders(store)
            if files:
                path = sorted(files)[argument % len(files)]
                for unit, attempt in files[path]:
                    if whole.get(unit) == attempt:
                        del whole[unit]
                break_(store, path, HOW[argument % 4], argument)
        nothing_half(fresh(store), make_rows)


def die_at(moment: int, install: Install) -> None:
    def before(count: int) -> None:
        if count == moment:
            raise Killed

    install(before)


def nothing_half(store: Store, make_rows: MakeRows) -> None:
    """Who reads is refused, or finds every unit that is finished with all its rows."""
    with contextlib.suppress(StoreCorrupt):
        store.scan("metrics")
        assert complete(store, dict(store.scan("units").select("unit", "attempt").collect().rows()), make_rows)


def test_a_fold_that_dies_anywhere_before_a_file_is_damaged_costs_what_that_file_told(
    root: Path, make_rows: MakeRows, disk: Install
) -> None:
    saved, luck, lost = root.with_name("saved"), random.Random(0), 0
    store = Store.open(str(root), write=True)
    for unit in "abc":
        store.commit(unit, small(make_rows(unit, value=1 / 8, method=unit)))
        if unit == "a":
            store.fold()
    shutil.copytree(root, saved)

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        fresh(store).fold()

    for at in kills(disk, again):
        files = holders(store)
        path = luck.choice(sorted(files))
        break_(store, path, HOW[at % 4], at)
        touched = {unit for unit, _ in files[path]}
        nothing_half(fresh(store), make_rows)
        fresh(store).repair()
        assert fresh(store).committed() >= set("abc") - touched
        assert complete(fresh(store), dict.fromkeys(fresh(store).committed(), 1), make_rows)
        lost += fresh(store).committed() < set("abc")
    assert at >= 20
    assert 0 < lost < at  # what is in a part and still in a commit survives either
