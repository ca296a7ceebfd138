"""A finished root of the tiny study, made once per test session. Imports are late: many tests need no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is a matter of the machine.
settings.register_profile("harness", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "harness"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny study."""
    import tiny_study

    return tiny_study.write_study(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A root in which the tiny study ran to its end; nobody writes into it. All processes of the tests share one."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "finished" / "runs"
    with FileLock(f"{root.parent}.lock"):
        if not root.parent.exists():
            _run_to_its_end(tiny, root)
    return root


def _run_to_its_end(study: Path, root: Path) -> None:
    import tiny_study

    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished root that a test may write into; its MLflow database would not bear to be moved."""
    return Path(shutil.copytree(finished, tmp_path / "own", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts")))


@pytest.fixture
def declaring() -> Iterator[None]:
    """Whatever a test declares is forgotten when the test ends."""
    from tiny_registry import restored

    with restored():
        yield


@pytest.fixture
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a fresh root its MLflow database, which takes longer to make than a tiny study to run."""
    from harness import views
    from harness.tracking import TrackingUnavailable

    def unavailable(*arguments: object) -> None:
        raise TrackingUnavailable("MLflow is switched off in this test")

    monkeypatch.setattr(views, "sync_in_time", unavailable)
