"""Who imports whom, and what is not imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "ray", "mlflow", "polars", "pyarrow", "sklearn", "scipy", "matplotlib", "pydantic", "numpy")


def imported(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has imported after some code."""
    tell = f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_walls_stand() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["harness", "harness.cli", "harness.contracts.recipe", "harness.errors", "harness.schedule"])
def test_importing_the_front_imports_nothing_heavy(name: str) -> None:
    allowed = {"numpy", "torch"} if name.startswith("harness.contracts") else set()
    assert imported(f"import {name}") <= allowed


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['harness', *{arguments}]\nfrom harness.cli import main\ntry: main()\nexcept SystemExit: pass"
    assert imported(code) == set()


@pytest.mark.parametrize("command", ["status", "show", "query", "run", "plan", "rank", "report"])
def test_the_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    code = f"import sys; sys.argv = ['harness', {command!r}, '--help']\nfrom harness.cli import main\ntry: main()\nexcept SystemExit: pass"
    assert imported(code) == set()


def test_status_needs_no_torch(finished: Path) -> None:
    code = (
        f"import sys; sys.argv = ['harness', 'status', '--root', {str(finished)!r}]\n"
        "from harness.cli import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert imported(code).isdisjoint({"torch", "ray", "mlflow", "sklearn", "scipy", "matplotlib"})


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
