"""Seeds derived from names, so that results depend neither on the order of work nor on the worker."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(*key: str | int) -> int:
    """Return a seed in [0, 2**63) from a key such as ("unlearn", "msg", 3); equal keys give equal seeds."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*key: str | int) -> torch.Generator:
    """Return a CPU generator seeded by a key."""
    return torch.Generator().manual_seed(derive(*key))


@contextmanager
def seeded(*key: str | int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python inside, and put their states back afterwards."""
    seed = derive(*key)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
