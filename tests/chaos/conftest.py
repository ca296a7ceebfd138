"""Studies to be broken, each beside one that nobody disturbed; and the table of what came of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_chaos
import tiny_study
from tiny_chaos import Chaos, Row

OUTPUT = Path(__file__).parents[2] / "test-output" / "chaos.json"
ROWS = pytest.StashKey[list[Row]]()
SMALL: Mapping[str, Any] = {
    "name": "small",
    "methods": ["finetune", "gradient_ascent", "neg_grad_plus", "msg", "ct"],
    "recipe": {"epochs": 1},
    "farm": None,
    "measures": ["accuracy", "population_mia"],
}
"""Six methods and two seeds on digits, without a farm: seconds."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the chaos table, and keep it."""
    if rows := config.stash[ROWS]:
        terminalreporter.section("chaos")
        terminalreporter.write_line(tiny_chaos.table(rows))
        tiny_chaos.write(rows, OUTPUT)


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[Row]:
    """The line of the chaos table that a test fills: named by the first line of its docstring."""
    row = Row((request.function.__doc__ or request.node.name).strip().splitlines()[0].rstrip("."))
    request.config.stash[ROWS].append(row)
    begun = time.perf_counter()
    row.equal = False  # until a test came to its end
    yield row
    row.seconds = round(time.perf_counter() - begun, 1)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Return the file of a study and a root in which it ran undisturbed; each study runs once."""
    known: dict[str, tuple[Path, Path]] = {}

    def run(environment: Mapping[str, str], options: tuple[str, ...], changes: Mapping[str, Any]) -> tuple[Path, Path]:
        key = repr((sorted(changes.items()), options))
        if key not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            study, root = tiny_study.write_study(folder, **(SMALL | changes)), folder / "runs"
            answer = tiny_study.script("run", study, "--root", root, *options, **environment)
            assert answer.code in (0, 1), answer.err
            known[key] = study, root
        return known[key]

    return run


@pytest.fixture
def chaos(fault: Row, undisturbed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Callable[..., Chaos]:
    """Return a study to be broken: `SMALL` with keys changed; `options` are those of its drivers."""

    def make(
        options: tuple[str, ...] = ("--local",), environment: Mapping[str, str] | None = None, **changes: Any
    ) -> Chaos:
        # One process and many give the same tables, so that the undisturbed run takes the shortest way.
        study, reference = undisturbed(environment or {}, ("--local", *options[1:]), changes)
        fault.equal = True
        return Chaos(study, tmp_path / "runs", reference, fault, options, environment or {})

    return make
