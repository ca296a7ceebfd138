"""`deterministic: true`: torch's deterministic algorithms while units run, and a row that says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import torch
from tiny_lab import ORIGINAL, Lab, unit
from torch import nn

from harness.contracts import FORGET, RETAIN, Part, Run, View
from harness.unit import Kind

MakeLab = Callable[..., Lab]
Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], Any]], None]


def test_a_deterministic_study_takes_deterministic_kernels_and_says_so(make_lab: MakeLab, declare: Declare) -> None:
    seen: list[bool] = []

    def look(model: nn.Module, data: View, run: Run) -> nn.Module:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return model

    declare("looks", (RETAIN, FORGET), look)
    trial, told = unit(Kind.UNLEARN, "looks"), []
    for wanted in (True, False):
        lab = make_lab()
        lab.bench.deterministic = wanted
        assert lab.perform(ORIGINAL, trial) == "done"
        (row,) = lab.rows("units", trial)
        told.append(json.loads(row["versions"]).get("deterministic"))
    assert seen == [True, False]
    assert told == ["yes", None]
