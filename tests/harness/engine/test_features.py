"""Inputs of modules by name: what the modules really get, and that nothing of the model is changed by looking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES
from harness.engine.features import inputs_of, penultimate, watched_inputs
from harness.engine.models import digest

IMAGES = tiny.data().batch(torch.arange(6))


def hooks(model: nn.Module) -> Iterator[int]:
    return (len(layer._forward_pre_hooks) for layer in model.modules())


@pytest.mark.parametrize("architecture", ["cnn_small", "tinyvit_tiny"])
def test_the_head_makes_the_logits_from_the_penultimate_features(architecture: str) -> None:
    model, name = tiny.own_copy(architecture).eval(), ARCHITECTURES[architecture].head
    head = model.get_submodule(name)
    assert isinstance(head, nn.Linear)
    found = penultimate(model, name, IMAGES)
    assert found.shape == (6, head.in_features)
    assert not found.requires_grad
    torch.testing.assert_close(head(found), model(IMAGES))


def test_inputs_are_those_of_a_pass_layer_by_layer_in_eval_mode_and_the_model_stays_as_it_is() -> None:
    model = tiny.own_copy("cnn_small").train()
    first, second, deep = (model.get_submodule(name) for name in ("0", "1", "1.0"))
    second.eval()  # a frozen block stays frozen
    before, modes = digest(model.state_dict()), [layer.training for layer in model.modules()]
    found = inputs_of(model, ["2", "0", "1.2"], IMAGES)
    assert list(found) == ["2", "0", "1.2"]
    assert (digest(model.state_dict()), [layer.training for layer in model.modules()]) == (before, modes)
    model.eval()
    by_hand = first(IMAGES)
    torch.testing.assert_close(found["0"], IMAGES)
    torch.testing.assert_close(found["1.2"], model.get_submodule("1.1")(deep(by_hand)))
    torch.testing.assert_close(found["2"], second(by_hand))


def test_what_a_module_changes_in_place_is_kept_as_it_was_and_a_layer_used_twice_has_both_inputs() -> None:
    twice = nn.Linear(3, 3)
    model = nn.Sequential(nn.ReLU(inplace=True), twice, twice)
    images = torch.tensor([[-1.0, 0.0, 2.0]])
    found = inputs_of(model, ["0", "1"], images.clone())
    torch.testing.assert_close(found["0"], images)
    torch.testing.assert_close(found["1"], torch.cat([images.relu(), twice(images.relu())]))


def test_no_hook_stays_after_an_error_and_an_unknown_name_is_one() -> None:
    model = tiny.own_copy("cnn_small")
    before = list(hooks(model))

    def fail(name: str, given: Tensor) -> None:
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError, match="5"), watched_inputs(model, ["5"], fail):
        model(IMAGES)
    with pytest.raises(AttributeError):
        inputs_of(model, ["0", "nowhere"], IMAGES)
    with pytest.raises(RuntimeError):
        penultimate(model, "5", IMAGES[:, :2])
    assert list(hooks(model)) == before
