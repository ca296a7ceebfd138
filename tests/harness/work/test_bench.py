"""The workbench: what is kept warm, and that nobody can spoil it for the next unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import tiny_lab
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lab import DATASET, FARM, ORIGINAL, SHADOW, TRAIN, Lab, equal, state_of, unit

from harness.check import problem as tiny
from harness.contracts import DATASETS
from harness.engine.split import subset
from harness.farm import FarmRef
from harness.unit import DatasetRef, Kind
from harness.work.bench import KEPT_ORIGINALS

SUBSETS = [replace(DATASET, count=count) for count in (0, 40, 48)]


def test_a_data_set_is_read_once_for_all_units_on_it(lab: Lab) -> None:
    retrain, forget_class = (unit(Kind.RETRAIN, "retrain", scenario=s) for s in ("random:0.1", "class:3"))
    lab.perform(ORIGINAL, retrain, forget_class, SHADOW, unit(Kind.SHADOW_UNLEARN, pool="clean"))
    assert lab.reads == 1


@given(order=st.lists(st.sampled_from(SUBSETS), max_size=6))
@settings(max_examples=15, deadline=None)
def test_one_data_set_at_a_time_is_kept(order: list[DatasetRef]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._specs, "tiny", tiny_lab.SPEC)
        lab = Lab(store=None)  # type: ignore[arg-type]
        for reference in order:
            expected = reference.count or tiny.COUNT
            assert len(lab.bench.dataset(reference).data.images) == expected
        assert lab.reads == len(list(groupby(order)))


@pytest.mark.parametrize("count", [40, 56, 63])
def test_a_subset_holds_the_same_share_of_development_and_of_test_images(lab: Lab, count: int) -> None:
    loaded = lab.bench.dataset(replace(DATASET, count=count))
    chosen, development = subset(tiny.images().labels, tiny.DEVELOPMENT, count)
    assert len(set(chosen.tolist())) == count
    assert loaded.development == development == round(count * tiny.DEVELOPMENT / tiny.COUNT)
    assert (chosen[:development] < tiny.DEVELOPMENT).all()
    assert (chosen[development:] >= tiny.DEVELOPMENT).all()
    np.testing.assert_array_equal(loaded.data.images, tiny.images().images[chosen])
    np.testing.assert_array_equal(loaded.data.labels, tiny.images().labels[chosen])
    np.testing.assert_array_equal(loaded.labels, tiny.images().labels[chosen])
    parts = lab.bench.parts(replace(DATASET, count=count), "random:0.1").index
    together = torch.cat([parts[name] for name in ("retain", "forget", "val", "test")])
    assert sorted(together.tolist()) == list(range(count))
    assert (parts["test"] >= development).all()


def test_fine_labels_stay_with_their_images_in_a_subset_too_and_are_absent_without_subclasses(lab: Lab) -> None:
    assert lab.bench.dataset(DATASET).fine is None
    fine = np.arange(tiny.COUNT)
    for count in (0, 40):
        lab = Lab(store=None, images=replace(tiny.images(), fine=fine))  # type: ignore[arg-type]
        chosen, _ = subset(tiny.images().labels, tiny.DEVELOPMENT, count) if count else (fine, 0)
        loaded = lab.bench.dataset(replace(DATASET, count=count))
        assert loaded.fine is not None
        assert loaded.fine.tolist() == chosen.tolist()
        np.testing.assert_array_equal(loaded.labels, tiny.images().labels[chosen])


def test_parts_are_divided_once_and_cover_the_data_set(lab: Lab) -> None:
    for scenario in ("random:0.1", "class:3"):
        parts = lab.bench.parts(DATASET, scenario)
        assert lab.bench.parts(DATASET, scenario) is parts
        together = torch.cat([parts.index[name] for name in ("retain", "forget", "val", "test")])
        assert sorted(together.tolist()) == list(range(tiny.COUNT))
        whole = lab.bench.dataset(DATASET).whole()
        assert set(whole["train"]) == {*parts.index["retain"].tolist(), *parts.index["forget"].tolist()}
        assert all(whole[name].tolist() == parts.index[name].tolist() for name in ("val", "test"))
    assert lab.bench.parts(DATASET, "class:3").forget_classes == (3,)


def test_a_data_set_cut_as_the_kit_cuts_it_keeps_its_parts_apart_everywhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS._specs, "tiny", replace(tiny_lab.SPEC, val="test"))
    loaded = lab.bench.dataset(DATASET)
    whole, parts = loaded.whole(), lab.bench.parts(DATASET, "random:0.3").index
    assert whole["train"].tolist() == list(range(tiny.DEVELOPMENT))
    assert sorted([*whole["test"], *whole["val"]]) == list(range(tiny.DEVELOPMENT, tiny.COUNT))
    assert abs(len(whole["test"]) - len(whole["val"])) <= 1
    assert sorted(torch.cat([parts["retain"], parts["forget"]]).tolist()) == whole["train"].tolist()
    assert all(parts[name].tolist() == whole[name].tolist() for name in ("val", "test"))
    audited = lab.bench.audited(SHADOW)
    assert (audited.train.tolist(), audited.val.tolist()) == (whole["train"].tolist(), whole["val"].tolist())


def test_the_originals_that_were_used_last_stay_loaded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    load: Callable[..., dict[str, torch.Tensor]] = lab.store.load_model

    def counted(store: object, unit: str, device: str = "cpu") -> dict[str, torch.Tensor]:
        loads.append(unit)
        return load(unit, device)

    originals = [unit(Kind.ORIGINAL, seed=seed) for seed in range(KEPT_ORIGINALS + 1)]
    lab.perform(*originals)
    monkeypatch.setattr(type(lab.store), "load_model", counted)
    first, *others, last = range(len(originals))
    for seed in (first, *others, first, last, first):
        lab.perform(unit(Kind.UNLEARN, seed=seed))
    assert loads == [original.id for original in originals]


def test_half_splits_start_from_the_same_weights_and_pairs_from_their_own(lab: Lab) -> None:
    for farm, alike in ((FarmRef((), design="half_splits"), True), (FARM, False)):
        shadows = (replace(unit(Kind.SHADOW, seed=seed), farm=farm) for seed in (3, 4))
        one, other = (state_of(lab.bench.initial_model(shadow)) for shadow in shadows)
        assert equal(one, other) == alike


def test_initial_models_are_own_copies_that_follow_from_the_seed(lab: Lab) -> None:
    one, same, other = (lab.bench.initial_model(unit(Kind.ORIGINAL, seed=seed)) for seed in (0, 0, 1))
    before = state_of(one)
    assert equal(before, state_of(same))
    assert not equal(before, state_of(other))
    with torch.no_grad():
        next(same.parameters()).zero_()
    assert equal(before, state_of(one))
    assert equal(before, state_of(lab.bench.initial_model(ORIGINAL)))


def test_a_farm_relabels_its_canaries_and_nothing_else(lab: Lab) -> None:
    true = torch.from_numpy(tiny.images().labels)
    audited = lab.bench.audited(SHADOW)
    canary = audited.train[audited.pools["canary"].positions]
    changed = torch.nonzero(audited.data.labels != true).ravel()
    assert changed.tolist() == sorted(canary.tolist())
    np.testing.assert_array_equal(audited.data.labels[canary], audited.pools["canary"].trained_labels)
    assert set(audited.train) == set(TRAIN)
    assert lab.bench.dataset(DATASET).data.labels.equal(true)
    assert audited.data.images.data_ptr() == lab.bench.dataset(DATASET).data.images.data_ptr()
    assert lab.bench.audited(SHADOW) is audited
    moved = replace(SHADOW, farm=replace(FARM, seed=1))
    assert lab.bench.audited(moved).pools["canary"].positions.tolist() != audited.pools["canary"].positions.tolist()
