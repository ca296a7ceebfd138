"""Who imports whom, and what is not imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import COMMANDS

PROJECT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "torchvision", "ray", "mlflow", "polars", "pyarrow"),
    *("sklearn", "scipy", "matplotlib", "pydantic", "numpy"),
)
CALL = """
import sys
sys.argv = ["harness", *{arguments}]
from harness.cli import main
try: main()
except SystemExit: pass
"""


def imported(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has imported after some code."""
    tell = f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_walls_stand() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["harness", "harness.cli", "harness.errors"])
def test_importing_the_front_imports_nothing_heavy(name: str) -> None:
    assert imported(f"import {name}") == set()


@pytest.mark.parametrize("name", ["harness.schedule", "harness.drive", "harness.study", "harness.work"])
def test_the_engine_room_is_entered_without_ray_mlflow_and_what_only_some_units_need(name: str) -> None:
    assert imported(f"import {name}").isdisjoint({"ray", "mlflow", "torchvision", "sklearn", "matplotlib"})


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(CALL.format(arguments=arguments)) == set()


def test_status_needs_no_torch(finished: Path) -> None:
    found = imported(CALL.format(arguments=["status", "--root", str(finished)]))
    assert found.isdisjoint({"torch", "ray", "mlflow", "sklearn", "scipy", "matplotlib"})


def test_querying_needs_no_torch(finished: Path) -> None:
    code = (
        "from harness.store import Store, query\n"
        f"assert len(query(Store.open({str(finished)!r}), 'select unit from units')) == 48"
    )
    assert imported(code).isdisjoint({"torch", "ray", "mlflow", "sklearn", "scipy", "matplotlib"})


def test_ray_and_mlflow_are_known_to_one_room_each() -> None:
    """The walls of import-linter name their rooms one by one; this finds a room that nobody named."""
    rooms = {"ray": "harness/schedule", "mlflow": "harness/tracking"}
    for name, room in rooms.items():
        found = {
            path.relative_to(PROJECT).as_posix()
            for folder in ("harness", "tasks")
            for path in (PROJECT / folder).rglob("*.py")
            for line in path.read_text().splitlines()
            if line.strip().startswith((f"import {name}", f"from {name}"))
        }
        assert all(path.startswith(room) for path in found), found
