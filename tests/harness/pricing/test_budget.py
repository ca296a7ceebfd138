"""How many device-hours a run has used."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import drive
from harness.pricing.budget import Budget
from harness.process.watch import Known, Watch
from harness.store import Store


def test_a_share_of_a_device_uses_that_share_of_its_time() -> None:
    budget = Budget(hours=1.0)
    budget.spend(3600, 0.25)
    budget.spend(1800)
    assert (budget.used, budget.is_used_up) == (0.75, False)
    budget.spend(900)
    assert budget.is_used_up
    assert not Budget().is_used_up


def test_what_drivers_of_the_same_run_have_finished_before_counts(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(finished))
    assert drive._used_before(store) == 0
    rows = store.scan("units").collect().head(5)
    monkeypatch.setattr(drive, "watch", lambda: Watch(known=Known(chosen=[*rows["unit"], "not yet"])))
    assert drive._used_before(store) * 3600 == pytest.approx(rows["seconds"].sum())
