"""A stranger's root, and a folder beside it in which nothing may happen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_stranger
from tiny_hostile import Guarded

from harness.planner import Plan

sys.path.insert(0, str(Path(__file__).parents[1] / "tasks" / "datasets"))  # for `on_disk`


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return tiny_stranger.plan_of(tmp_path_factory.mktemp("study"))


@pytest.fixture
def root(tmp_path: Path, plan: Plan) -> Path:
    return tiny_stranger.root_of(tmp_path / "runs", plan)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Guarded]:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("a secret of somebody else's")
    guard = Guarded(folder)
    yield guard
    guard.close()
