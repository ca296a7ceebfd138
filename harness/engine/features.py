"""What single modules of a model are given: penultimate features, and the inputs of layers by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.engine.data import DeviceData, batch_bounds
from harness.engine.evaluate import BATCH, evaluating

Look = Callable[[str, Tensor], None]
"""Gets the name of a module and its first input, each time that the module runs."""


@contextmanager
def watched_inputs(model: nn.Module, names: Sequence[str], look: Look) -> Iterator[None]:
    """Show the input of every named module to `look` in each forward pass inside; the hooks go whatever happens.

    Names are those of `Module.get_submodule`; an unknown one raises `AttributeError`. A module that works in place
    changes what it was shown afterwards: reduce it at once, or clone it.
    """
    layers = {name: model.get_submodule(name) for name in names}

    def hook(name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        look(name, inputs[0])

    hooks = [layer.register_forward_pre_hook(partial(hook, name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def still(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run forward passes inside in eval mode, in full precision and without gradients; modes are put back."""
    with evaluating(model), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def inputs_of(model: nn.Module, names: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Return what every named module is given for images [B, C, H, W], in the order of the names.

    One forward pass in eval mode, in full precision, without gradients. A module that runs several times has its
    inputs one after the other along the first axis, one that does not run is left out.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    with (
        watched_inputs(model, names, lambda name, given: found[name].append(given.clone())),
        still(model, images.device),
    ):
        model(images)
    return {name: torch.cat(given) for name, given in found.items() if given}


def penultimate(model: nn.Module, head: str, images: Tensor) -> Tensor:
    """Return the features [B, d] that the module named `head` (`run.architecture.head`) gets for images [B, C, H, W].

    As in `inputs_of`: eval mode, full precision, no gradients.
    """
    return inputs_of(model, [head], images)[head]


def features_of(model: nn.Module, head: str, data: DeviceData, index: Tensor) -> Tensor:
    """Return the `penultimate` features [n, d] of the images at `index` [n], without augmentation, flattened."""
    batches = [
        penultimate(model, head, data.batch(index[start:stop])).flatten(1)
        for start, stop in batch_bounds(len(index), BATCH)
    ]
    return torch.cat(batches) if batches else torch.empty(0, 1, device=data.device)
