"""Weights of a unit: `models/<unit>.safetensors`, with a digest that is checked at every load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.errors import one_line
from harness.store.errors import REMEDY, ModelCorrupt, ModelMissing
from harness.store.files import Files

if TYPE_CHECKING:
    from torch import Tensor


FOLDER, SUFFIX = "models", ".safetensors"


def path_of(unit: str) -> str:
    return f"{FOLDER}/{unit}{SUFFIX}"


def stored(files: Files) -> set[str]:
    """Return the ids of all units whose weights are there, from one listing."""
    return {file.name.removesuffix(SUFFIX) for file in files.find(FOLDER, SUFFIX)}


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the names, dtypes, shapes and bytes of `state`, in the order of the names."""
    import torch

    result = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        result.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        result.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()


def save(files: Files, unit: str, state: Mapping[str, Tensor]) -> str:
    """Store `state` and return its digest."""
    import torch
    from safetensors.torch import save as encode

    # Own memory for each: safetensors refuses tensors that share some, as tied weights do.
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    sha256 = digest(own)
    files.write(path_of(unit), encode(own, metadata={"sha256": sha256}))
    return sha256


def load(files: Files, unit: str, device: str) -> dict[str, Tensor]:
    """Return what was stored for `unit`; raise `ModelMissing` or `ModelCorrupt`."""
    from safetensors import SafetensorError
    from safetensors.torch import load as decode

    where = files.where(path_of(unit))
    try:
        data = files.read(path_of(unit))
        state: dict[str, Tensor] = decode(data)
        stored = _stored_digest(data)
    except FileNotFoundError as error:
        raise ModelMissing(f"{where} does not exist; the weights of {unit} were not kept") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{where} is damaged: {one_line(error)}; {REMEDY}") from error
    if digest(state) != stored:
        raise ModelCorrupt(f"{where} is damaged: its digest does not match; {REMEDY}")
    return {name: tensor.to(device) for name, tensor in state.items()}


def _stored_digest(data: bytes) -> str:
    """Return the digest in the header: 8 bytes of length (little endian), then JSON."""
    end = 8 + int.from_bytes(data[:8], "little")
    return str(json.loads(data[8:end])["__metadata__"]["sha256"])
