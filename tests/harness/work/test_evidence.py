"""Parts drawn by trained models: which models are asked, and that every unit of a cell gets the same parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_lab import DATASET, ORIGINAL, TRAIN, Lab, equal, unit

from harness.check import problem as tiny
from harness.contracts import ARTIFACTS
from harness.engine.evaluate import evaluate
from harness.engine.features import features_of
from harness.unit import Kind, Named, Unit
from harness.work.evidence import models_of, parts_of
from tasks.scenarios._subset_model import membership

MakeLab = Callable[..., Lab]
MODELS = 25
MEMORISED = f"memorised:high:0.1:{MODELS}"


def subset_model(number: int) -> Unit:
    """Return the unit that trains one of the models."""
    values = {**ARTIFACTS["subset_model"].defaults(), "number": number, "of": MODELS}
    return replace(ORIGINAL, kind=Kind.ARTIFACT, method=Named("subset_model", 1), scenario=Named("", 0), values=values)


def about(kind: Kind, method: str, scenario: str, *evidence: Unit, **more: Any) -> Unit:
    """Return a unit of a scenario whose parts are drawn by the models of some units."""
    return replace(unit(kind, method, scenario=scenario, **more), evidence=tuple(one.id for one in evidence))


def test_every_unit_of_a_scenario_has_the_same_parts_whatever_its_seed(make_lab: MakeLab) -> None:
    lab = make_lab()
    other = unit(Kind.ORIGINAL, seed=1)
    trials = [about(Kind.UNLEARN, "finetune", "loss:high:0.1", ORIGINAL, seed=seed) for seed in (0, 1)]
    retrain = about(Kind.RETRAIN, "retrain", "loss:high:0.1", ORIGINAL, seed=1)
    attack = replace(trials[1], kind=Kind.ATTACK, needs=(trials[1].id,))
    assert lab.perform(ORIGINAL, other, *trials, retrain, attack) == "done"
    model = lab.bench.initial_model(ORIGINAL)
    model.load_state_dict(lab.store.load_model(ORIGINAL.id))
    losses = evaluate(model, tiny.data(), torch.from_numpy(TRAIN)).losses
    expected = set(TRAIN[np.argsort(-losses, kind="stable")[:4]].tolist())
    for one in (*trials, retrain, attack):
        parts = parts_of(one, lab.bench)
        assert set(parts.split.forget.tolist()) == expected
        assert set(parts.split.retain.tolist()) == set(TRAIN.tolist()) - expected
    assert lab.row(retrain)["steps"] == 2 * 2  # two epochs of 36 images in batches of 24, on its own initial weights
    plain = replace(retrain, evidence=())
    assert plain.id != retrain.id


def test_features_are_those_of_the_original_and_of_the_training_images_in_their_order(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.perform(ORIGINAL)
    found = models_of(about(Kind.UNLEARN, "finetune", "entangled:low:0.05", ORIGINAL), lab.bench)(None)
    model = lab.bench.initial_model(ORIGINAL)
    model.load_state_dict(lab.store.load_model(ORIGINAL.id))
    head = lab.bench.architecture(ORIGINAL).head
    expected = features_of(model, head, tiny.data(), torch.from_numpy(TRAIN))
    np.testing.assert_allclose(found.features, expected.double().numpy())


def test_memorised_images_are_drawn_by_models_of_the_images_that_each_was_trained_on(make_lab: MakeLab) -> None:
    lab, models = make_lab(), [subset_model(number) for number in range(MODELS)]
    assert lab.perform(ORIGINAL, *models) == "done"
    assert not equal(lab.store.load_model(models[0].id), lab.store.load_model(models[1].id))
    trial = about(Kind.UNLEARN, "finetune", MEMORISED, *models)
    assert lab.perform(trial) == "done"
    inside, data = membership(len(TRAIN), MODELS), tiny.data()
    assert lab.row(models[4])["steps"] == 2 * int(np.ceil(inside[4].sum() / 24))
    correct = []
    for one in models:
        model = lab.bench.initial_model(ORIGINAL)
        model.load_state_dict(lab.store.load_model(one.id))
        correct.append(evaluate(model, data, torch.from_numpy(TRAIN)).correct)
    right = np.array(correct)
    score = [right[inside[:, i], i].mean() - right[~inside[:, i], i].mean() for i in range(len(TRAIN))]
    expected = TRAIN[np.argsort(-np.array(score), kind="stable")[:4]]
    assert set(parts_of(trial, lab.bench).split.forget.tolist()) == set(expected.tolist())


def test_models_are_asked_once_for_all_scenarios_that_they_draw(make_lab: MakeLab) -> None:
    """The answers of 32 models on 50,000 images take minutes: they are not for one level, or one evicted split."""
    lab, models = make_lab(), [subset_model(number) for number in range(MODELS)]
    assert lab.perform(ORIGINAL, *models) == "done"
    first = parts_of(about(Kind.RETRAIN, "retrain", MEMORISED, *models), lab.bench)
    for one in models:
        lab.store.drop_model(one.id)
    second = parts_of(about(Kind.RETRAIN, "retrain", f"memorised:low:0.1:{MODELS}", *models), lab.bench)
    assert set(first.split.forget.tolist()) != set(second.split.forget.tolist())


def test_a_model_that_diverged_is_not_asked(make_lab: MakeLab) -> None:
    lab, recipe = make_lab(), replace(ORIGINAL.recipe, lr=1e30)
    original = replace(ORIGINAL, recipe=recipe)
    retrain = replace(about(Kind.RETRAIN, "retrain", "loss:high:0.1", original), recipe=recipe)
    assert lab.perform(original) == "diverged"
    assert lab.perform(retrain) == "failed"
    (failure,) = lab.rows("failures", retrain)
    assert failure["message"].startswith("'loss:high:0.1': the original of seed 0 has diverged")


def test_parts_of_other_models_are_other_parts(make_lab: MakeLab) -> None:
    """The split is kept by the models that drew it: another recipe gives another original."""
    lab = make_lab()
    recipe = replace(ORIGINAL.recipe, epochs=1)
    other = replace(ORIGINAL, recipe=recipe)
    lab.perform(ORIGINAL, other)
    first = parts_of(about(Kind.RETRAIN, "retrain", "loss:high:0.1", ORIGINAL), lab.bench)
    second = parts_of(about(Kind.RETRAIN, "retrain", "loss:high:0.1", other), lab.bench)
    assert first is not second
    assert lab.bench.parts(DATASET, "random:0.1") is lab.bench.parts(DATASET, "random:0.1")


def test_how_entangled_a_request_is_stands_with_the_trial_that_does_nothing(make_lab: MakeLab) -> None:
    lab, about_it = make_lab(), {"scenario": "random:0.3"}
    nothing, finetuned = (unit(Kind.UNLEARN, method, **about_it) for method in ("original", "finetune"))
    assert lab.perform(ORIGINAL, nothing, finetuned) == "done"
    assert ("all", "entanglement") not in lab.metrics(finetuned)
    model, parts = lab.bench.initial_model(ORIGINAL), parts_of(nothing, lab.bench)
    model.load_state_dict(lab.store.load_model(ORIGINAL.id))
    head = lab.bench.architecture(ORIGINAL).head
    retain, forget = (
        features_of(model, head, tiny.data(), parts.index[part]).double().numpy() for part in ("retain", "forget")
    )
    spread = retain.var(0).sum() + forget.var(0).sum()
    apart = np.linalg.norm(retain.mean(0) - forget.mean(0)) / 2
    assert lab.metrics(nothing)["all", "entanglement"] == pytest.approx(spread / apart**2)
