"""Choosing and describing the device."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from harness.engine.device import NoSuchDevice, describe, peak_memory, pick_device


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    assert describe(pick_device()) == "cpu"
    assert peak_memory(pick_device()) is None


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "gpu", "mps", ""])
def test_a_device_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoSuchDevice, match=repr(name)):
        pick_device(name)


FAULTS = """
import resource, torch
from harness.engine.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        tensors = [torch.ones(2**20) for _ in range(10)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its malloc")
def test_memory_that_was_freed_is_used_again_without_a_page_fault() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, env=plain, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10
