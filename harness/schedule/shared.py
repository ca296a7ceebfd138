"""Data sets in Ray's shared memory, where no worker can write to them.

What `ray.get` returns is read-only to numpy alone. A tensor made of it can be written to, and then all workers of the
node read what one of them wrote: so the pages themselves are closed for writing, and a method that tries is a crash.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import Images

PAD = 2**16
"""Bytes before and behind each array, so that no page with a byte of it has a byte of anything else."""

Packed = Mapping[str, tuple[NDArray[np.uint8], str, tuple[int, ...]]]
"""By name: padded bytes, type and shape of an array."""


def packed(images: Images) -> Packed:
    """Return what is put into shared memory."""
    arrays = {one.name: getattr(images, one.name) for one in fields(images)}
    return {name: _padded(array) for name, array in arrays.items() if array is not None}


def unpacked(shared: Packed) -> Images:
    """Return the images, closed for writing in this process where their memory is that of others, too."""
    return Images(**{name: _closed(*parts) for name, parts in shared.items()})


def _padded(array: NDArray[Any]) -> tuple[NDArray[np.uint8], str, tuple[int, ...]]:
    room = np.zeros(array.nbytes + 2 * PAD, dtype=np.uint8)
    room[PAD : PAD + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return room, array.dtype.str, array.shape


def _closed(room: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    first = -(-room.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (room.ctypes.data + room.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    array = room[PAD:-PAD].view(dtype).reshape(shape)
    if not _is_shared(room.ctypes.data):
        return array
    if not _protect(first, last, mmap.PROT_READ):
        return array.copy()
    # With the array, which tensors made of it hold, not with the room: numpy looks through that to the memory.
    weakref.finalize(array, _protect, first, last, mmap.PROT_READ | mmap.PROT_WRITE)
    return array


def _is_shared(address: int) -> bool:
    """Say whether what this process writes at an address others read; where the system does not tell, perhaps not."""
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
            place, allowed, *_ = line.split()
            start, end = (int(part, 16) for part in place.split("-"))
            if start <= address < end:
                return allowed.endswith("s")
    return False


def _protect(first: int, last: int, how: int) -> bool:
    """Set what may be done with pages; return whether that was possible."""
    with suppress(OSError, AttributeError):
        size = ctypes.c_size_t(last - first)
        return int(ctypes.CDLL(None).mprotect(ctypes.c_void_p(first), size, how)) == 0
    return False
