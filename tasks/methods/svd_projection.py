"""Gradient-free class forgetting: take what only forget activations span out of the weights of every layer."""

from __future__ import annotations

import math
import warnings
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Run, Samples, View, choice, fixed, method
from harness.engine.features import still, watched_inputs
from tasks.methods._batches import nothing_to_forget, sample_of_each_class
from tasks.methods._data_free import CLASS_REQUESTS, classes_to_forget
from tasks.methods._moved import relative_change

BATCH = 128
"""Images of a pass; of what the layers get nothing but sums is kept."""

ROWS = 50_000
"""About as many inputs of a layer are counted at most, over all images of a part."""

WINDOW = 3
"""Kernels along a side of the window that a convolution's patches come from."""

Layers = dict[str, nn.Conv2d | nn.Linear]


@method(
    reads={RETAIN, FORGET},
    scenarios=CLASS_REQUESTS,
    name="svd_projection",
    source="Kodge et al. 2024, TMLR, gradient-free class forgetting by activation-space projection",
)
class SVDProjection:
    """Multiply the weights of every convolution and linear layer by what spares retain and blocks forget: no gradient.

    Let G be the second moment, of trace 1, of the inputs of a layer on about `images` images of a part, as many of each
    class. M = a G ((a - 1) G + I)^-1, a being `alpha_retain` or `alpha_forget`, has its eigenvectors, and
    a s / ((a - 1) s + 1) for each eigenvalue s. W becomes W (I - (M_f - M_f M_r))^T; biases and statistics stay. All
    inputs are those of the original in eval mode. An input of a convolution is a patch of its kernel's size from a
    random window of 3 x 3 kernels, one group of channels at a time; that of a linear layer of a transformer is a token.
    How far the weights move is recorded as `moved`. Deterministic but for which images and windows are taken.
    """

    alpha_retain: int = choice(10, 30, 100, 300, 1000, default=100)
    alpha_forget: int = choice(1, 3, 10, 30, 100, default=3)
    images: int = fixed(900, least=1)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with other weights, the original for no image; raises `NotAClassRequest`."""
        forget = classes_to_forget(data)
        if nothing_to_forget(data):
            return model
        layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        kept = moments(model, layers, self._some(data.retain, forget, run), run)
        gone = moments(model, layers, self._some(data.forget, [], run), run)
        weights = [layer.weight for layer in layers.values()]
        before = [weight.detach().clone() for weight in weights]
        for _ in run.epochs(1, model, SGD(weights, lr=0.0)):  # no step: the curves show the model before and after
            for name in gone:
                run.check()
                spared, blocked = space(kept[name], self.alpha_retain), space(gone[name], self.alpha_forget)
                project(layers[name].weight, spared, blocked)
            run.record("moved", relative_change(before, weights))
        if all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True)):
            warnings.warn(
                f"{data.method}: the model is the original: no weight moved; raise alpha_forget", stacklevel=2
            )
        return model

    def _some(self, samples: Samples, without: list[int], run: Run) -> Samples:
        """Return about `images` random samples, as many of each class but those left out."""
        classes = len(set(samples.labels.tolist()) - set(without))
        return sample_of_each_class(samples, without, math.ceil(self.images / classes), run.generator)


def moments(model: nn.Module, layers: Layers, samples: Samples, run: Run) -> dict[str, Tensor]:
    """Return by name the sum of outer products [groups, width, width] of the inputs of every layer that runs, float64.

    The model is in eval mode, in full precision; the images are as they are.
    """
    totals: dict[str, Tensor] = {}
    most = max(1, ROWS // max(1, len(samples)))

    def add(count: int, name: str, given: Tensor) -> None:
        found = rows(layers[name], given, count, most, run.generator).double()
        totals[name] = totals.get(name, 0) + found.mT @ found

    for images, _, _ in samples.batches(BATCH, shuffle=False):
        run.check()
        with watched_inputs(model, list(layers), partial(add, len(images))), still(model, images.device):
            model(images)
    return totals


def rows(layer: nn.Conv2d | nn.Linear, given: Tensor, images: int, most: int, generator: torch.Generator) -> Tensor:
    """Return the inputs [groups, images x r, width] that a layer's weights multiply, r of each image, at most `most`.

    Of more they are taken at even distances. Tokens may come in windows: [images x windows, tokens, width].
    """
    if isinstance(layer, nn.Linear):
        found, groups = given.reshape(images, -1, layer.in_features).mT, 1
    else:
        found = unfold(windows(layer, given, generator), layer.kernel_size, layer.dilation, 0, layer.stride)
        groups = layer.groups
    count = found.shape[2]
    found = found[..., torch.linspace(0, count - 1, min(most, count)).round().long().to(found.device)]
    return found.reshape(images, groups, -1, found.shape[2]).permute(1, 0, 3, 2).flatten(1, 2)


def windows(layer: nn.Conv2d, given: Tensor, generator: torch.Generator) -> Tensor:
    """Return from each image [B, C, H, W] a window at a random place, padded as the layer pads and on its stride."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = pad(given, layer._reversed_padding_repeated_twice, mode)
    places = []
    for axis in (0, 1):
        reach, step = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1, layer.stride[axis]
        size = min(WINDOW * reach, padded.shape[2 + axis])
        starts = torch.randint((padded.shape[2 + axis] - size) // step + 1, (len(given), 1), generator=generator)
        places.append((step * starts + torch.arange(size)).to(given.device))
    which = torch.arange(len(given), device=given.device)[:, None, None]
    return padded[which, :, places[0][:, :, None], places[1][:, None, :]].permute(0, 3, 1, 2)


def space(moment: Tensor, alpha: float) -> Tensor:
    """Return a G ((a - 1) G + I)^-1 [g, d, d] for second moments [g, d, d], G being the moment over its trace.

    Symmetric, its eigenvalues in [0, 1]; 0 where the moment is.
    """
    trace = moment.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    share = moment / trace.where(trace > 0, 1.0)
    one = torch.eye(share.shape[-1], dtype=share.dtype, device=share.device)
    found: Tensor = torch.linalg.solve((alpha - 1) * share + one, alpha * share)
    return found


def project(weight: Tensor, spared: Tensor, blocked: Tensor) -> None:
    """Set weights [out, ...] of as many groups as the spaces [g, d, d] have to W (I - (M_f - M_f M_r))^T, in place."""
    with torch.no_grad():
        grouped = weight.double().reshape(len(blocked), -1, blocked.shape[-1])
        weight.copy_((grouped - grouped @ (blocked - blocked @ spared).mT).view(weight.shape))
