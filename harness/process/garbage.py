"""When Python looks for garbage: not where there is none to find, and much to go through."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_sought() -> Iterator[None]:
    """Look for no garbage inside the block: imports and plans make much that stays, and take a tenth less time so."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.enable()


@contextmanager
def sought_in_what_comes() -> Iterator[None]:
    """Look for garbage inside the block only in what was made there, not again and again in a whole plan."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
