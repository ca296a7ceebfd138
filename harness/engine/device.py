"""The device of a run: choice, description, memory, and a clock that waits for it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch

from harness.errors import HarnessError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_KEPT = 32 * 2**20
"""Bytes of one block of memory; glibc takes no larger threshold."""


class NoSuchDevice(HarnessError):
    """The device that was asked for is not there."""


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first CUDA device, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise NoSuchDevice(f"there is no device {name!r}; use cpu, cuda, cuda:1 or auto") from error
    if device.type not in ("cpu", "cuda"):
        raise NoSuchDevice(f"device {name!r} is not supported; use cpu, cuda, cuda:1 or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise NoSuchDevice(f"device {name!r} was asked for but torch sees no CUDA device; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NoSuchDevice(f"there is no device {name!r}: torch sees {torch.cuda.device_count()}, counted from cuda:0")
    return device


def prepare(device: torch.device, deterministic: bool = False) -> None:
    """Make results depend on the seed alone: one CPU thread, deterministic kernels of cuDNN, no autotuning.

    On CUDA some kernels still add up in any order, and the last bits differ. With `deterministic`, torch takes others,
    which are slower, or raises RuntimeError where it has none.
    What the method of an earlier unit in this process may have left behind is put back: gradients, default precision.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which torch demands of cuBLAS
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; who wants speed sets precision: bf16
        torch.cuda.reset_peak_memory_stats(device)


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, up to its peak; without effect where malloc is not glibc's.

    Else the tensors of a step go back to the system at its end, and every page of the next ones is a page fault: 700 a
    step of `cnn_small` on 64 images of 28 x 28.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def describe(device: torch.device) -> str:
    """Return `cpu`, or `cuda:` and the name of the GPU."""
    return f"cuda:{torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def peak_memory(device: torch.device) -> int | None:
    """Return the peak memory allocated since `prepare`, in bytes; None where it is not measured."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def total_memory(device: torch.device) -> int | None:
    """Return the bytes of a device's memory; None where it is not measured."""
    return int(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None


def confine(device: torch.device, part: float) -> None:
    """Let this process's tensors take no more than a part of the device's memory: torch then says that it is full."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(part, device)


def synchronise(device: torch.device) -> None:
    """Wait until everything launched on the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Seconds of wall time with device synchronisation at both ends; can be paused."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Start or go on."""
        synchronise(self.device)
        self._since = time.perf_counter()

    def stop(self) -> float:
        """Pause and return the seconds so far."""
        if self._since is not None:
            synchronise(self.device)
            self._seconds += time.perf_counter() - self._since
            self._since = None
        return self._seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave a stretch of work out; a stopped watch stays stopped."""
        running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()
