"""Plans are kept as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store import Store, StoreCorrupt, StoreError, UnknownPlan


def test_a_plan_comes_back(store: Store) -> None:
    document = {"id": "digits-0123", "study": "digits", "question": "ü", "measures": [], "units": [], "more": [1, 2.5]}
    store.write_plan("digits-0123", {"old": 1})
    store.write_plan("digits-0123", document)
    store.write_plan("another", {})
    assert store.read_plan("digits-0123") == document
    assert store.plans() == ["another", "digits-0123"]


def test_an_unknown_plan_names_the_nearest(store: Store) -> None:
    store.write_plan("digits-0123", {})
    with pytest.raises(UnknownPlan, match="did you mean 'digits-0123'"):
        store.read_plan("digits-0124")


@pytest.mark.parametrize("plan_id", ["", "../x", ".hidden", "a/b", "a\nb"])
def test_a_plan_id_is_a_file_name(store: Store, plan_id: str) -> None:
    for use in (
        lambda: store.write_plan(plan_id, {}),
        lambda: store.read_plan(plan_id),
        lambda: store.lease_holder(plan_id),
    ):
        with pytest.raises(StoreError, match="is no plan id"):
            use()


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "\xff"])
def test_a_damaged_plan_is_named(root: Path, text: str) -> None:
    store = Store.open(str(root), write=True)
    (root / "studies" / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(StoreCorrupt, match=r"studies/plan\.json is damaged"):
        store.read_plan("plan")
