"""Ray waits 30 s for its own processes to start, whatever is asked; a busy machine takes longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.2


@contextmanager
def patient_start(seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Inside the block, a node of Ray that starts has so long to be known to its head.

    Ray asks for the new node again and again until its 30 s are over. Here each of these questions waits for an answer
    itself, so that the first one may take as long as it needs.
    """
    from ray._private import services

    ask: Any = services.get_node

    def wait(*arguments: Any, **options: Any) -> Any:
        last = time.monotonic() + seconds
        while True:
            try:
                return ask(*arguments, **options)
            except RuntimeError:
                if time.monotonic() > last:
                    raise
                time.sleep(_PAUSE_SECONDS)

    services.get_node = wait
    try:
        yield
    finally:
        services.get_node = ask
