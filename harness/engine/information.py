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
    total = torch.zeros((), dtype=torch.float64, device=data.device)
    with evaluating(model):
        for place in range(len(index)):
            one = index[place : place + 1]
            loss = cross_entropy(model(data.batch(one)), data.labels[one])
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            total += sum(g.double().square().sum() for g in gradients if g is not None)  # waits for no device
    return float(total) / len(index) if len(index) else float("nan")
