"""What all tests share: one thread for torch, the helper modules of this folder, and an object store."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported, so that neither this process nor those it starts spread over the cores: results would
# differ in the last bits, and two busy processes would slow each other down.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
# Of the processes that this one starts: what glibc frees stays theirs (`engine.device.keep_freed_memory`). On virtual
# machines that give free pages back to their host, each new page costs tens of microseconds.
os.environ["MALLOC_MMAP_THRESHOLD_"], os.environ["MALLOC_TRIM_THRESHOLD_"] = str(2**25), str(2**31 - 1)
# Each process tells the commit it runs from; whoever commits while the tests run must not tell two of them apart.
os.environ["HARNESS_COMMIT"] = "0" * 40
sys.path.insert(0, str(Path(__file__).parent))
# A shell lets what it starts in the background ignore these, and so would what the tests start and then tell to end.
for ignored, instead in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda number, frame: None)):
    if signal.getsignal(ignored) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(ignored, instead)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of an S3 server that runs as long as the tests do; its keys are in the environment."""
    import tiny_s3

    with pytest.MonkeyPatch.context() as patch, tiny_s3.server() as port:
        for name, value in tiny_s3.KEYS.items():
            patch.setenv(name, value)
        yield port
