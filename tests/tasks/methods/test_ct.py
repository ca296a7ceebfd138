"""Convolution transpose: a swap of axes is its own inverse, and nothing but kernels is swapped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.check import problem as tiny
from harness.engine.models import digest
from tasks.methods.ct import NotSquare, transpose_kernels


def test_twice_is_the_identity_on_every_weight() -> None:
    model = tiny.own_copy("resnet18_cifar")
    before = digest(model.state_dict())
    transpose_kernels(model)
    assert digest(model.state_dict()) != before
    transpose_kernels(model)
    assert digest(model.state_dict()) == before


def test_swaps_height_and_width_of_every_kernel_and_leaves_all_else_before_training() -> None:
    before = tiny.original("resnet18_cifar")
    model = tiny.own_copy("resnet18_cifar")
    transpose_kernels(model)
    kernels = {f"{n}.weight" for n, layer in before.named_modules() if isinstance(layer, nn.Conv2d)}
    after = model.state_dict()
    for name, old in before.state_dict().items():
        expected = torch.einsum("oihw->oiwh", old) if name in kernels else old
        assert torch.equal(after[name], expected), name


def test_training_starts_from_the_transposed_kernels() -> None:
    after = tiny.unlearn("ct", tiny.new_run(), tiny.parts("random:0.1"), {"lr": 0.0, "epochs": 1})
    expected = tiny.own_copy("cnn_small")
    transpose_kernels(expected)
    assert digest(dict(after.named_parameters())) == digest(dict(expected.named_parameters()))


def test_a_kernel_that_is_not_square_is_refused_and_nothing_is_changed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, (1, 7)))
    before = digest(model.state_dict())
    with pytest.raises(NotSquare, match="1x7 kernel of '1'"):
        transpose_kernels(model)
    assert digest(model.state_dict()) == before
