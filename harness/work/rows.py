"""The rows that a unit leaves behind."""

from __future__ import annotations

import json
import math
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.engine.device import describe, peak_memory
from harness.engine.models import count_parameters, finite
from harness.farm import Query
from harness.pricing.costs import epochs_of
from harness.unit import Unit
from harness.version import __version__, commit
from harness.work.attacked import Signal
from harness.work.bench import Workbench
from harness.work.kinds import Outcome
from harness.work.output import Output
from harness.work.setting import spec_of
from harness.work.sheets import as_png

NAME_CHARACTERS, MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS = 200, 2_000, 20_000

Row = dict[str, Any]
Rows = dict[str, list[Row]]


@dataclass
class Attempt:
    """One attempt at a unit: when and where it runs, and in which phase it is."""

    unit: Unit
    bench: Workbench
    number: int
    phase: str = "start"
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    since: float = field(default_factory=time.perf_counter)
    together: int = 1
    """How many units the worker does at once: each takes its share of the seconds."""
    output: Output | None = None
    """What its code printed, for the row of a failure."""

    def enter(self, phase: str) -> None:
        """Note the phase, for the row of a failure."""
        self.phase = phase

    @property
    def columns(self) -> Row:
        """The identity columns of every row."""
        return self.unit.columns() | {"attempt": self.number}

    def elapsed(self) -> float:
        """Seconds of wall time since the attempt began, or the unit's share of them."""
        return (time.perf_counter() - self.since) / self.together


def result_rows(attempt: Attempt, outcome: Outcome, digest: str | None) -> Rows:
    """Return all rows of a unit that came to its end; a diverged model is a result, null where it has no value."""
    status = "done" if _is_sound(outcome) else "diverged"
    unit_row = _unit_row(attempt, status) | {
        "work_seconds": outcome.seconds,
        "steps": outcome.steps,
        "parameters": count_parameters(outcome.model),
        "peak_memory": peak_memory(attempt.bench.device),
        "model": digest,
        "epochs": epochs_of(attempt.unit),
    }
    rows: Rows = {
        "units": [unit_row],
        "hyperparameters": list(_hyperparameters(attempt)),
        "metrics": list(_metrics(attempt, outcome)),
        "epochs": [
            attempt.columns
            | {"epoch": record.epoch, "loss": _number(record.loss), "learning_rate": record.learning_rate}
            | record.measured
            | {"steps": record.steps}
            for record in outcome.curves
        ],
        "traces": [
            attempt.columns | {"epoch": record.epoch, "name": name, "values": values.reshape(-1).numpy()}
            for record in outcome.curves
            for name, values in record.recorded.items()
        ],
    }
    if outcome.sheets:
        rows["sheets"] = [
            attempt.columns | {"name": name, "images": len(images), "png": as_png(images)}
            for name, images in outcome.sheets.items()
        ]
    if outcome.signals:
        rows["signals"] = [_signal(attempt, *asked, signal) for asked, signal in outcome.signals.items()]
    return rows


def failure_rows(attempt: Attempt, error: BaseException) -> Rows:
    """Return the rows of a failed attempt: its cause, and the unit's status."""
    failure = attempt.columns | {
        "phase": attempt.phase,
        "exception": " ".join(_said(lambda: type(error).__name__).split())[:NAME_CHARACTERS],
        "message": _said(lambda: str(error))[:MESSAGE_CHARACTERS],
        "traceback": _traceback(error, attempt.output.tail if attempt.output else ""),
        "device_memory": peak_memory(attempt.bench.device),
        "host": socket.gethostname(),
        "started": attempt.started,
    }
    return {"units": [_unit_row(attempt, "failed")], "failures": [failure]}


def _traceback(error: BaseException, printed: str) -> str:
    """Return the frames of an exception and of its causes, and what was printed; the middle of a long one is left out,
    with long messages."""
    text, most = _said(lambda: "".join(traceback.format_exception(error))), TRACEBACK_CHARACTERS // 2
    text = text if len(text) <= 2 * most else f"{text[:most]}\n[...]\n{text[-most:]}"
    return f"{text}\n{_storable(printed)}" if printed else text


def _said(say: Callable[[], str]) -> str:
    """Return what an exception says: its class is code of a method, too, and may fail in turn."""
    try:
        return _storable("".join((say(),)))
    except BaseException as failed:
        return f"the exception cannot say what is wrong: {type(failed).__name__} in its own class"


def _storable(text: str) -> str:
    """Return a text without lone surrogates, as in the name of a file that is not UTF-8: no table can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _unit_row(attempt: Attempt, status: str) -> Row:
    return attempt.columns | {
        "status": status,
        "hyperparameters": json.dumps(_values(attempt.unit), sort_keys=True),
        "seconds": attempt.elapsed(),
        "device": describe(attempt.bench.device),
        "share": 1.0,
        "host": socket.gethostname(),
        "started": attempt.started,
        "versions": _versions(attempt.bench.deterministic),
        "together": attempt.together,
    }


def _values(unit: Unit) -> dict[str, Any]:
    return {} if unit.kind.from_scratch else spec_of(unit).complete(unit.hyperparameters)


def _hyperparameters(attempt: Attempt) -> Iterator[Row]:
    for name, value in _values(attempt.unit).items():
        is_text = isinstance(value, str)
        yield attempt.columns | {
            "name": name,
            "number": None if is_text else float(value),
            "text": value if is_text else None,
        }


def _metrics(attempt: Attempt, outcome: Outcome) -> Iterator[Row]:
    def row(part: str, metric: str, value: float | None) -> Row:
        return attempt.columns | {"part": part, "metric": metric, "value": _number(value)}

    for part, evaluation in outcome.evaluations.items():
        yield row(part, "accuracy", evaluation.accuracy)
        yield row(part, "loss", evaluation.loss)
    for (part, metric), value in outcome.numbers.items():
        yield row(part, metric, value)


def _signal(attempt: Attempt, pool: str, query: Query, signal: Signal) -> Row:
    return attempt.columns | {
        "pool": pool,
        "query": query,
        "phi": signal.phi.astype(np.float32),
        "member": _members(signal),
        "n": len(signal.phi),
    }


def _members(signal: Signal) -> NDArray[Any]:
    """Return the members [n] as they are stored: null where an image is in neither world."""
    if signal.known is None:
        return signal.member
    members = signal.member.astype(object)
    members[~signal.known] = None
    return members


def _is_sound(outcome: Outcome) -> bool:
    phis = [evaluation.phi for evaluation in outcome.evaluations.values()]
    phis += [signal.phi for signal in outcome.signals.values()]
    return finite(outcome.model) and all(np.isfinite(phi).all() for phi in phis)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@cache
def _versions(deterministic: bool) -> str:
    packages = {name: version(name) for name in ("torch", "torchvision", "numpy", "scikit-learn")}
    own = {"harness": __version__, "commit": commit()}
    if deterministic:
        own["deterministic"] = "yes"
    return json.dumps(packages | {name: text for name, text in own.items() if text}, sort_keys=True)
