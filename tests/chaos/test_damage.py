"""Files of a root are torn, emptied, altered or deleted: the next run says which, and makes again what they told."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import tiny_study
from tiny_chaos import Chaos, repeated
from tiny_store import HOW, deleted, emptied, flipped, torn

from harness.store import Store
from harness.store.parts import Part
from harness.store.schemas import VIEWS, is_about_units

How = Callable[[bytes, random.Random], bytes | None]
AUDITED: dict[str, Any] = {
    "methods": ["finetune", "ct"],
    "seeds": 1,
    "search": {"trials": 2, "sampler": "random"},
    "farm": {"shadows": 2, "pools": {"canary": {"size": 40, "labels": "random"}}},
    "measures": ["accuracy", "population_mia", "ulira"],
}
"""With every table but `failures` and `sheets`."""


def break_(path: Path, how: How, luck: random.Random) -> None:
    data = how(path.read_bytes(), luck)
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


def finished(chaos: Callable[..., Chaos], **changes: Any) -> Chaos:
    """A study that ran to its end, undisturbed."""
    study = chaos(**changes)
    shutil.copytree(study.reference, study.root)
    study.note()
    return study


def parts_of(study: Chaos) -> dict[str, list[Path]]:
    """The parts of each table."""
    tables = sorted(path for path in (study.root / "tables").iterdir() if path.is_dir())
    found = {table.name: sorted(table.rglob("*.parquet")) for table in tables}
    return {table: parts for table, parts in found.items() if parts}


def told_by(study: Chaos, path: Path) -> set[str]:
    """The finished units that are told of in a part."""
    store = Store.open(str(study.root))
    part = store._parts.read()[str(path.relative_to(study.root))]
    assert isinstance(part, Part)
    return {unit for unit, _ in store._parts.told(part)} & store.committed() if is_about_units(part.table) else set()


def to_run_without(study: Chaos, lost: set[str]) -> set[str]:
    """What runs if some units are lost: they, and what made weights that they start from and that are gone."""
    store = Store.open(str(study.root))
    return {unit.id for unit in study.plan.remaining(store.committed() - lost, store.models())}


def rounds(study: Chaos, times: int, luck: random.Random) -> Iterator[dict[str, Path]]:
    """Yield a part of each of three tables, in turn those of all tables, until there were so many."""
    tables = sorted(parts_of(study))
    luck.shuffle(tables)
    for start in range(0, times, 3):
        parts = parts_of(study)
        chosen = [tables[number % len(tables)] for number in range(start, min(start + 3, times))]
        yield {table: luck.choice(parts[table]) for table in chosen}


def readers_refuse(study: Chaos, table: str, path: Path) -> None:
    """Who asks is told which file it is and what repairs it; `status` answers."""
    asked = tiny_study.harness("query", f"select * from {table}", "--root", study.root)
    assert asked.code == 2, asked
    assert len(asked.lines) == 1
    assert "harness run STUDY repairs it" in asked.err
    assert path.name in asked.err or path.exists()  # another one may be named first
    assert tiny_study.harness("status", "--root", study.root).code == 0


def aside(study: Chaos, path: Path) -> set[Path]:
    """What was set aside of the name of a part."""
    return set((study.root / "damaged" / path.parent.relative_to(study.root)).glob(f"{path.name}*"))


def untold(table: str, gone: Collection[str]) -> bool:
    """Whether nothing tells that a part is gone: each run makes it anew, or what kept account of it is gone too."""
    return table in VIEWS or table == "definitions" or "units" in gone


def damage_parts(study: Chaos, how: How, times: int) -> None:
    luck = random.Random(times)
    for chosen in rounds(study, times, luck):
        lost = to_run_without(study, set().union(*(told_by(study, path) for path in chosen.values())))
        before = {table: aside(study, path) for table, path in chosen.items()}  # a batch may have lost others of it
        for path in chosen.values():
            break_(path, how, luck)
            study.injected()
        quiet = {table for table in chosen if how is deleted and untold(table, chosen)}
        for table in chosen.keys() - quiet:
            readers_refuse(study, table, chosen[table])
        answer = study.settle(but=lost)
        named = {table for table, path in chosen.items() if path.name in answer.err}
        assert named | quiet == chosen.keys(), answer.err
        for table, path in chosen.items():
            new = aside(study, path) - before[table]
            assert bool(new) == (how is not deleted), (table, new)
        assert study.row.failed == 0
    assert study.run().code == 0


@repeated(short=0, full=12)
def test_parts_are_torn(times: int, chaos: Callable[..., Chaos]) -> None:
    """Parts of tables torn at a random byte."""
    damage_parts(finished(chaos, **AUDITED), torn, times)


@repeated(short=0, full=12)
def test_parts_are_emptied(times: int, chaos: Callable[..., Chaos]) -> None:
    """Parts of tables emptied."""
    damage_parts(finished(chaos, **AUDITED), emptied, times)


@repeated(short=1, full=12)
def test_bits_of_parts_are_flipped(times: int, chaos: Callable[..., Chaos]) -> None:
    """Parts of tables with a bit flipped."""
    damage_parts(finished(chaos, **(AUDITED if times > 1 else {})), flipped, times)


@repeated(short=0, full=12)
def test_parts_are_deleted(times: int, chaos: Callable[..., Chaos]) -> None:
    """Parts of tables deleted."""
    damage_parts(finished(chaos, **AUDITED), deleted, times)


def killed_when(study: Chaos, moment: Callable[[set[str]], bool]) -> None:
    """Run a driver until what is committed and not yet folded is enough; take note of what is finished."""
    process = study.start()
    study.wait_until(lambda: moment(study.pending()), process)
    study.kill(process)


@repeated(short=0, full=4)
def test_commits_are_damaged(times: int, chaos: Callable[..., Chaos]) -> None:
    """Commits torn, emptied, altered and deleted, after the driver was killed."""
    study, luck = chaos(), random.Random(1)
    lost = set[str]()
    for number in range(times):
        before = study.pending()
        killed_when(study, lambda pending, before=before: len(pending - before) > 1)  # type: ignore[misc]
        study.note(lost)
        path = luck.choice(sorted((study.root / "commits").glob("*.arrow")))
        break_(path, HOW[number % len(HOW)], luck)
        study.injected()
        lost.add(path.stem)
    study.settle(but=lost)
    aside = {path.name.partition(".")[0] for path in (study.root / "damaged" / "commits").iterdir()}
    assert aside <= lost
    assert study.row.failed == 0


@repeated(short=0, full=4)
def test_weights_are_damaged(times: int, chaos: Callable[..., Chaos]) -> None:
    """Weights torn, emptied, altered and deleted that what is left starts from."""
    study, luck = chaos(), random.Random(2)
    last = [unit.id for unit in study.plan.units.values() if unit.kind == "original"][-1]
    path = study.root / "models" / f"{last}.safetensors"
    for number in range(times):
        how = HOW[number % len(HOW)]
        shutil.rmtree(study.root, ignore_errors=True)
        study._known.clear()
        killed_when(study, lambda pending: last in pending)
        study.note()
        assert path.exists()
        break_(path, how, luck)
        study.injected()
        answer = study.settle(but={last})
        assert (path.name in answer.err) == (how is not deleted), answer.err
        assert study.row.failed == 0  # what needs the weights waited for them


@repeated(short=0, full=8)
def test_plans_and_leases_are_damaged(times: int, chaos: Callable[..., Chaos]) -> None:
    """Plans and leases torn, emptied, altered and deleted, after the driver was killed."""
    study, luck = chaos(), random.Random(3)
    for number in range(times):
        process = study.start()
        study.wait_for(min(number + 1, len(study.plan.units) - 1), process)
        study.kill(process)
        study.note()
        plan, lease = (study.root / "studies" / f"{study.plan.id}.{suffix}" for suffix in ("json", "lease"))
        path = (plan, lease)[number // 4 % 2]
        break_(path, HOW[number % 4], luck)
        study.injected()
        status = tiny_study.harness("status", "--root", study.root)
        assert status.code == 0
        assert HOW[number % 4] is deleted or path.name in status.err
    study.settle()
    assert tiny_study.harness("status", "--root", study.root).err == ""


@repeated(short=0, full=1)
def test_everything_is_damaged(times: int, chaos: Callable[..., Chaos]) -> None:
    """Every single file of a root at once."""
    study, luck = finished(chaos), random.Random(4)
    folders = ("tables", "models", "studies")
    for path in sorted(path for folder in folders for path in (study.root / folder).rglob("*") if path.is_file()):
        break_(path, luck.choice(HOW), luck)
        study.injected()
    study.settle(but=set(study.plan.units))
