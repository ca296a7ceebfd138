"""Endless batches, and the methods that use them on few and on many classes, with a single image to forget."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN, View
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.models import digest, finite
from harness.engine.seeding import generator
from tasks.methods._batches import endless

QUICK: dict[str, dict[str, Value]] = {
    "potion": {"tries": 3},
    "sfr_on": {"iterations": 4},
    "munba": {"epochs": 2, "batch_size": 8},
    "rum": {},
}
registry.load()


def test_endless_batches_are_passes_each_in_an_order_of_its_own() -> None:
    samples = PartSamples(tiny.data(), torch.arange(14), generator("order", 0))
    positions = [batch.positions for batch in islice(endless(samples, 5), 9)]
    passes: list[Tensor] = [torch.cat(positions[start : start + 3]) for start in (0, 3, 6)]
    assert all(torch.equal(one.sort().values, torch.arange(14)) for one in passes)
    assert len({tuple(one.tolist()) for one in passes}) == 3


@pytest.mark.filterwarnings("ignore:potion. accuracy on forget is still above")
@pytest.mark.parametrize("classes", [3, 20])
@pytest.mark.parametrize("method", QUICK)
def test_any_number_of_classes_and_a_single_image_will_do(method: str, classes: int) -> None:
    spec, run = METHODS[method], tiny.new_run()
    source = replace(tiny.data(), labels=torch.arange(tiny.COUNT) % classes)
    model = ARCHITECTURES["cnn_small"].build(3, 8, classes)
    before = digest(model.state_dict())
    index = {RETAIN: torch.arange(1, tiny.DEVELOPMENT), FORGET: torch.tensor([0])}
    parts = {part: PartSamples(source, positions, run.generator) for part, positions in index.items()}
    found = spec.create(QUICK[method]).unlearn(model, View(method, spec.reads, parts, classes, tiny.SPEC.format), run)
    assert finite(found)
    assert found(source.batch(torch.arange(2))).shape == (2, classes)
    assert digest(found.state_dict()) != before
