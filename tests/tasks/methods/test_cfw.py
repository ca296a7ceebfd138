"""CFW: where the noise goes, how much and when, and the scalar that class weights are."""

from __future__ import annotations

import math
from collections import OrderedDict
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.contracts.space import Value
from harness.engine.seeding import generator
from tasks.methods.cfw import balanced_weights, named_conv, stem_kernels

PARTS = tiny.uneven_parts()
STILL: dict[str, Value] = {"lr": 0.0, "epochs": 1, "batch_size": 64}


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    return {name for (name, old), new in pairs if not torch.equal(old, new)}


def test_the_stem_alone_gets_the_noise_of_the_start() -> None:
    found = tiny.unlearn("cfw", tiny.new_run(), PARTS, {**STILL, "start_std": 0.6, "final_std": 1.0})
    before = tiny.original("cnn_small")
    assert changed(before, found) == {"0.0.weight"}
    noise = (found.get_parameter("0.0.weight") - before.get_parameter("0.0.weight")).detach()
    drawn = torch.randn(noise.shape, generator=generator("order", 0))
    torch.testing.assert_close(noise, 0.6 * drawn, rtol=0, atol=1e-6)


def test_the_reference_finds_its_convolution_by_name() -> None:
    values: dict[str, Value] = {**STILL, "variant": "reference"}
    none = tiny.unlearn("cfw", tiny.new_run(), PARTS, values)
    assert not changed(tiny.original("cnn_small"), none)
    model = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 8), flat=nn.Flatten(), fc=nn.Linear(4, tiny.CLASSES)))
    before = deepcopy(model)
    assert changed(before, tiny.unlearn("cfw", tiny.new_run(), PARTS, values, model=model)) == {"conv1.weight"}


def test_stem_and_named_convolutions_of_a_nested_model() -> None:
    model = nn.Module()
    model.patch = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 4, 1)))
    model.conv_last = nn.Conv2d(4, 5, 1)
    model.convs = nn.Sequential(nn.Conv2d(4, 6, 1))
    assert [len(weight) for weight in stem_kernels(model, ("patch",))] == [4, 4]
    assert [len(weight) for weight in named_conv(model)] == [5]


@pytest.mark.parametrize(("epochs", "noisy"), [(1, [False]), (2, [False, True]), (4, [False, False, False, True])])
def test_the_last_epoch_starts_with_new_noise_unless_it_is_the_only_one(epochs: int, noisy: list[bool]) -> None:
    model, before = tiny.own_copy("cnn_small"), tiny.original("cnn_small")
    differs: list[bool] = []
    model.register_forward_pre_hook(lambda *_: differs.append(bool(changed(before, model))))
    values: dict[str, Value] = {**STILL, "epochs": epochs, "start_std": 0.0, "final_std": 0.1}
    found = tiny.unlearn("cfw", tiny.new_run(), PARTS, values, model=model)
    assert differs == noisy
    assert changed(before, found) == ({"0.0.weight"} if epochs > 1 else set())


def test_class_weights_are_those_that_scikit_learn_calls_balanced() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 0, 0, 2, 2, 3, 5, 5, 5])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3, 5]), y=labels)
    found = balanced_weights(torch.from_numpy(labels), 7)
    assert found[[0, 2, 3, 5]].tolist() == pytest.approx(expected.tolist())
    assert found[[1, 4, 6]].tolist() == [0, 0, 0]


def plain_cfw(index: Tensor, epochs: int) -> nn.Module:
    """SGD with momentum on mean CE times mean class weight, without noise."""
    model, source, order = (
        tiny.own_copy("cnn_small", torch.float64).train(),
        tiny.data(torch.float64),
        generator("order", 0),
    )
    torch.randn((16, 3, 3, 3), generator=order, dtype=torch.float64)  # noise of deviation 0 is drawn all the same
    labels = source.labels[index].tolist()
    weight = {c: len(labels) / (len(set(labels)) * labels.count(c)) for c in labels}
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for epoch in range(epochs):
        rate = 0.02 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for batch in index[torch.randperm(len(index), generator=order)].tensor_split(math.ceil(len(index) / 8)):
            targets = source.labels[batch]
            scale = sum(weight[c] for c in targets.tolist()) / len(batch)
            loss = scale * cross_entropy(model(source.batch(batch)), targets)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    p.sub_(rate * v.mul_(0.9).add_(g + 1e-3 * p))
        if epoch == epochs - 2:
            torch.randn((16, 3, 3, 3), generator=order, dtype=torch.float64)
    return model


def test_a_batch_counts_as_much_as_its_labels_weigh_on_average_and_the_rate_follows_a_cosine() -> None:
    source = tiny.data(torch.float64)
    unequal = torch.cat([torch.arange(0, 40, 4), torch.arange(1, 20, 4), torch.arange(2, 48, 16)])
    values: dict[str, Value] = {
        "lr": 0.02,
        "weight_decay": 1e-3,
        "batch_size": 8,
        "epochs": 3,
        "start_std": 0.0,
        "final_std": 0.0,
    }
    found = tiny.unlearn(
        "cfw",
        tiny.new_run(),
        {**PARTS, RETAIN: unequal},
        values,
        model=tiny.own_copy("cnn_small", torch.float64),
        source=source,
    )
    for name, tensor in plain_cfw(unequal, 3).state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=1e-6, msg=name)
