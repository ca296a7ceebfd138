"""Whether tensors are still what they were: a checksum of all their bytes, as fast as memory is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

SMALL = 2**17
"""Bytes of memory that a hash reads faster than torch does."""

_WORDS = {"cpu": 2**17, "cuda": 2**24}
"""Words of a piece: on a CPU those of 1 MB, which stay in its cache."""
_MODULUS, _STEP = 2**64, 6364136223846793005  # of Knuth's MMIX generator


def fingerprint(tensors: Iterable[Tensor], known: dict[int, int] | None = None) -> int:
    """Return a number in [0, 2**64) that changes, but for one case in 2**64, where a byte of the tensors changes.

    Those that share their memory count once, with all of that memory. It finds accidents: whoever wants to may find
    other bytes of the same number. `known` are the numbers of memory that was read before, by its address.
    """
    known = {} if known is None else known
    total = 0
    for memory in {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}.values():
        address = memory.untyped_storage().data_ptr()
        if address not in known:
            known[address] = _of_memory(memory)
        total = (total * _STEP + known[address] + 1) % _MODULUS
    return total


def _of_memory(tensor: Tensor) -> int:
    """Return the number of all memory of a tensor."""
    memory = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
    if memory.device.type == "cpu" and len(memory) <= SMALL:
        return int.from_bytes(hashlib.blake2b(memory.numpy().data, digest_size=8).digest(), "little")
    end = len(memory) // 8 * 8
    words = (memory.clone() if memory.data_ptr() % 8 else memory)[:end].view(torch.int64)
    total = 0
    for part in (*_sums(words), *memory[end:].tolist()):
        total = (total * _STEP + part + 1) % _MODULUS
    return total


def _sums(words: Tensor) -> list[int]:
    """Return the sum of each piece of the words [n] int64, each weighted by an odd number that tells its place."""
    size = _WORDS.get(words.device.type, SMALL)
    if not len(words):
        return []
    weights = 2 * torch.arange(min(size, len(words)), device=words.device) * 2654435761 + 1
    pieces = (words[start : start + size] for start in range(0, len(words), size))
    sums: list[int] = torch.stack([(piece * weights[: len(piece)]).sum() for piece in pieces]).tolist()
    return sums
