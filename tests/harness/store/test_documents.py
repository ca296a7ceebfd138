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


NAMED = {"name": "n", "version": 1}
UNIT = {
    "kind": "original",
    "dataset": NAMED | {"digest": "d"},
    "scenario": NAMED,
    "architecture": NAMED,
    "method": NAMED,
    "recipe": {"epochs": 1},
    "seed": 0,
    "config": "default",
}


@pytest.mark.parametrize("question", ["", 'what of "a", "units": ["b"]?', "\\", '", "units": ['])
def test_the_outline_of_a_plan_is_its_study_and_ids_wherever_they_stand(store: Store, question: str) -> None:
    units = [UNIT | {"id": one} for one in ("b", "a", "c")]
    plan = {"id": "p-1", "study": "p", "question": question, "measures": []}
    apart, within = plan | {"ids": ["b", "a", "c"], "units": units}, plan | {"units": units}
    for document in (apart, within):
        store.write_plan("p-1", document)
        (outline,) = store.outlines(None, damaged=pytest.fail)
        assert (outline.id, outline.study, outline.units) == ("p-1", "p", ["b", "a", "c"])
    store.write_plan("p-1", apart | {"ids": ["b", "a"]})
    with pytest.raises(StoreCorrupt, match="its units are others than its ids"):
        store.read_plan("p-1")


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
