"""How much a model's weights still react to single images: the trace of the empirical Fisher information."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.engine.data import DeviceData
from harness.engine.evaluate import evaluating


def fisher_trace(model: nn.Module, data: DeviceData, index: Tensor) -> float:
    """Return the mean of |gradient of ln p_y(x) by the weights|^2 over the images at `index` [n]; NaN for none.

    In evaluation mode, one image at a time: the square of a batch's mean gradient is another number.
    """
    weights = [one for one in model.parameters() if one.requires_grad]
    squares = []
    with evaluating(model):
        for place in range(len(index)):
            one = index[place : place + 1]
            loss = cross_entropy(model(data.batch(one)), data.labels[one])
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            squares.append(sum(float(g.double().square().sum()) for g in gradients if g is not None))
    return sum(squares) / len(squares) if squares else float("nan")
