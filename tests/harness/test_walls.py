"""Who imports whom, and what is not imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.cli import COMMANDS

PROJECT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "torchvision", "ray", "mlflow", "polars", "pyarrow"),
    *("sklearn", "scipy", "matplotlib", "pydantic", "numpy"),
)
CALL = """
import contextlib, io, sys
from harness.cli import main
sys.argv = ["harness", *{arguments}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()
"""


def imported(*steps: str) -> list[set[str]]:
    """Return which heavy packages a fresh interpreter has imported after each step of some code."""
    tell = f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])\n"
    code = "".join(step + tell for step in steps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()[-len(steps) :]]


def test_the_walls_stand() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_importing_the_front_imports_nothing_heavy() -> None:
    assert imported("import harness", "import harness.errors", "import harness.cli") == [set()] * 3


def test_the_engine_room_is_entered_without_ray_mlflow_and_what_only_some_units_need() -> None:
    rooms = ("harness.study", "harness.work", "harness.schedule", "harness.drive")
    for room, found in zip(rooms, imported(*(f"import {room}" for room in rooms)), strict=True):
        assert found.isdisjoint({"ray", "mlflow", "torchvision", "sklearn", "matplotlib"}), room


def test_help_imports_nothing_heavy() -> None:
    calls = [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    for call, found in zip(calls, imported(*(CALL.format(arguments=call) for call in calls)), strict=True):
        assert found == set(), call


def test_status_and_queries_need_no_torch(finished: Path) -> None:
    status = CALL.format(arguments=["status", "--root", str(finished)])
    query = (
        "from harness.store import Store, query\n"
        f"assert len(query(Store.open({str(finished)!r}), 'select unit from units')) == 48"
    )
    for found in imported(status, query):
        assert found.isdisjoint({"torch", "ray", "mlflow", "sklearn", "scipy", "matplotlib"})


def test_ranking_a_file_needs_no_torch(tmp_path: Path) -> None:
    head = "dataset,architecture,method,seed,accuracy_retain,accuracy_forget,accuracy_test"
    path = tmp_path / "results.csv"
    path.write_text(f"{head}\nc,r,retrain,0,1,1,1\nc,r,a,0,1,1,1\nc,r,b,0,1,1,0.9\n")
    calls = (["rank", "--from", str(path), *more] for more in ([], ["--cells"]))
    for found in imported(*(CALL.format(arguments=call) for call in calls)):
        assert "polars" in found
        assert found.isdisjoint({"torch", "torchvision", "ray", "mlflow", "sklearn", "matplotlib", "pydantic"})


def test_make_test_finds_every_test_that_starts_ray() -> None:
    """Its first half leaves out what has the marker, its second looks for it in these folders alone.

    What breaks studies with Ray is for `make chaos`.
    """
    lanes = (PROJECT / "Makefile").read_text()
    folders = ("tests/clusters", "tests/harness/schedule")  # Slurm wants a machine without Ray, so it comes first
    assert f'-m "ray and not slow" {" ".join(folders)}' in lanes
    assert "-m chaos tests/chaos\n" in lanes
    marker = "mark." + "ray"
    marked = [
        path.relative_to(PROJECT).as_posix() for path in (PROJECT / "tests").rglob("*.py") if marker in path.read_text()
    ]
    assert len(marked) > 1
    assert all(path.startswith((*folders, "tests/chaos")) for path in marked), marked


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
