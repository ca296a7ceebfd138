"""Units of kind `relearn`: from a trial's weights back to what the original knew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import tiny_lab
import torch
from tiny_lab import ORIGINAL, SPEC, TRAIN, VAL, Index, Lab, equal, unit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, Diverged, Images, Part, Recipe, Run, View
from harness.engine.models import digest
from harness.engine.relearn import accuracy
from harness.store import Store
from harness.unit import Kind, Unit
from harness.work import Workbench

MakeLab = Callable[..., Lab]
Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

LIMIT = 10
"""In steps, and in place of 500: in this problem an epoch is one step."""
BIAS = 8.0
"""By so much a logit is lowered that the limit just suffices."""

CLASS = "class:3"
LONG = replace(SPEC.recipe, epochs=30)
"""Of an original that knows the forgotten class, so that a fresh model needs more than a step."""


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engine.relearn.LEAST_STEPS", LIMIT)


def relearned(lab: Lab, method: str, scenario: str = CLASS, recipe: Recipe = LONG, seed: int = 0) -> Unit:
    """Perform original, trial and relearning; return the last one."""
    kind = Kind.RETRAIN if method == "retrain" else Kind.UNLEARN
    trial, found = (unit(one, method, scenario=scenario, recipe=recipe, seed=seed) for one in (kind, Kind.RELEARN))
    lab.perform(unit(Kind.ORIGINAL, recipe=recipe, seed=seed), trial, found)
    return found


def numbers(lab: Lab, found: Unit) -> tuple[float | None, ...]:
    """Return steps, target and most steps."""
    metrics = lab.metrics(found)
    return tuple(metrics["all", f"relearn_{name}"] for name in ("steps", "target", "steps_most"))


def known(lab: Lab, one: str, index: Index) -> float:
    """Return the accuracy of a stored model on some images."""
    model = lab.bench.initial_model(ORIGINAL)
    model.load_state_dict(lab.store.load_model(one))
    return accuracy(model, lab.bench.dataset(ORIGINAL.dataset).data, torch.from_numpy(index))


@contextmanager
def seen_images() -> Iterator[list[list[int]]]:
    """Collect the images of every batch that a model is trained on inside."""
    batches: list[list[int]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.training:
            batches.append(tiny.positions_of(inputs[0].detach(), tiny.data()))

    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield batches
    finally:
        handle.remove()


@pytest.fixture
def fresh(declare: Declare) -> None:
    """Methods that give an untrained model, that of the seed or another one, or answer class 3 less readily."""

    def biased(model: nn.Module, data: View, run: Run) -> nn.Module:
        with torch.no_grad():
            list(model.parameters())[-1][3] -= BIAS
        return model

    declare("fresh", {RETAIN}, lambda model, data, run: run.initial_model())
    declare("other", {RETAIN}, lambda model, data, run: run.untrained_model("other"))
    declare("biased", {RETAIN}, biased)


def by_hand(lab: Lab, start: dict[str, Tensor], index: Index, target: float) -> int | None:
    """Return the steps to the target, with the whole training set as the one batch of an epoch, in any order."""
    model, data = lab.bench.initial_model(ORIGINAL), lab.bench.dataset(ORIGINAL.dataset).data
    model.load_state_dict(start)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(LIMIT + 1):
        if accuracy(model, data, torch.from_numpy(index)) >= target:
            return step
        model.train()
        images = data.batch(torch.from_numpy(TRAIN))
        optimizer.zero_grad()
        cross_entropy(model(images), data.labels[torch.from_numpy(TRAIN)]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return None


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("method", ["retrain", "fresh", "biased", "finetune"])
@pytest.mark.parametrize("scenario", [CLASS, "random:0.3"])
def test_the_target_is_95_percent_of_the_originals_accuracy_on_what_was_forgotten(
    lab: Lab, method: str, scenario: str
) -> None:
    found = relearned(lab, method, scenario)
    steps, target, most = numbers(lab, found)
    parts = lab.bench.parts(ORIGINAL.dataset, scenario)
    labels = tiny.images().labels
    index = VAL[labels[VAL] == 3] if scenario == CLASS else parts.split.forget
    assert len(index)
    trial, original = found.needs
    assert target == pytest.approx(0.95 * known(lab, original, index))
    assert target > 0.5
    assert most == LIMIT
    assert steps == by_hand(lab, lab.store.load_model(trial), index, target - 1e-9)
    assert lab.row(found)["steps"] == (most if steps is None else steps)


@pytest.mark.usefixtures("fresh")
def test_what_is_drawn_meanwhile_is_the_same_whatever_the_method(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for dropout, which this network has none of."""
    drawn: list[float] = []
    monkeypatch.setattr("harness.work.relearn.relearn", lambda *_: drawn.append(float(torch.rand(()))))
    for method in ("retrain", "fresh", "biased"):
        relearned(lab, method)
    relearned(lab, "fresh", seed=1)
    assert len(drawn) == 4
    assert len(set(drawn[:3])) == 1
    assert drawn[3] != drawn[0]


@pytest.mark.usefixtures("fresh")
def test_the_cases_above_have_a_number_none_and_0(lab: Lab) -> None:
    steps = [numbers(lab, relearned(lab, method))[0] for method in ("finetune", "biased", "fresh")]
    assert steps[0] == 0
    assert steps[1] is not None
    assert steps[1] > 0
    assert steps[2] is None


@pytest.mark.usefixtures("fresh")
def test_all_training_images_come_in_the_same_order_whatever_the_method(lab: Lab) -> None:
    orders = {}
    for method in ("retrain", "fresh", "other"):
        relearned(lab, method)
        with seen_images() as batches:
            lab.perform(unit(Kind.RELEARN, method, scenario=CLASS, recipe=LONG))
        orders[method] = batches
        assert len(batches) >= 1
        assert all(sorted(batch) == sorted(TRAIN.tolist()) for batch in batches)
    shortest = min(map(len, orders.values()))
    assert len({str(batches[:shortest]) for batches in orders.values()}) == 1
    relearned(lab, "fresh", seed=1)
    with seen_images() as other:
        lab.perform(unit(Kind.RELEARN, "fresh", scenario=CLASS, recipe=LONG, seed=1))
    assert other[0] != orders["fresh"][0]


@pytest.mark.usefixtures("fresh")
def test_it_starts_from_the_weights_of_the_trial_and_changes_neither_these_nor_the_originals(lab: Lab) -> None:
    found = relearned(lab, "other")
    before = {need: lab.store.load_model(need) for need in found.needs}
    assert digest(before[found.needs[0]]) != digest(before[found.needs[1]])
    lab.perform(found)
    assert all(equal(lab.store.load_model(need), state) for need, state in before.items())
    assert equal(lab.bench.original(found.needs[1]), before[found.needs[1]])
    assert not lab.store.has_model(found.id)


def test_a_trial_that_diverged_has_no_number_and_is_not_trained(lab: Lab, declare: Declare) -> None:
    def diverge(model: nn.Module, data: View, run: Run) -> nn.Module:
        raise Diverged("nothing can come of it")

    declare("divergent", {FORGET}, diverge)
    with seen_images() as batches:
        found = relearned(lab, "divergent", recipe=replace(LONG, epochs=1))
    assert lab.row(found)["status"] == "diverged"
    steps, target, most = numbers(lab, found)
    assert (steps, most) == (None, 10)
    assert target is not None
    assert len(batches) == 2  # of the original: 40 images in batches of 24


def test_without_an_image_to_ask_there_is_no_target(lab: Lab) -> None:
    """Validation has no image of class 3 if all of these are called 2."""
    labels = tiny.images().labels.copy()
    labels[VAL] = np.where(labels[VAL] == 3, 2, labels[VAL])
    lab.images = Images(tiny.images().images, labels)
    found = relearned(lab, "finetune")
    assert numbers(lab, found) == (None, None, 10)
    assert lab.row(found)["steps"] == 0


def test_weights_stay_for_whoever_starts_from_them_whatever_the_study_keeps(lab: Lab) -> None:
    trial = unit(Kind.UNLEARN, "finetune")
    lab.perform(ORIGINAL, trial, keep="none")
    assert not lab.store.has_model(trial.id)
    assert lab.perform(unit(Kind.RELEARN, "finetune"), keep="none") == "failed"  # it says so
    (row,) = lab.rows("failures", unit(Kind.RELEARN, "finetune"))
    assert (row["exception"], row["phase"]) == ("ModelMissing", "load")
    lab.perform(replace(trial, started_from=True), keep="none")
    assert lab.store.has_model(trial.id)
    assert lab.perform(unit(Kind.RELEARN, "finetune"), attempt=2, keep="none") == "done"


def test_the_store_is_asked_for_the_trial_and_the_cache_for_the_original(lab: Lab) -> None:
    """Each trial is relearned once: its weights would only push originals out."""
    found = relearned(lab, "finetune")
    bench = Workbench(Store.open(lab.store.uri, write=True), tiny.CPU, lambda spec: tiny.images())
    assert tiny_lab.perform(found, bench, 1, "all") == "done"
    assert list(bench._originals) == [found.needs[1]]
