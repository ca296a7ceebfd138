"""Units of the shadow-model farm: who is trained on what, who forgets what, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pytest
import tiny_lab
import tiny_problem as tiny
import torch
from tiny_lab import FARM, SHADOW, TRAIN, VAL, Index, Lab, unit
from torch import nn

from harness.contracts import FORGET, RETAIN, Part, Run, View
from harness.contracts import VAL as VAL_PART
from harness.farm import membership
from harness.unit import Kind

MakeLab = Callable[..., Lab]
Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

SHADOWS = (0, 1, 5)
POOLS = [pool.name for pool in FARM.pools]


def inside(shadow: int) -> Index:
    """Return the images that are in a shadow."""
    return TRAIN[membership(FARM, shadow, len(TRAIN))]


@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_shadow_is_trained_on_its_members_with_the_labels_of_the_farm(lab: Lab, shadow: int) -> None:
    trained = unit(Kind.SHADOW, seed=shadow)
    with tiny_lab.training() as seen:
        lab.perform(trained)
    labels = lab.trained_labels()
    assert sorted(seen) == sorted((i, labels[i]) for i in inside(shadow) for _ in range(trained.recipe.epochs))
    wrong = set(lab.pool("canary")) & set(inside(shadow))
    assert wrong == {image for image, label in seen if label != tiny.images().labels[image]}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_retrain_of_a_shadow_never_sees_a_pool_image_whether_it_was_in_or_out(
    lab: Lab, shadow: int, pool: str
) -> None:
    retrain = unit(Kind.SHADOW_RETRAIN, "retrain", seed=shadow, pool=pool)
    with tiny_lab.training() as seen:
        lab.perform(retrain)
    assert {image for image, _ in seen} == set(inside(shadow)) - set(lab.pool(pool))
    assert {label - lab.trained_labels()[image] for image, label in seen} == {0}


def test_what_is_outside_of_a_shadow_cannot_reach_its_weights(make_lab: MakeLab) -> None:
    models = {}
    outside = np.setdiff1d(np.arange(tiny.COUNT), inside(0))
    for name, index in (("none", []), ("outside", outside), ("one inside", inside(0)[:1])):
        lab = make_lab(tiny_lab.with_other_pixels(np.array(index, dtype=np.int64)))
        lab.perform(SHADOW)
        models[name] = lab.row(SHADOW)["model"]
    assert models["none"] == models["outside"] != models["one inside"]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_method_forgets_what_of_the_pool_is_in_the_shadow(lab: Lab, declare: Declare, shadow: int, pool: str) -> None:
    seen: dict[Part, list[tuple[int, int]]] = {}

    def record(model: nn.Module, data: View, run: Run) -> nn.Module:
        for part, samples in ((RETAIN, data.retain), (FORGET, data.forget), (VAL_PART, data.val)):
            (batch,) = samples.batches(100, shuffle=False)
            seen[part] = list(zip(tiny.positions_of(batch.images, tiny.data()), batch.labels.tolist(), strict=True))
        assert data.forget_classes == ()
        return model

    declare("recorder", {RETAIN, FORGET, VAL_PART}, record)
    lab.perform(unit(Kind.SHADOW, seed=shadow), unit(Kind.SHADOW_UNLEARN, "recorder", seed=shadow, pool=pool))
    labels, members = lab.trained_labels(), set(inside(shadow))
    expected = {RETAIN: members - set(lab.pool(pool)), FORGET: members & set(lab.pool(pool)), VAL_PART: set(VAL)}
    assert seen.keys() == expected.keys()
    for part, images in expected.items():
        assert sorted(seen[part]) == sorted((int(i), int(labels[i])) for i in images)


@pytest.mark.parametrize("shadow", SHADOWS)
def test_signals_are_of_the_pool_in_order_and_say_who_was_inside(lab: Lab, shadow: int) -> None:
    trained = unit(Kind.SHADOW, seed=shadow)
    treated = [unit(Kind.SHADOW_UNLEARN, "finetune", seed=shadow, pool=pool) for pool in POOLS]
    retrained = [unit(Kind.SHADOW_RETRAIN, "retrain", seed=shadow, pool=pool) for pool in POOLS]
    lab.perform(trained, *treated, *retrained)
    assert set(lab.signals(trained)) == set(POOLS)
    for release in (trained, *treated, *retrained):
        for pool, (phi, member) in lab.signals(release).items():
            assert pool in (release.pool, *(POOLS if release is trained else ()))
            np.testing.assert_array_equal(member, np.isin(lab.pool(pool), inside(shadow)))
            assert phi.shape == lab.pool(pool).shape


def test_doing_nothing_gives_the_shadows_own_signal_bit_for_bit(lab: Lab) -> None:
    """The reference: what an attack finds in the originals, it finds in the releases of a method that does nothing."""
    for shadow in SHADOWS:
        trained = unit(Kind.SHADOW, seed=shadow)
        nothing = [unit(Kind.SHADOW_UNLEARN, seed=shadow, pool=pool) for pool in POOLS]
        lab.perform(trained, *nothing)
        for release in nothing:
            np.testing.assert_array_equal(lab.signals(release)[release.pool][0], lab.signals(trained)[release.pool][0])
            assert lab.metrics(release) == lab.metrics(trained)


def test_the_signal_is_the_log_odds_of_the_trained_label(lab: Lab) -> None:
    lab.perform(SHADOW)
    model = lab.bench.initial_model(SHADOW)
    model.load_state_dict(lab.store.load_model(SHADOW.id))
    for pool, (phi, _) in lab.signals(SHADOW).items():
        images = lab.pool(pool)
        with torch.no_grad():
            odds = model.eval()(tiny.data().batch(torch.from_numpy(images))).double().softmax(1)
        p = odds[torch.arange(len(images)), torch.from_numpy(lab.trained_labels()[images])].numpy()
        np.testing.assert_allclose(phi, np.log(p / (1 - p)), rtol=1e-4, atol=1e-5)


def test_shadows_are_tested_on_the_true_labels_of_test(lab: Lab) -> None:
    lab.perform(SHADOW)
    model = lab.bench.initial_model(SHADOW)
    model.load_state_dict(lab.store.load_model(SHADOW.id))
    test = torch.arange(tiny.DEVELOPMENT, tiny.COUNT)
    predicted = model.eval()(tiny.data().batch(test)).argmax(1).numpy()
    assert lab.metrics(SHADOW)["test", "accuracy"] == (predicted == tiny.images().labels[test]).mean()
