"""Shadows that a worker trains at once: each is committed as a unit of its own, as if it had been trained alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tiny_lab import Lab, unit
from torch import nn

from harness.contracts import ARCHITECTURES
from harness.store import RootNotWritable
from harness.unit import Kind, Named
from harness.work import perform_together

MakeLab = Callable[..., Lab]
SHADOWS = [unit(Kind.SHADOW, seed=seed) for seed in range(3)]
OWN = ("seconds", "work_seconds", "started", "model", "together")
"""What the row of a shadow need not share with that of the same one, trained alone."""


def test_each_has_the_rows_that_it_has_alone(make_lab: MakeLab) -> None:
    alone, at_once = make_lab(), make_lab()
    for shadow in SHADOWS:
        assert alone.perform(shadow, attempt=2) == "done"
    assert perform_together(SHADOWS, at_once.bench, [2, 2, 2]) == ["done"] * 3
    assert at_once.store.committed() == alone.store.committed() == {shadow.id for shadow in SHADOWS}
    for shadow in SHADOWS:
        row, own = ({k: v for k, v in lab.row(shadow).items() if k not in OWN} for lab in (at_once, alone))
        assert row == own
        assert at_once.metrics(shadow) == pytest.approx(alone.metrics(shadow), abs=1e-4)
        for pool, (phi, member) in alone.signals(shadow).items():
            np.testing.assert_allclose(at_once.signals(shadow)[pool][0], phi, atol=1e-3, rtol=0)
            np.testing.assert_array_equal(at_once.signals(shadow)[pool][1], member)
        assert at_once.store.has_model(shadow.id), "methods start from it"


def test_the_seconds_of_all_are_shared_out_and_the_row_says_among_how_many(make_lab: MakeLab) -> None:
    lab = make_lab()
    perform_together(SHADOWS, lab.bench, [1, 1, 1])
    rows = [lab.row(shadow) for shadow in SHADOWS]
    assert [row["together"] for row in rows] == [3, 3, 3]
    assert len({row["work_seconds"] for row in rows}) == 1
    assert all(0 < row["work_seconds"] <= row["seconds"] for row in rows)
    lab.perform(unit(Kind.SHADOW, seed=3))
    assert lab.row(unit(Kind.SHADOW, seed=3))["together"] == 1


def test_networks_that_cannot_be_stacked_leave_a_line_and_no_row(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab()
    spec = ARCHITECTURES["cnn_small"]
    build = lambda *about: nn.Sequential(nn.Dropout(0.1), spec.build(*about))  # noqa: E731
    monkeypatch.setitem(ARCHITECTURES._specs, "drops", replace(spec, name="drops", build=build))
    shadows = [replace(shadow, architecture=Named("drops", 1)) for shadow in SHADOWS]
    with pytest.warns(UserWarning, match="drops on tiny are trained one after the other.*random"):
        assert perform_together(shadows, lab.bench, [1, 1, 1]) is None
    assert not lab.store.committed()
    assert lab.store.scan("failures").collect().is_empty()
    assert lab.perform(*shadows) == "done"


def test_a_root_that_fails_is_no_reason_to_train_one_by_one(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab()

    def full(*given: object) -> None:
        raise RootNotWritable("the disk is full")

    monkeypatch.setattr(type(lab.store), "commit", full)
    with pytest.raises(RootNotWritable):
        perform_together(SHADOWS, lab.bench, [1, 1, 1])
