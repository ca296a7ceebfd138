"""A study that is broken, beside one that nobody disturbed: what was lost, doubled or run again?"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
from polars.testing import assert_frame_equal

from harness.cli.text import columns
from harness.planner import Plan, make_plan
from harness.store import KEYS, SCHEMAS, Store
from harness.study import load_study

END_SECONDS = 600.0  # of a busy machine
APART = ("failures",)
"""Tables that may differ from those of the undisturbed run: they tell of the disturbance."""

Moment = Callable[[], bool]

Begun = Mapping[str, tuple[datetime, int]]
"""When each finished unit began, and in which attempt."""


def repeated(short: int, full: int) -> pytest.MarkDecorator:
    """Give a test its number of injections `times`: few for `make test` (0: left out there), all for `make chaos`."""
    few = [pytest.param(short)] if short else []
    return pytest.mark.parametrize("times", [*few, pytest.param(full, marks=pytest.mark.chaos)])


@dataclass
class Row:
    """A line of the chaos table: what was done how often, and what came of it; all but the last two are counts."""

    fault: str
    injected: int = 0
    lost: int = 0
    doubled: int = 0
    again: int = 0
    failed: int = 0
    equal: bool = True
    seconds: float = 0.0


@dataclass
class Chaos:
    """A study in its own root, to be broken by a test; `reference` is the root of the same study, undisturbed.

    `options` stand behind `harness run STUDY --root ROOT`; `environment` is that of every driver.
    """

    study: Path
    root: Path
    reference: Path
    row: Row
    options: tuple[str, ...] = ("--local",)
    environment: Mapping[str, str] = field(default_factory=dict)
    others: Collection[str] = ()
    """Units of other studies that are in both roots."""
    _known: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    @cached_property
    def plan(self) -> Plan:
        return make_plan(load_study(self.study))

    def start(self) -> subprocess.Popen[str]:
        """Start a driver, as a process of its own in a group of its own."""
        return tiny_study.start("run", self.study, "--root", self.root, *self.options, **self.environment)

    def run(self) -> tiny_study.Answer:
        """Run a driver to its end."""
        process = self.start()
        out, err = process.communicate(timeout=END_SECONDS)
        return tiny_study.Answer(process.returncode, out, err)

    def pending(self) -> set[str]:
        """Return the units whose commits are not yet folded."""
        return {path.stem for path in (self.root / "commits").glob("*.arrow") if "." not in path.stem}

    def leases(self) -> list[Path]:
        """Return what says that a driver runs."""
        return list((self.root / "studies").glob("*.lease"))

    def wait_for(self, count: int, process: subprocess.Popen[str]) -> set[str]:
        """Wait until `count` units are committed, in parts or not, while the driver runs; return those seen."""
        seen = tiny_study.committed(self.root) if self.root.exists() else set()

        def enough() -> bool:
            seen.update(self.pending())
            return len(seen) >= count

        self.wait_until(enough, process)
        return seen

    def wait_until(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Wait until a condition holds, while the driver runs."""
        deadline = time.monotonic() + END_SECONDS
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{len(self.pending())} units are committed and not folded"
            time.sleep(0.002)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """End a driver, and what it has started in its group, at once."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def injected(self, count: int = 1) -> None:
        """Count what was broken."""
        self.row.injected += count

    def note(self, but: Collection[str] = ()) -> None:
        """Take note of what is finished: none of it may be lost or run again, but what is named."""
        self._compare(but)
        self._known |= {unit: when for unit, when in self.begun().items() if unit not in but}

    def begun(self) -> Begun:
        """Return what is finished."""
        units = Store.open(str(self.root)).scan("units").filter(pl.col("status").is_in(("done", "diverged"))).collect()
        return {row["unit"]: (row["started"], row["attempt"]) for row in units.iter_rows(named=True)}

    def settle(self, but: Collection[str] = (), failed: Collection[str] = ()) -> tiny_study.Answer:
        """Run the study once more, to its end, and judge; return what the driver said.

        Args:
            but: units that were finished and had to run again, once: what held them was destroyed.
            failed: units that have to end as failures, in the undisturbed run too.
        """
        answer = self.run()
        assert answer.code == (1 if failed else 0), answer.err
        self._compare(but)
        store = Store.open(str(self.root))
        assert store.committed() == {*self.plan.units, *self.others} - set(failed)
        self.row.doubled += sum(self._doubled(store, table) for table in SCHEMAS)
        causes = store.scan("failures").collect()
        assert set(failed) <= set(causes["unit"])
        assert causes.filter(pl.col("exception").is_null() | pl.col("message").is_null()).is_empty(), causes
        self.row.failed += len(causes)
        differing = list(self._differing())
        self.row.equal &= not differing
        assert not differing, differing
        assert (self.row.lost, self.row.doubled, self.row.again) == (0, 0, 0), self.row
        self._known |= {unit: when for unit, when in self.begun().items() if unit in but}
        return answer

    def _compare(self, but: Collection[str]) -> None:
        now = self.begun()
        known = {unit: when for unit, when in self._known.items() if unit not in but}
        self.row.lost += sum(unit not in now for unit in known)
        self.row.again += sum(unit in now and now[unit] != when for unit, when in known.items())

    def _doubled(self, store: Store, table: str) -> int:
        rows = store.scan(table).collect()
        return len(rows) - rows.select(KEYS[table]).n_unique()

    def _differing(self) -> Iterator[str]:
        expected, found = tiny_study.tables(self.reference), tiny_study.tables(self.root)
        for table in SCHEMAS:
            if table not in APART:
                try:
                    assert_frame_equal(found[table], expected[table], check_exact=True)
                except AssertionError as difference:
                    yield f"{table}: {difference}"


def reached(study: Chaos, count: int) -> Moment:
    """So many units are committed, and a driver has begun."""
    seen = set(study.begun()) if study.root.exists() else set()

    def enough() -> bool:
        seen.update(study.pending())  # what is folded meanwhile counts as well
        return len(seen) >= count and bool(study.leases())

    return enough


def changed(study: Chaos, table: str) -> Moment:
    """A part of a table is written, also the same again."""

    def parts() -> dict[str, int]:
        found = (study.root / "tables" / table).rglob("*.parquet")
        return {str(part): part.stat().st_mtime_ns for part in found}

    before = parts()
    return lambda: parts() != before


def folding(study: Chaos) -> Moment:
    """Some of what is committed is in parts, and still in commits."""
    written = changed(study, "metrics")
    return lambda: written() and bool(study.pending())


def start_on_terminal(study: Chaos) -> tuple[subprocess.Popen[str], int]:
    """Start a driver on a terminal of its own; return that terminal's other end."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [tiny_study.HARNESS, "run", study.study, "--root", study.root, *study.options],
        stdin=its,
        stdout=its,
        stderr=its,
        text=True,
        env=os.environ | study.environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    return process, ours


def session(leader: subprocess.Popen[Any]) -> dict[int, str]:
    """Return what lives of the session that a process leads: what the processes are called, by their ids."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            status = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(status[3]) == leader.pid and status[0] != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return found


def table(rows: Collection[Row]) -> str:
    """Return the chaos table as text: a line a fault, and the sum."""
    heads = ("fault", "injected", "lost", "doubled", "run again", "failures told", "tables equal")
    lines = [*((r.fault, r.injected, r.lost, r.doubled, r.again, r.failed, _yes(r.equal)) for r in rows)]
    sums = [sum(getattr(row, name) for row in rows) for name in ("injected", "lost", "doubled", "again", "failed")]
    lines.append(("all", *sums, _yes(all(row.equal for row in rows))))
    return columns([[str(cell) for cell in line] for line in lines], heads)


def _yes(equal: bool) -> str:
    return "yes" if equal else "NO"


def write(rows: Collection[Row], file: Path) -> None:
    """Write the chaos table as JSON."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
