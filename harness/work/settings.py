"""What the code of a unit may change in its process beside its own model, and how it is put back for the next one."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules

TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
LIMITS = tuple(number for name, number in vars(resource).items() if name.startswith("RLIMIT_"))
SIGNALS = (*range(1, 32), *range(signal.SIGRTMIN, signal.SIGRTMIN + 4))
"""Those that have names, and those under which a parent passes some on."""


@dataclass(frozen=True)
class Setting:
    """Something that a process has once: what it is called, how it is read, and how it is set."""

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], object]


@contextmanager
def kept() -> Iterator[list[str]]:
    """Put every setting back when the block ends; the list then names those that stay different.

    Not found are patched modules, what libraries keep for themselves, and global random numbers: all work is seeded.
    """
    before = [(setting, setting.read()) for setting in SETTINGS]
    alarm, since = signal.getitimer(signal.ITIMER_REAL), time.monotonic()
    stuck: list[str] = []
    try:
        yield stuck
    finally:
        for timer in TIMERS:  # at once: what they would call may raise anything
            signal.setitimer(timer, 0)
        for setting, value in before:
            if not _put_back(setting, value):
                stuck.append(setting.name)
        if alarm[0]:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, alarm[0] - (time.monotonic() - since)), alarm[1])


def _put_back(setting: Setting, value: Any) -> bool:
    with suppress(Exception):
        if setting.read() == value:
            return True
        setting.put(value)
        return bool(setting.read() == value)
    return False


def _folder() -> str | None:
    with suppress(OSError):  # it was removed
        return os.getcwd()
    return None


def _move_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _set_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _handlers() -> dict[int, Any]:
    """Return the handlers of signals that Python knows; only the main thread may set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in found.items() if handler is not None}


def _set_handlers(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _limits() -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in LIMITS}


def _set_limits(before: dict[int, tuple[int, int]]) -> None:
    for number, limit in before.items():
        if resource.getrlimit(number) != limit:
            resource.setrlimit(number, limit)


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _warnings() -> tuple[Any, ...]:
    return list(warnings.filters), warnings.showwarning, warnings.formatwarning


def _set_warnings(before: tuple[Any, ...]) -> None:
    with warnings.catch_warnings():  # at its end it lets every module look at the filters again
        pass
    warnings.filters[:], warnings.showwarning, warnings.formatwarning = before  # type: ignore[index]


def _collect_garbage(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(before: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _autocast() -> dict[str, tuple[bool, torch.dtype]]:
    return {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}


def _set_autocast(before: dict[str, tuple[bool, torch.dtype]]) -> None:
    for kind, (enabled, dtype) in before.items():
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _global_hooks() -> dict[str, dict[Any, Any]]:
    """Return what torch calls for every module of the process."""
    found = {name: value for name, value in vars(modules).items() if name.startswith("_global_")}
    return {name: dict(value) for name, value in found.items() if isinstance(value, dict)}


def _set_global_hooks(before: dict[str, dict[Any, Any]]) -> None:
    for name, hooks in before.items():
        own = getattr(modules, name)
        own.clear()
        own.update(hooks)


SETTINGS = (
    # First: without it nothing else may be possible.
    Setting("the depth of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("the limits of the process", _limits, _set_limits),
    Setting("the working folder", _folder, _move_to),
    Setting("the environment", lambda: dict(os.environ), _set_environment),
    Setting("handlers of signals", _handlers, _set_handlers),
    Setting(
        "blocked signals",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    Setting("the mask of new files", _mask, os.umask),
    Setting("where modules are found", lambda: list(sys.path), lambda path: sys.path.__setitem__(slice(None), path)),
    Setting("warnings", _warnings, _set_warnings),
    Setting("tracing", sys.gettrace, sys.settrace),
    Setting("profiling", sys.getprofile, sys.setprofile),
    Setting("garbage collection", gc.isenabled, _collect_garbage),
    Setting("numpy's floating-point errors", np.geterr, lambda before: np.seterr(**before)),
    Setting("torch's default type", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch's default device", torch.get_default_device, _set_device),
    Setting("torch's threads", torch.get_num_threads, torch.set_num_threads),
    Setting("torch's gradients", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("torch's inference mode", torch.is_inference_mode_enabled, lambda before: None),
    Setting("torch's search for anomalies", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting("torch's deterministic algorithms", _deterministic, _set_deterministic),
    Setting("torch's precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting("torch's autocast", _autocast, _set_autocast),
    Setting("torch's hooks of all modules", _global_hooks, _set_global_hooks),
)
