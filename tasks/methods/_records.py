"""What an artifact of the training notes of its images: tensors as long as the training was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Records(nn.Module):
    """Tensors by name, kept as buffers; `load_state_dict` takes them as long as they were stored."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor by its name."""
        return self.get_buffer(name)

    def note(self, **tensors: Tensor) -> None:
        """Put other tensors in the place of those of the same names."""
        self._buffers.update(tensors)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
        for name, tensor in list(self._buffers.items()):
            if tensor is not None and (stored := state.get(prefix + name)) is not None:
                self._buffers[name] = torch.empty_like(stored, device=tensor.device)
        super()._load_from_state_dict(state, prefix, *others)
