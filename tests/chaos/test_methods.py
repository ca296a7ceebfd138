"""Methods that misbehave: each is a failure with its cause, or does no harm; and no other unit feels it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_chaos import Chaos, repeated

from harness import registry
from harness.contracts import DATASETS, METHODS
from harness.store import Store

PLUGINS = (Path(__file__).parent / "plugin", Path(__file__).parents[1] / "harness" / "schedule" / "plugin")
MODULES = ("unruly", "wild")
OPTIONS = tuple(word for module in MODULES for word in ("--plugin", module))
LIMIT = 30.0
"""Seconds for a unit that takes milliseconds, on a busy machine."""

BEFORE, AFTER = ("finetune",), ("msg", "neg_grad_plus")
SMALL: Mapping[str, Any] = {
    "datasets": ["bands"],
    "scenarios": ["random:0.2"],
    "seeds": 1,
    "recipe": {"epochs": 2},
}


@dataclass(frozen=True)
class Cause:
    """What a failure says: its exception, its phase, words of message or traceback, and how many attempts it takes."""

    exception: str
    words: str = ""
    phase: str = "unlearn"
    attempts: int = 1


def died(words: str = "") -> Cause:
    return Cause("WorkerDied", words, "worker", 3)


LATE = Cause("TimeLimit", r"more than its limit of 30 s.*in unlearn")
ENDED = Cause("TimeLimit", r"more than its limit of 30 s.*in (swallows_everything|hangs_in_c)", "worker")
NOT_ITS_MODEL = "NotItsModel"
GOES_WELL = None

HANGS: Mapping[str, Cause | None] = {
    "hangs_in_python": LATE,
    "swallows_exceptions": LATE,
    "hangs_without_trace": LATE,
    "swallows_everything": ENDED,
    "hangs_in_c": ENDED,
}
MEMORY: Mapping[str, Cause | None] = {
    "fills_memory": Cause("MemoryError", "in fills_memory"),
    "fills_memory_of_torch": Cause("RuntimeError", "allocate memory"),
    "is_killed": died("in each of 3 tries.*SIGKILL"),
}
PROCESSES: Mapping[str, Cause | None] = dict.fromkeys(
    ("forks", "forks_and_raises", "leaves_processes", "leaves_a_thread", "uses_processes"), GOES_WELL
)
OUTPUT: Mapping[str, Cause | None] = {
    "prints_a_gigabyte": GOES_WELL,
    "prints_and_raises": Cause("ValueError", r"nothing left to say.*it printed [0-9,]+ bytes.*the last words"),
    "closes_its_output": GOES_WELL,
}
EXCEPTIONS: Mapping[str, Cause | None] = {
    "raises_exit": Cause("SystemExit", "in unlearn"),
    "raises_interrupt": Cause("KeyboardInterrupt", "in unlearn"),
    "raises_generator_exit": Cause("GeneratorExit", "in unlearn"),
    "raises_stop_iteration": Cause("StopIteration", "in unlearn"),
    "raises_unspeakable": Cause("Unspeakable", "cannot say what is wrong: SystemExit in its own class"),
    "raises_evasive": Cause("Evasive", "what it says"),
    "raises_nameless": Cause("a name", "in unlearn"),
    "raises_unpicklable": Cause("ValueError", "lambda.*lock"),
    "raises_long": Cause("ValueError", r"xxx.*\[\.\.\.\].*xxx"),
    "raises_garbage": Cause("ValueError", r"\\udcff"),
    "recurses": Cause("RecursionError", "in recurses"),
}
ENDS: Mapping[str, Cause | None] = {
    "is_killed_once": GOES_WELL,
    "exits_at_once": died("exit code 0|unexpectedly"),
    "crashes": died("Segmentation fault.*in crashes"),
    "aborts": died("Aborted.*in aborts"),
    "asks_itself_to_stop": GOES_WELL,
    "is_told_to_end_once": GOES_WELL,
}
SETTINGS: Mapping[str, Cause | None] = dict.fromkeys(
    ("changes_everything", "enters_inference_mode", "sets_an_alarm"), GOES_WELL
)
RETURNS: Mapping[str, Cause | None] = {
    "returns_nothing": Cause(NOT_ITS_MODEL, "returned NoneType; it must return its model"),
    "returns_words": Cause(NOT_ITS_MODEL, "returned str; it must return its model"),
    "returns_more_classes": Cause(NOT_ITS_MODEL, r"float32 \[5, 16\], not float32 \[4, 16\]|\[5.*\], not .*\[4"),
    "returns_another_network": Cause(NOT_ITS_MODEL, "it lacks "),
    "returns_a_wrapped_model": Cause(NOT_ITS_MODEL, "it lacks "),
    "returns_doubles": Cause(NOT_ITS_MODEL, "is float64 .* not float32"),
    "returns_halves": Cause(NOT_ITS_MODEL, "is bfloat16 .* not float32"),
    "returns_no_weights": Cause(NOT_ITS_MODEL, "on the device 'meta', not 'cpu'"),
    "returns_a_trap": Cause("ZeroDivisionError", "in spring.*sprung", "evaluate"),
    "returns_nan": GOES_WELL,
    "returns_infinity": GOES_WELL,
}
SHARED: Mapping[str, Cause | None] = {
    "changes_its_original": Cause("SharedChanged", "changed in place.*the weights of a model to start from", "check"),
    "changes_the_images": Cause("SharedChanged", "changed in place.*images or labels", "check"),
    "changes_the_labels": Cause("SharedChanged", "changed in place.*images or labels", "check"),
    "changes_what_it_is_given": GOES_WELL,
}


@pytest.fixture(scope="module", autouse=True)
def _plugged() -> Iterator[None]:
    """The plug-ins, in this process: it makes plans. The catalogs stay as found."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in PLUGINS:
            patch.syspath_prepend(str(folder))
        for catalog in (METHODS, DATASETS):
            patch.setattr(catalog, "_specs", dict(catalog._specs))
        registry.load(MODULES)
        yield
        registry.load.cache_clear()
    for module in MODULES:
        sys.modules.pop(module, None)


@dataclass
class Wild:
    """A study whose methods misbehave in its first run, and fail or succeed politely in all others."""

    chaos: Callable[..., Chaos]
    folder: Path

    def study(self, methods: Mapping[str, Cause | None], place: Sequence[str] = ("--local",), **changes: Any) -> Chaos:
        """Return a study of methods between some that behave; its first run is not polite."""
        self.folder.mkdir(exist_ok=True)
        environment = {
            "PYTHONPATH": os.pathsep.join([*map(str, PLUGINS), os.environ.get("PYTHONPATH", "")]),
            "WILD_FOLDER": str(self.folder),
            "UNRULY_FOLDER": str(self.folder),
        }
        study = self.chaos(
            (*place, *OPTIONS),
            environment | {"WILD_POLITE": "1"},
            **(SMALL | {"methods": [*BEFORE, *methods, *AFTER]} | changes),
        )
        study.environment = environment | {"WILD_ROOT": str(study.root)}
        return study

    def misbehave(self, study: Chaos, methods: Mapping[str, Cause | None]) -> str:
        """Let the methods misbehave, judge what they left, and settle the study; return what the first run said."""
        answer = study.run()
        study.injected(len(methods))
        failing = {unit.id for unit in study.plan.units.values() if methods.get(unit.method.name)}
        assert answer.code == (1 if failing else 0), answer.err
        assert "Traceback" not in answer.out + answer.err
        study.note()
        assert failing == study.plan.units.keys() - study.begun().keys()
        causes = Store.open(str(study.root)).scan("failures").sort("attempt").collect()
        for method, cause in methods.items():
            judge(causes.filter(pl.col("method") == method).to_dicts(), method, cause)
        assert self.left() == []
        study.environment = {**study.environment, "WILD_POLITE": "1"}
        study.settle(failed=failing)
        return answer.out + answer.err

    def left(self) -> list[str]:
        """Return the processes that methods have left behind and that still live."""
        noted = (note.name.removeprefix("left-") for note in self.folder.glob("left-*"))
        return [pid for pid in noted if Path("/proc", pid).exists()]


def judge(found: Sequence[Mapping[str, Any]], method: str, cause: Cause | None) -> None:
    """Judge the failures of a method: those of one that goes well in the end are deaths."""
    if cause is None:
        assert {row["exception"] for row in found} <= {"WorkerDied"}, found
        return
    assert [row["attempt"] for row in found] == list(range(1, cause.attempts + 1)), (method, found)
    for row in found:
        assert (row["exception"].split("\\")[0][:6], row["phase"]) == (cause.exception[:6], cause.phase), (method, row)
        assert len(row["message"]) <= 2_000
        assert len(row["traceback"]) <= 30_000
    said = f"{found[-1]['message']}\n{found[-1]['traceback']}"
    assert re.search(cause.words, said, re.DOTALL), (method, said)


@pytest.fixture
def wild(chaos: Callable[..., Chaos], tmp_path: Path) -> Wild:
    return Wild(chaos, tmp_path / "notes")


@pytest.mark.chaos
def test_methods_hang(wild: Wild) -> None:
    """Methods that hang, in one process."""
    methods = {**HANGS, "stops_itself": Cause("TimeLimit", "more than its limit of 30 s.*SIGKILL", "worker")}
    wild.misbehave(wild.study(methods, time_limit=LIMIT), methods)


@pytest.mark.chaos
def test_methods_eat_memory(wild: Wild) -> None:
    """Methods that eat memory, in one process."""
    wild.misbehave(wild.study(MEMORY), MEMORY)


@pytest.mark.chaos
def test_methods_fork(wild: Wild) -> None:
    """Methods that fork, and leave processes and threads, in one process."""
    wild.misbehave(wild.study(PROCESSES), PROCESSES)


@pytest.mark.chaos
def test_methods_print(wild: Wild) -> None:
    """Methods that print a gigabyte, in one process."""
    said = wild.misbehave(wild.study(OUTPUT), OUTPUT)
    assert len(said) < 200_000
    assert "more bytes that it printed are not shown" in said


@pytest.mark.chaos
def test_methods_raise(wild: Wild) -> None:
    """Methods that raise what nobody catches, in one process."""
    wild.misbehave(wild.study(EXCEPTIONS), EXCEPTIONS)


@repeated(short=0, full=len(ENDS))
def test_methods_end_their_process(times: int, wild: Wild) -> None:
    """Methods that end their process, in one process."""
    methods = dict([*ENDS.items()][:times])
    wild.misbehave(wild.study(methods), methods)


@pytest.mark.chaos
def test_methods_change_their_process(wild: Wild) -> None:
    """Methods that change their process, in one process."""
    wild.misbehave(wild.study(SETTINGS), SETTINGS)


@pytest.mark.chaos
def test_methods_return_what_is_no_model(wild: Wild) -> None:
    """Methods that return what is not their model, in one process."""
    wild.misbehave(wild.study(RETURNS), RETURNS)


@pytest.mark.chaos
def test_methods_change_what_others_share(wild: Wild) -> None:
    """Methods that change data and weights of others, in one process."""
    wild.misbehave(wild.study(SHARED), SHARED)


REMOVES = tuple(f"removes_{what}" for what in ("models", "tables", "commits", "studies", "everything"))


@pytest.mark.chaos
def test_methods_remove_what_was_stored(wild: Wild) -> None:
    """Methods that remove folders of the root, in one process."""
    study = wild.study(dict.fromkeys(REMOVES))
    for _ in REMOVES:  # some of them end the run
        answer = study.run()
        assert answer.code in (0, 1, 2), answer.err
        assert "Traceback" not in answer.out + answer.err
        assert answer.code == 2 or not answer.err.count("harness: "), answer.err
        if answer.code == 0:
            break
    study.injected(len(list(wild.folder.glob("first-removes_*"))))
    assert study.row.injected == len(REMOVES)
    study.settle()


@pytest.mark.chaos
def test_methods_remove_what_their_process_needs(wild: Wild, tmp_path: Path) -> None:
    """Methods that remove their module and temporary files, in one process."""
    own, temporary = tmp_path / "own", tmp_path / "tmp"
    for folder in (own, temporary):
        folder.mkdir()
    shutil.copy(PLUGINS[0] / "wild.py", own)
    methods = dict.fromkeys(("removes_temporary_files", "removes_its_module", "raises_exit"))
    study = wild.study(methods)
    polite = study.environment
    path = os.pathsep.join([str(own), polite["PYTHONPATH"]])
    study.environment = {**polite, "PYTHONPATH": path, "TMPDIR": str(temporary)}
    answer = study.run()
    assert answer.code == 1, answer.err
    assert not list(own.glob("*.py"))
    assert not temporary.exists()
    study.injected(2)
    study.note()
    study.environment = {**polite, "WILD_POLITE": "1"}
    study.settle(failed={unit.id for unit in study.plan.units.values() if unit.method.name == "raises_exit"})


OF_RAY: Mapping[str, Cause | None] = {
    "swallows_everything": ENDED,
    **dict.fromkeys(
        ("hangs_in_python", "swallows_exceptions"), Cause("TimeLimit", "more than its.*in unlearn", "worker")
    ),
    "hangs_without_trace": Cause("TimeLimit", "more than its limit of 30 s", "worker"),
    "is_killed": died("in each of 3 tries"),
    # Of shared memory nobody may change a byte.
    "changes_the_images": died("Segmentation fault.*in changes_the_images"),
    "changes_the_labels": died("Segmentation fault.*in changes_the_labels"),
}
"""What ends otherwise where the process is a worker of Ray."""


@pytest.mark.chaos
@pytest.mark.ray
def test_methods_misbehave_on_workers(wild: Wild) -> None:
    """Methods that misbehave in all these ways, through Ray."""
    everything = HANGS | MEMORY | PROCESSES | OUTPUT | EXCEPTIONS | ENDS | SETTINGS | RETURNS | SHARED
    methods = {**everything, **OF_RAY}
    said = wild.misbehave(wild.study(methods, ("--workers=2",), time_limit=LIMIT), methods)
    assert len(said) < 200_000
