"""RNI: what is trained in each epoch, which tensors get noise and how often, and the fine phase."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.contracts.space import Value
from harness.engine.seeding import generator
from harness.engine.weights import reset_parameters
from tasks.methods.rni import named_bn, of_batch_norm

PARTS = tiny.uneven_parts()
NORMALISATION = {f"{block}.2.{kind}" for block in "012" for kind in ("weight", "bias")}
OTHERS = {"0.0.weight", "1.0.weight", "2.0.weight", "5.weight", "5.bias"}
HEAD = {"5.weight", "5.bias"}
QUIET: dict[str, Value] = {"batch_size": 64, "weight_decay": 0.0, "fine_weight_decay": 0.0}


def states(values: dict[str, Value]) -> list[dict[str, Tensor]]:
    """Return the parameters of the original, of the start of each one-batch epoch, and of the end."""
    model = tiny.own_copy("cnn_small")
    found: list[dict[str, Tensor]] = []

    def note(*_: object) -> None:
        found.append({name: p.detach().clone() for name, p in model.named_parameters()})

    note()
    model.register_forward_pre_hook(note)
    tiny.unlearn("rni", tiny.new_run(), PARTS, {**QUIET, **values}, model=model)
    note()
    return found


def changes(found: list[dict[str, Tensor]]) -> list[set[str]]:
    """Return what differs between each state and the next."""
    return [{n for n in a if not torch.equal(a[n], b[n])} for a, b in pairwise(found)]


def test_an_epoch_trains_normalisation_and_a_few_others_that_are_drawn_anew_each_time() -> None:
    reset, *epochs, _ = changes(states({"epochs": 7, "fine_epochs": 1, "layers": 2, "lr": 0.01, "noise_ratio": 0.0}))
    assert reset == HEAD
    chosen = [moved - NORMALISATION for moved in epochs]
    assert [len(names) for names in chosen] == [2] * 6
    assert len({frozenset(names) for names in chosen}) > 2
    assert all(moved >= NORMALISATION for moved in epochs)


def test_before_the_fine_phase_weights_decay_at_their_own_rate() -> None:
    values: dict[str, Value] = {"epochs": 2, "fine_epochs": 1, "lr": 0.01, "noise_ratio": 0.0, "fine_weight_decay": 9.0}
    free, decayed = (states({**values, "weight_decay": decay}) for decay in (0.0, 2.0))
    for name, start in free[1].items():
        torch.testing.assert_close(free[2][name] - decayed[2][name], 0.01 * 2.0 * start, rtol=0, atol=1e-6, msg=name)


def test_with_more_layers_than_there_are_all_are_trained() -> None:
    _, *epochs, _ = changes(states({"epochs": 3, "fine_epochs": 1, "layers": 9, "lr": 0.01, "noise_ratio": 0.0}))
    assert epochs == [NORMALISATION | OTHERS] * 2


def test_noise_comes_after_the_first_epochs_to_a_share_of_the_chosen_and_to_no_tensor_twice() -> None:
    still: dict[str, Value] = {"lr": 0.0, "fine_lr": 0.0, "layers": 4, "noise_ratio": 0.7}
    reset, first, second, *later = changes(states({**still, "epochs": 8, "fine_epochs": 1, "reset_epochs": 2}))
    assert reset == HEAD
    assert first == set()
    assert len(second) == 2
    disturbed = [name for names in (second, *later) for name in names]
    assert len(disturbed) == len(set(disturbed))
    assert set(disturbed) <= OTHERS
    assert len(disturbed) > 2


def test_noise_has_the_given_deviation() -> None:
    still: dict[str, Value] = {"lr": 0.0, "fine_lr": 0.0, "noise_ratio": 1.0, "noise_std": 0.3}
    found = states({**still, "epochs": 3, "fine_epochs": 1, "reset_epochs": 1})
    noise = found[-1]["2.0.weight"] - found[0]["2.0.weight"]
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)


def test_the_fine_phase_trains_everything_at_its_own_rate_without_noise() -> None:
    values: dict[str, Value] = {
        "epochs": 4,
        "fine_epochs": 2,
        "reset_epochs": 9,
        "layers": 1,
        "lr": 0.01,
        "fine_lr": 0.03,
    }
    with tiny.optimizer_steps() as rates:
        _, *epochs = changes(states(values))
    assert rates == [0.01, 0.01, 0.03, 0.03]
    assert [len(moved - NORMALISATION) for moved in epochs] == [1, 1, 5, 5]


def test_with_fine_epochs_alone_it_is_fine_tuning_after_a_reset_of_the_head() -> None:
    model, source, order = (
        tiny.own_copy("cnn_small", torch.float64).train(),
        tiny.data(torch.float64),
        generator("order", 0),
    )
    reset_parameters(model.get_submodule("5"), order)
    for _ in range(2):
        velocity = [torch.zeros_like(p) for p in model.parameters()]  # each epoch has an optimiser of its own
        for batch in PARTS[RETAIN][torch.randperm(26, generator=order)].tensor_split(4):
            loss = cross_entropy(model(source.batch(batch)), source.labels[batch])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    p.sub_(0.03 * v.mul_(0.9).add_(g + 1e-3 * p))
    values: dict[str, Value] = {
        "epochs": 2,
        "fine_epochs": 5,
        "fine_lr": 0.03,
        "fine_weight_decay": 1e-3,
        "batch_size": 8,
    }
    found = tiny.unlearn(
        "rni", tiny.new_run(), PARTS, values, model=tiny.own_copy("cnn_small", torch.float64), source=source
    )
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=1e-6, msg=name)


def test_gives_the_model_back_with_every_weight_trainable() -> None:
    values: dict[str, Value] = {"epochs": 2, "fine_epochs": 1, "layers": 1}
    assert all(p.requires_grad for p in tiny.unlearn("rni", tiny.new_run(), PARTS, values).parameters())


def test_the_names_of_the_released_code_leave_out_the_shortcuts_of_a_resnet() -> None:
    model = tiny.initial("resnet18_cifar")
    assert len(of_batch_norm(model)) == 40
    assert of_batch_norm(model) - named_bn(model) == {
        f"layer{n}.0.downsample.1.{kind}" for n in (2, 3, 4) for kind in ("weight", "bias")
    }
    assert named_bn(model) < of_batch_norm(model)


def test_the_reference_finds_no_normalisation_where_nothing_is_called_bn() -> None:
    values: dict[str, Value] = {"epochs": 2, "fine_epochs": 1, "layers": 3, "lr": 0.01, "variant": "reference"}
    _, moved, _ = changes(states(values))
    assert len(moved) == 3
