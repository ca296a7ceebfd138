"""Units of the shadow-model farm: who is trained on what, who forgets what, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny_lab
import tiny_study
import torch
from tiny_lab import FARM, SHADOW, TRAIN, VAL, Index, Lab, unit
from torch import nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, Part, Run, View
from harness.contracts import VAL as VAL_PART
from harness.farm import POPULATION, TUNING_FIRST, FarmRef, PoolSpec, membership
from harness.farm_deep_unlearn import half_splits
from harness.store import Store
from harness.unit import Kind, Unit
from harness.views import keep_pools
from harness.work import Workbench, perform

MakeLab = Callable[..., Lab]
Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

SHADOWS = (0, 1, TUNING_FIRST + 1)
POOLS = [pool.name for pool in FARM.pools]
MIRRORED = replace(FARM, queries=("identity", "flip"))
CONDITIONAL = FarmRef((PoolSpec("canary", 12, "random"),), design="conditional")
HALVES = FarmRef((), design="half_splits")
DESIGN = half_splits(tiny.DEVELOPMENT, splits=4, draws=2)
DRAWN = [(0, 0), (0, 1), (3, 1)]


def inside(shadow: int) -> Index:
    """Return the images that are in a shadow."""
    return TRAIN[membership(FARM, shadow, len(TRAIN))]


def of_farm(farm: FarmRef, kind: Kind, method: str = "original", *, shadow: int = 0, pool: str = "") -> Unit:
    """Return a unit of another farm."""
    needs = (of_farm(farm, Kind.SHADOW, shadow=shadow).id,) if kind == Kind.SHADOW_UNLEARN else ()
    return replace(unit(kind, method, seed=shadow, pool=pool), farm=farm, needs=needs)


def recorder(declare: Declare) -> dict[Part, list[tuple[int, int]]]:
    """Declare a method that does nothing, and return what it is given: (image, label) of each part."""
    seen: dict[Part, list[tuple[int, int]]] = {}

    def record(model: nn.Module, data: View, run: Run) -> nn.Module:
        for part, samples in ((RETAIN, data.retain), (FORGET, data.forget), (VAL_PART, data.val)):
            (batch,) = samples.batches(100, shuffle=False)
            seen[part] = list(zip(tiny.positions_of(batch.images, tiny.data()), batch.labels.tolist(), strict=True))
        assert data.forget_classes == ()
        return model

    declare("recorder", {RETAIN, FORGET, VAL_PART}, record)
    return seen


def of_pools(lab: Lab, done: Unit) -> list[dict[str, Any]]:
    """Return the signals of a unit on images that its shadow may have seen."""
    return [row for row in lab.rows("signals", done) if row["pool"] != POPULATION]


def log_odds(lab: Lab, trained: Unit, images: Index, labels: Index, *, flip: bool = False) -> Index:
    """Return log(p / (1 - p)) of labels [n], from the stored weights and a plain forward pass."""
    model = lab.bench.initial_model(trained)
    model.load_state_dict(lab.store.load_model(trained.id))
    batch = tiny.data().batch(torch.from_numpy(images))
    with torch.no_grad():
        odds = model.eval()(batch.flip(3) if flip else batch).double().softmax(1)
    p = odds[torch.arange(len(images)), torch.from_numpy(labels)].numpy()
    return np.asarray(np.log(p / (1 - p)))


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
    seen = recorder(declare)
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
        for pool in POOLS if release is trained else [release.pool]:
            phi, member = lab.signals(release)[pool]
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
    for pool, (phi, _) in lab.signals(SHADOW).items():
        images = lab.pool(pool)
        expected = log_odds(lab, SHADOW, images, lab.trained_labels()[images])
        np.testing.assert_allclose(phi, expected, rtol=1e-4, atol=1e-5)


def test_shadows_are_tested_on_the_true_labels_of_test(lab: Lab) -> None:
    lab.perform(SHADOW)
    model = lab.bench.initial_model(SHADOW)
    model.load_state_dict(lab.store.load_model(SHADOW.id))
    test = torch.arange(tiny.DEVELOPMENT, tiny.COUNT)
    predicted = model.eval()(tiny.data().batch(test)).argmax(1).numpy()
    assert lab.metrics(SHADOW)["test", "accuracy"] == (predicted == tiny.images().labels[test]).mean()


def test_every_query_leaves_a_row_and_changes_no_other(lab: Lab) -> None:
    plain, mirrored = (
        [
            of_farm(farm, Kind.SHADOW),
            of_farm(farm, Kind.SHADOW_UNLEARN, "finetune", pool="canary"),
            of_farm(farm, Kind.SHADOW_RETRAIN, "retrain", pool="canary"),
        ]
        for farm in (FARM, MIRRORED)
    )
    lab.perform(*plain, *mirrored)
    for one, both in zip(plain, mirrored, strict=True):
        rows = {(row["pool"], row["query"]): row for row in of_pools(lab, both)}
        pools = POOLS if one.kind == Kind.SHADOW else ["canary"]
        assert rows.keys() == {(pool, query) for pool in pools for query in MIRRORED.queries}
        for row in of_pools(lab, one):
            identity, flip = (rows[row["pool"], query] for query in MIRRORED.queries)
            assert (identity["phi"], identity["member"]) == (row["phi"], row["member"])
            assert flip["member"] == row["member"]
            assert flip["phi"] != row["phi"]
    trained, labels = mirrored[0], lab.trained_labels()
    for row in of_pools(lab, trained):
        images = lab.pool(row["pool"])
        expected = log_odds(lab, trained, images, labels[images], flip=row["query"] == "flip")
        np.testing.assert_allclose(row["phi"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shadow", [0, 1])
def test_a_conditional_farm_trains_on_everything_and_forgets_the_whole_pool(
    lab: Lab, declare: Declare, shadow: int
) -> None:
    seen = recorder(declare)
    trained = of_farm(CONDITIONAL, Kind.SHADOW, shadow=shadow)
    release = of_farm(CONDITIONAL, Kind.SHADOW_UNLEARN, "recorder", shadow=shadow, pool="canary")
    retrain = of_farm(CONDITIONAL, Kind.SHADOW_RETRAIN, "retrain", shadow=shadow, pool="canary")
    with tiny_lab.training() as fed:
        lab.perform(trained)
    with tiny_lab.training() as again:
        lab.perform(retrain)
    lab.perform(release)
    pool = lab.bench.audited(trained).pools["canary"]
    images = TRAIN[pool.positions]
    assert {image for image, _ in fed} == set(TRAIN)
    assert {image for image, _ in again} == set(TRAIN) - set(images)
    assert {part: {image for image, _ in given} for part, given in seen.items()} == {
        RETAIN: set(TRAIN) - set(images),
        FORGET: set(images),
        VAL_PART: set(VAL),
    }
    assert sorted(seen[FORGET]) == sorted(zip(images.tolist(), pool.trained_labels.tolist(), strict=True))
    for done in (trained, release, retrain):
        assert lab.signals(done)["canary"][1].all()


def test_shadows_of_a_conditional_farm_differ_by_their_seeds(lab: Lab) -> None:
    shadows = [of_farm(CONDITIONAL, Kind.SHADOW, shadow=shadow) for shadow in range(2)]
    lab.perform(*shadows)
    assert len({lab.row(shadow)["model"] for shadow in shadows}) == 2


def test_half_splits_train_retain_and_forget_as_published(lab: Lab, declare: Declare) -> None:
    seen = recorder(declare)
    val, labels = set(DESIGN.val), tiny.images().labels
    for split, draw in DRAWN:
        trained = of_farm(HALVES, Kind.SHADOW, shadow=split)
        with tiny_lab.training() as fed:
            lab.perform(trained)
        with tiny_lab.training() as again:
            lab.perform(of_farm(HALVES, Kind.SHADOW_RETRAIN, "retrain", shadow=split, pool=f"draw{draw}"))
        lab.perform(of_farm(HALVES, Kind.SHADOW_UNLEARN, "recorder", shadow=split, pool=f"draw{draw}"))
        retain, forget = set(DESIGN.retain[split, draw]), set(DESIGN.forget[split, draw])
        assert {image for image, _ in fed} == set(DESIGN.train[split])
        assert {image for image, _ in again} == retain
        given = {part: {image for image, _ in images} for part, images in seen.items()}
        assert given == {RETAIN: retain, FORGET: forget, VAL_PART: val}
        assert {label - labels[image] for image, label in (*fed, *again, *seen[FORGET])} == {0}


def test_signals_of_half_splits_say_who_is_in_which_world(lab: Lab) -> None:
    images = np.setdiff1d(np.arange(tiny.DEVELOPMENT), DESIGN.val)  # in the order of their indices
    labels = tiny.images().labels[images]
    for split, draw in DRAWN:
        trained = of_farm(HALVES, Kind.SHADOW, shadow=split)
        about = {"shadow": split, "pool": f"draw{draw}"}
        nothing = of_farm(HALVES, Kind.SHADOW_UNLEARN, **about)
        retrain = of_farm(HALVES, Kind.SHADOW_RETRAIN, "retrain", **about)
        lab.perform(trained, nothing, retrain)
        (whole,), (release,), (again,) = (of_pools(lab, done) for done in (trained, nothing, retrain))
        assert (whole["pool"], release["pool"], again["pool"]) == ("", f"draw{draw}", f"draw{draw}")
        assert whole["member"] == [image in DESIGN.train[split] for image in images]
        world = dict.fromkeys(DESIGN.forget[split, draw], True) | dict.fromkeys(DESIGN.retain[split, draw])
        assert release["member"] == again["member"] == [world.get(image, False) for image in images]
        assert release["phi"] == whole["phi"] != again["phi"]
        expected = log_odds(lab, trained, images, labels)
        np.testing.assert_allclose(whole["phi"], expected, rtol=1e-4, atol=1e-5)


def test_weights_of_the_farm_stay_where_they_are_wanted(lab: Lab) -> None:
    trained = unit(Kind.SHADOW)
    others = [
        unit(Kind.SHADOW_UNLEARN, "finetune", pool="clean"),
        unit(Kind.SHADOW_RETRAIN, "retrain", pool="clean"),
    ]
    lab.perform(trained, *others, keep="all")
    assert [lab.store.has_model(done.id) for done in (trained, *others)] == [True, False, False]
    lab.perform(*others, attempt=2, keep="farm")
    for done in others:
        phi, _ = lab.signals(done)["clean"]
        images = lab.pool("clean")
        np.testing.assert_allclose(phi, log_odds(lab, done, images, lab.trained_labels()[images]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_half_splits_of_the_digits_run_and_every_signal_has_its_pool(tmp_path: Path) -> None:
    farm = {"design": "half_splits", "shadows": 4, "draws": 2, "tuning": 2, "queries": ["identity", "flip"]}
    plan = tiny_study.plan_of(tmp_path, datasets=["digits@400"], methods=["ct"], farm=farm)
    store = Store.open(str(tmp_path / "runs"), write=True)
    bench = Workbench(store, tiny.CPU)
    keep_pools(plan, store, bench)
    of_farms = [done for done in plan.units.values() if done.kind.of_farm]
    assert {perform(done, bench) for done in of_farms} == {"done"}
    signals, pools = (store.scan(table).collect() for table in ("signals", "pools"))
    signals = signals.filter(pl.col("pool") != POPULATION)
    assert signals.group_by("unit").len()["len"].to_list() == [2] * len(of_farms)
    assert set(signals["pool"]) == set(pools["pool"]) == {"", "draw0", "draw1"}
    assert set(signals["n"]) == {304}  # 400 images, of which 320 are not test, of which 16 are val
    loaded = bench.dataset(of_farms[0].dataset)
    for _, rows in pools.group_by("pool"):
        np.testing.assert_array_equal(rows["index"], bench.audited(of_farms[0]).train)
        np.testing.assert_array_equal(rows["trained_label"], loaded.labels[rows["index"].to_numpy()])
    worlds = signals.filter(kind="shadow_unlearn", pool="draw0", query="identity")["member"].to_list()
    assert {(row.count(True), row.count(None), row.count(False)) for row in worlds} == {(15, 137, 152)}
