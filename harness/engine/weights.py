"""Weights drawn anew and weights disturbed; all draws are made on the CPU, so that devices agree."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


def reset_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the parameters of a module and of those inside it anew in place, each layer as PyTorch does by default.

    Running statistics of normalisation layers start anew, too. Layers without `reset_parameters` stay as they are.
    """
    fresh = deepcopy(module).cpu()
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in fresh.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
    module.load_state_dict(fresh.state_dict())


def add_noise(parameter: Tensor, deviation: float | Tensor, generator: torch.Generator) -> None:
    """Add independent Gaussian noise in place; `deviation` is a number or broadcasts to the parameter's shape."""
    noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype).to(parameter.device)
    with torch.no_grad():
        parameter.add_(noise * deviation)
