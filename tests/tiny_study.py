"""A study of the digits that runs in seconds, and the command line as a person uses it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from harness.cli import main
from harness.planner import Plan, make_plan
from harness.store import SCHEMAS, Store
from harness.study import load_study

HARNESS = Path(sys.executable).with_name("harness")
TINY: Mapping[str, Any] = {
    "name": "tiny",
    "question": "Does it run?",
    "datasets": ["digits"],
    "architectures": ["cnn_small"],
    "scenarios": ["random:0.1"],
    "methods": ["finetune", "ct"],
    "seeds": 2,
    "recipe": {"epochs": 1},
    "farm": {"shadows": 4, "pools": {"canary": {"size": 40, "labels": "random"}, "clean": {"size": 40}}},
}
GOLDEN = "tiny-a5234aa6"
"""The plan that results were stored under: where it changes, everything that was ever run is run again."""
PLAIN: Mapping[str, Any] = {key: value for key, value in TINY.items() if key != "farm"} | {
    "name": "plain",
    "seeds": 1,
    "measures": ["accuracy"],
}
"""Without a farm and without timing: an original, a retrain, and three trials."""

PASSING = (
    *("seconds", "work_seconds", "host", "started", "attempt", "peak_memory", "device_memory"),
    *("median", "sd", "memory", "last"),
)
"""Columns that differ between two runs of one study."""
TIMED = ("seconds", "run_time_efficiency", "time_ratio")
"""Metrics that are measured times, or follow from them."""


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stderr."""
        return self.err.splitlines()


def write_study(folder: Path, study: Mapping[str, Any] = TINY, **changes: Any) -> Path:
    """Write a study file with some keys changed (None: left out) and return its path."""
    content = {key: value for key, value in {**study, **changes}.items() if value is not None}
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return path


def plan_of(folder: Path, study: Mapping[str, Any] = TINY, **changes: Any) -> Plan:
    """Return the plan of a study with some keys changed."""
    return make_plan(load_study(write_study(folder, study, **changes)))


def harness(*args: object, stream: type[io.StringIO] = io.StringIO) -> Answer:
    """Run a command in this process, through the function behind the `harness` script; `stream` takes what it says."""
    out, err, argv = stream(), stream(), sys.argv
    sys.argv = ["harness", *map(str, args)]
    code: int | str | None = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = argv
    assert isinstance(code, int)
    return Answer(code, out.getvalue(), err.getvalue())


def start(*args: object, **environment: str) -> subprocess.Popen[str]:
    """Start the `harness` script as a process of its own, in a process group of its own."""
    return subprocess.Popen(
        [HARNESS, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )


def script(*args: object, **environment: str) -> Answer:
    """Run the `harness` script to its end."""
    process = start(*args, **environment)
    out, err = process.communicate()
    return Answer(process.returncode, out, err)


def committed(root: Path) -> set[str]:
    """Return the ids of the finished units of a root."""
    return Store.open(str(root)).committed()


def tables(root: Path) -> dict[str, pl.DataFrame]:
    """Return every table of a root in one order, without what differs between two runs."""
    store = Store.open(str(root))
    return {name: _settled(store.scan(name).collect()) for name in SCHEMAS}


def _settled(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.drop(PASSING, strict=False)
    if "metric" in rows.columns:
        rows = rows.filter(~pl.col("metric").is_in(TIMED))
    keys = [name for name, dtype in rows.schema.items() if dtype.is_(pl.String) or dtype.is_integer()]
    return rows.sort(keys)
