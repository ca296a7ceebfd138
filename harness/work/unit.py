"""One attempt at one unit: do it, commit its rows; or commit why it failed."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Literal, TypeVar

from harness.engine.device import prepare
from harness.errors import HarnessError
from harness.origin import Chosen, NoUsableTrial
from harness.process.interrupt import Stopped
from harness.store import LeaseLost, RootInvalid, RootNotWritable
from harness.unit import KeepModels, Kind, Unit, keeps_model
from harness.work.attack import attack_trial
from harness.work.bench import Workbench
from harness.work.compare import compare_trial
from harness.work.contained import contained
from harness.work.farm import run_on_shadow, train_shadow, train_shadows
from harness.work.kinds import Outcome, make_artifact, run_method, train_original
from harness.work.output import captured
from harness.work.probe import probe_trial
from harness.work.relearn import relearn_trial
from harness.work.rows import Attempt, failure_rows, result_rows
from harness.work.warm import warm_up

T = TypeVar("T")
Status = Literal["done", "diverged", "failed"]
MESSAGE_CHARACTERS = 300

ROOT_FAILED = (RootInvalid, RootNotWritable, LeaseLost)
"""What is raised where the root cannot be read or written, or is no longer this driver's."""


class SharedChanged(HarnessError):
    """The code of a unit changed data or weights that other units count on."""


def perform(
    unit: Unit,
    bench: Workbench,
    attempt: int = 1,
    keep_models: KeepModels = "original",
    limit: AbstractContextManager[None] | None = None,
    show: bool = False,
) -> Status:
    """Run a unit and commit it; return its status. `limit` is around the work alone, never around a commit.

    Whatever a method raises, `SystemExit` included, becomes a failure row. Only a Ctrl-C passes, and what says that the
    root fails, as on a full disk, which is no fault of the unit: nothing of it is then written, and it runs again. What
    a method changes in its process is put back, what it started is ended, and what it changed of what units share is
    made anew; `bench.spoiled` says what of it was impossible. What it prints is kept with a failure, the end of it;
    with `show` it also goes to standard error, no more than a person can read.
    """
    if unit.kind == Kind.TIMING:
        _warm_up_once(unit, bench)
    tried = Attempt(unit, bench, attempt)
    prepare(bench.device, bench.deterministic)
    try:
        outcome = _alone(tried, lambda: _outcome(tried), limit or nullcontext(), show)
        return _commit(tried, outcome, keep_models)
    except BaseException as error:
        if _passes(error):
            raise
        bench.store.commit_failure(unit.id, attempt, failure_rows(tried, error))
        return "failed"


def perform_together(
    units: Sequence[Unit],
    bench: Workbench,
    attempts: Sequence[int],
    keep_models: KeepModels = "original",
    limit: AbstractContextManager[None] | None = None,
    show: bool = False,
) -> list[Status] | None:
    """Train shadows at once and commit each; return their statuses. They are as `train_shadows` takes them.

    None, and one line of warning, where that did not work: each is then to be performed by itself, which tells why if
    the fault is its own. What passes is what passes from `perform`.
    """
    tried = [Attempt(unit, bench, number, together=len(units)) for unit, number in zip(units, attempts, strict=True)]
    prepare(bench.device, bench.deterministic)
    first = tried[0]
    try:
        work = partial(train_shadows, units, bench, first.enter)
        outcomes = _alone(first, work, limit or nullcontext(), show)
        return [_commit(one, outcome, keep_models) for one, outcome in zip(tried, outcomes, strict=True)]
    except BaseException as error:
        if _passes(error):
            raise
        about = f"{units[0].architecture.name} on {units[0].dataset.label}"
        why = " ".join(f"{type(error).__name__}: {error}".split())[:MESSAGE_CHARACTERS]
        warnings.warn(f"shadows of {about} are trained one after the other, not at once: {why}", stacklevel=2)
        return None


def _commit(attempt: Attempt, outcome: Outcome, keep_models: KeepModels) -> Status:
    attempt.enter("commit")
    rows = result_rows(attempt, outcome, _keep(attempt, outcome, keep_models))
    attempt.bench.store.commit(attempt.unit.id, rows)
    status: Status = rows["units"][0]["status"]
    return status


def _alone(attempt: Attempt, work: Callable[[], T], limit: AbstractContextManager[None], show: bool) -> T:
    """Do the work of a unit so that no other unit feels it."""
    bench, changed = attempt.bench, list[str]()
    with captured(show) as attempt.output:
        try:
            with contained() as left, limit:
                outcome = work()
        finally:
            changed = bench.changed()
            bench.spoiled += left
    if not attempt.output.intact:
        bench.spoiled.append("standard input, output and error")
    if changed:
        attempt.enter("check")
        name, what = attempt.unit.method.name, " and ".join(changed)
        raise SharedChanged(f"method {name!r} changed in place what other units share: {what}; it may change a copy")
    return outcome


def _passes(error: BaseException) -> bool:
    """Whether what was raised says nothing about the unit."""
    return _is_ctrl_c(error) or isinstance(error, ROOT_FAILED)


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether a person has asked to stop; a method may raise KeyboardInterrupt, too."""
    if isinstance(error, Stopped):
        return True
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _warm_up_once(unit: Unit, bench: Workbench) -> None:
    key = (unit.dataset.label, unit.architecture.name, unit.recipe.precision)
    if key not in bench.warm:
        with suppress(Exception):  # the unit itself will fail, and say so
            warm_up(unit, bench)
        bench.warm.add(key)


def _outcome(attempt: Attempt) -> Outcome:
    unit = attempt.unit
    if isinstance(unit.origin, Chosen) and unit.drawn is None:
        search = unit.origin.search
        seeds = f"{len(search.seeds)} seed{'s' if len(search.seeds) > 1 else ''}"
        tried = f"{search.trials} suggestions of {search.sampler} on {seeds}"
        raise NoUsableTrial(f"no trial of the search ({tried}) is usable; see the failures of its units")
    if unit.kind == Kind.ORIGINAL:
        return train_original(unit, attempt.bench, attempt.enter)
    if unit.kind == Kind.ARTIFACT:
        return make_artifact(unit, attempt.bench, attempt.enter)
    if unit.kind == Kind.SHADOW:
        return train_shadow(unit, attempt.bench, attempt.enter)
    if unit.kind.of_farm:
        return run_on_shadow(unit, attempt.bench, attempt.enter)
    if unit.kind == Kind.RELEARN:
        return relearn_trial(unit, attempt.bench, attempt.enter)
    if unit.kind == Kind.ATTACK:
        return attack_trial(unit, attempt.bench, attempt.enter)
    if unit.kind == Kind.COMPARE:
        return compare_trial(unit, attempt.bench, attempt.enter)
    if unit.kind == Kind.PROBE:
        return probe_trial(unit, attempt.bench, attempt.enter)
    return run_method(unit, attempt.bench, attempt.enter)


def _keep(attempt: Attempt, outcome: Outcome, keep_models: KeepModels) -> str | None:
    """Save the weights before the commit, so that what is committed can always be started from."""
    unit = attempt.unit
    if not (unit.is_start or keeps_model(unit, keep_models)):
        return None
    return attempt.bench.store.save_model(attempt.unit.id, outcome.model.state_dict())
