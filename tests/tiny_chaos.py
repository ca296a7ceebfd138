"""A study that is broken, beside one that nobody disturbed: what was lost, doubled or run again?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

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

    def wait_for(self, count: int, process: subprocess.Popen[str]) -> set[str]:
        """Wait until `count` units are committed, in parts or not, while the driver runs; return those seen."""
        seen = tiny_study.committed(self.root) if self.root.exists() else set()
        deadline = time.monotonic() + END_SECONDS
        while len(seen) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{len(seen)} of {count} units"
            seen |= self.pending()
            time.sleep(0.002)
        return seen

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
            but: units that were finished and had to run again: what held them was destroyed.
            failed: units that have to end as failures, in the undisturbed run too.
        """
        answer = self.run()
        assert answer.code == (1 if failed else 0), answer.err
        self._compare(but)
        store = Store.open(str(self.root))
        assert store.committed() == self.plan.units.keys() - set(failed)
        self.row.doubled += sum(self._doubled(store, table) for table in SCHEMAS)
        causes = store.scan("failures").collect()
        assert set(failed) <= set(causes["unit"])
        assert causes.filter(pl.col("exception").is_null() | pl.col("message").is_null()).is_empty(), causes
        self.row.failed += len(causes)
        differing = list(self._differing())
        self.row.equal &= not differing
        assert not differing, differing
        assert (self.row.lost, self.row.doubled, self.row.again) == (0, 0, 0), self.row
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
