"""Models: built from a spec and a seed, copied, compared, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness.contracts.architecture import ArchitectureSpec
from harness.contracts.dataset import DatasetSpec
from harness.engine.seeding import seeded


def build(
    architecture: ArchitectureSpec, dataset: DatasetSpec, seed: int, device: torch.device, name: str = ""
) -> nn.Module:
    """Return the untrained model of a seed. The weights are drawn on the CPU, so that devices agree.

    A `name` gives another model of the same seed, which shares no draw with the first.
    """
    channels, size, _ = dataset.shape
    with seeded("initial weights", architecture.name, seed, *filter(None, [name])):
        model = architecture.build(channels, size, dataset.classes)
    return model.to(device)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters, without buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def state_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's weights and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a state dict: names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of a state dict, its tensors side by side in one piece of memory, each from a multiple of 16 bytes.

    To read many small tensors takes their number, not their bytes.
    """
    sizes = [-(-tensor.numel() * tensor.element_size() // 16) * 16 for tensor in state.values()]
    if not sizes:
        return {}
    memory = torch.zeros(sum(sizes), dtype=torch.uint8, device=next(iter(state.values())).device)
    own, start = {}, 0
    for (name, tensor), size in zip(state.items(), sizes, strict=True):
        piece = memory[start : start + tensor.numel() * tensor.element_size()]
        own[name] = piece.view(tensor.dtype).view(tensor.shape).copy_(tensor)
        start += size
    return own


def changed_share(model: nn.Module, before: Mapping[str, Tensor]) -> float | None:
    """Return the share of the weights of a model (parameters, not buffers) that are not those of a state dict, bitwise.

    None where the names or shapes of the parameters are others: it is another network then.
    """
    parameters = dict(model.named_parameters())
    if any(name not in before or before[name].shape != one.shape for name, one in parameters.items()):
        return None
    changed = sum(int((one.detach() != before[name]).sum()) for name, one in parameters.items())
    return changed / max(1, count_parameters(model))


def finite(model: nn.Module) -> bool:
    """Whether every floating-point weight and buffer is finite."""
    return all(bool(torch.isfinite(t).all()) for t in model.state_dict().values() if t.is_floating_point())


def ruined(model: nn.Module) -> nn.Module:
    """Return the model with every weight NaN: what is left of a run that diverged."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    return model
