"""Laboratories on the tiny problem, and methods that exist for one test."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import tiny_lab
from tiny_lab import Lab
from torch import nn

from harness import registry
from harness.contracts import DATASETS, METHODS, Images, Part, Run, View, method
from harness.store import Store

MakeLab = Callable[..., Lab]
Act = Callable[[nn.Module, View, Run], nn.Module]
Declare = Callable[[str, Collection[Part], Act], None]


@pytest.fixture
def make_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeLab:
    """A function (images) -> Lab with a root of its own."""
    registry.load()
    monkeypatch.setitem(DATASETS._specs, "tiny", tiny_lab.SPEC)
    roots: list[Path] = []

    def make(images: Images | None = None) -> Lab:
        roots.append(tmp_path / f"runs{len(roots)}")
        store = Store.open(str(roots[-1]), write=True)
        return Lab(store) if images is None else Lab(store, images)

    return make


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """A function (name, reads, act) that declares a method which does `act(model, data, run)`."""
    registry.load()
    monkeypatch.setattr(METHODS, "_specs", dict(METHODS._specs))

    def declare(name: str, reads: Collection[Part], act: Act) -> None:
        class Plugin:
            """A method of a test."""

            def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
                return act(model, data, run)

        method(reads=reads, source="tests", name=name)(Plugin)

    return declare
