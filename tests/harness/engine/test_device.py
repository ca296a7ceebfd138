"""Choosing and describing the device."""

from __future__ import annotations

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
