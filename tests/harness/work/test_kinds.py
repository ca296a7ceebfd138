"""What each kind of unit does with the data and with the models of others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_lab
import torch
from numpy.typing import NDArray
from tiny_lab import DATASET, ORIGINAL, SCENARIO, TRAIN, VAL, Lab, equal, state_of, unit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import registry
from harness.attacks import population_mia
from harness.check import problem as tiny
from harness.contracts import DATASETS, FORGET, RETAIN, Part, Recipe, Run, View
from harness.contracts import VAL as VAL_PART
from harness.engine.models import digest
from harness.engine.train import fit
from harness.store import Store
from harness.unit import DatasetRef, Kind
from harness.work import Workbench, perform
from harness.work.setting import new_run, view_of

MakeLab = Callable[..., Lab]
Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

RETRAIN = unit(Kind.RETRAIN, "retrain")
FINETUNE = unit(Kind.UNLEARN, "finetune")
LONG = Recipe(epochs=12, batch_size=24, lr=0.05)


def measured(model: nn.Module, index: NDArray[np.int64]) -> tuple[float, float]:
    """Return (accuracy, loss) of a model, from the pixels on: independent of the harness's evaluation."""
    pixels = torch.from_numpy(tiny.images().images[index]).double() / 255
    mean, std = (torch.tensor(v, dtype=torch.double).view(3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
    labels = torch.from_numpy(tiny.images().labels[index])
    with torch.no_grad():
        logits = model.double().eval()((pixels - mean) / std)
    return float((logits.argmax(1) == labels).double().mean()), float(cross_entropy(logits, labels))


def test_an_original_is_evaluated_on_train_val_and_test(lab: Lab) -> None:
    assert lab.perform(ORIGINAL) == "done"
    model = lab.bench.initial_model(ORIGINAL)
    model.load_state_dict(lab.store.load_model(ORIGINAL.id))
    parts = {"train": TRAIN, "val": VAL, "test": np.arange(tiny.DEVELOPMENT, tiny.COUNT)}
    expected = {}
    for part, index in parts.items():
        expected[part, "accuracy"], expected[part, "loss"] = measured(model, index)
    assert lab.metrics(ORIGINAL) == pytest.approx(expected, rel=1e-5)


def test_originals_are_trained_on_train_and_retrains_on_retain_epoch_by_epoch(lab: Lab) -> None:
    parts = lab.bench.parts(DATASET, SCENARIO).index
    for trained, expected in ((ORIGINAL, TRAIN.tolist()), (RETRAIN, parts["retain"].tolist())):
        with tiny_lab.training() as seen:
            lab.perform(trained)
        assert sorted(image for image, _ in seen) == sorted(expected * trained.recipe.epochs)
        assert all(label == tiny.images().labels[image] for image, label in seen)


@pytest.mark.parametrize("scenario", [SCENARIO, "class:3"])
def test_the_weights_of_a_retrain_depend_on_the_retain_images_alone(make_lab: MakeLab, scenario: str) -> None:
    parts = make_lab().bench.parts(DATASET, scenario).index
    retrain = unit(Kind.RETRAIN, "retrain", scenario=scenario)
    digests = {}
    for part in ("none", "forget", "val", "test", "retain"):
        changed = parts[part].numpy() if part in parts else np.array([], dtype=np.int64)
        lab = make_lab(tiny_lab.with_other_pixels(changed))
        lab.perform(retrain)
        digests[part] = lab.row(retrain)["model"]
    other = digests.pop("retain")
    assert len(set(digests.values())) == 1
    assert other not in digests.values()


def test_doing_nothing_gives_the_numbers_of_the_original_bit_for_bit(lab: Lab) -> None:
    nothing = unit(Kind.UNLEARN)
    lab.perform(ORIGINAL, nothing)
    before, after = lab.metrics(ORIGINAL), lab.metrics(nothing)
    for part in ("val", "test"):
        for metric in ("accuracy", "loss"):
            assert after[part, metric] == before[part, metric]
    assert lab.row(nothing)["model"] == lab.row(ORIGINAL)["model"]
    assert after["all", "changed_weights"] == 0
    assert lab.row(nothing)["steps"] == 0


def test_how_much_a_method_changed_is_counted_and_a_retrain_has_no_such_number(lab: Lab) -> None:
    lab.perform(ORIGINAL, RETRAIN, FINETUNE)
    assert 0.9 < lab.metrics(FINETUNE)["all", "changed_weights"] <= 1
    assert ("all", "changed_weights") not in lab.metrics(RETRAIN)


def test_a_method_starts_from_exactly_the_originals_weights_and_sees_exactly_its_parts(
    lab: Lab, declare: Declare
) -> None:
    starts: list[dict[str, Tensor]] = []
    seen: dict[str, list[int]] = {}

    def record(model: nn.Module, data: View, run: Run) -> nn.Module:
        starts.append(state_of(model))
        for part in (data.retain, data.forget, data.val):
            images = [
                image
                for batch in part.batches(7, shuffle=False)
                for image in tiny.positions_of(batch.images, tiny.data())
            ]
            seen[str(len(seen))] = images
            assert part.labels.tolist() == tiny.images().labels[images].tolist()
        return model

    declare("recorder", {RETAIN, FORGET, VAL_PART}, record)
    lab.perform(unit(Kind.ORIGINAL, seed=1), ORIGINAL, unit(Kind.UNLEARN, "recorder"))
    assert equal(starts[0], lab.store.load_model(ORIGINAL.id))
    parts = lab.bench.parts(DATASET, SCENARIO).index
    assert list(seen.values()) == [parts[name].tolist() for name in ("retain", "forget", "val")]


def test_a_method_that_spoils_what_it_is_given_spoils_nothing_else(lab: Lab, declare: Declare) -> None:
    def vandal(model: nn.Module, data: View, run: Run) -> nn.Module:
        with torch.no_grad():
            for tensor in (*model.state_dict().values(), *run.initial_model().state_dict().values()):
                tensor.zero_()
        for part in (data.retain, data.forget, data.retain_and_forget):
            part.labels.zero_()
            for batch in part.batches(7):
                batch.images.zero_()
                batch.labels.zero_()
                batch.positions.zero_()
        torch.manual_seed(0)
        np.random.seed(0)
        return model

    declare("vandal", {RETAIN, FORGET}, vandal)
    lab.perform(ORIGINAL, FINETUNE)
    before, metrics = lab.store.load_model(ORIGINAL.id), lab.metrics(FINETUNE)
    lab.perform(unit(Kind.UNLEARN, "vandal"))
    assert equal(lab.store.load_model(ORIGINAL.id), before)
    assert equal(lab.bench.original(ORIGINAL.id), before)
    lab.perform(FINETUNE)
    assert lab.metrics(FINETUNE) == metrics


def test_timing_runs_the_same_work_without_curves_and_keeps_its_seconds_alone(lab: Lab, declare: Declare) -> None:
    ends: list[str] = []

    def work(model: nn.Module, data: View, run: Run) -> nn.Module:
        optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
        model = fit(model, data.retain, optimizer, run, epochs=3, batch_size=24, augment=True)
        noise = torch.randn(()) + np.random.normal()
        with torch.no_grad():
            next(model.parameters()).add_(noise)
        ends.append(digest(model.state_dict()))
        return model

    declare("noisy", {RETAIN}, work)
    trial, timing = unit(Kind.UNLEARN, "noisy"), unit(Kind.TIMING, "noisy")
    lab.perform(ORIGINAL, trial, timing)
    assert ends[0] == ends[1] == digest(lab.store.load_model(trial.id))
    assert lab.metrics(timing) == {("all", "seconds"): lab.row(timing)["work_seconds"]}
    assert lab.row(timing)["steps"] == lab.row(trial)["steps"] == 6
    assert lab.row(timing)["model"] is None
    assert [len(lab.rows(table, timing)) for table in ("epochs", "signals")] == [0, 0]


def test_timing_evaluates_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("evaluated")

    lab.perform(ORIGINAL)
    monkeypatch.setattr("harness.work.measured.evaluate", refuse)
    assert lab.perform(unit(Kind.TIMING, "finetune")) == "done"
    assert lab.perform(FINETUNE) == "failed"


def test_curves_begin_before_the_first_epoch_and_end_at_the_result(lab: Lab) -> None:
    lab.perform(ORIGINAL, RETRAIN, FINETUNE)
    for trained, epochs in ((ORIGINAL, 2), (RETRAIN, 2), (FINETUNE, 2)):
        rows = sorted(lab.rows("epochs", trained), key=lambda row: row["epoch"])
        assert [row["epoch"] for row in rows] == list(range(epochs + 1))
        metrics = lab.metrics(trained)
        parts = ("val", "test") if trained is ORIGINAL else ("retain", "forget", "val", "test")
        assert {part: rows[-1][part] for part in parts} == {part: metrics[part, "accuracy"] for part in parts}
        assert rows[0]["loss"] is None
        assert all(row["loss"] > 0 and row["learning_rate"] > 0 for row in rows[1:])
    start = lab.rows("epochs", FINETUNE)[0]
    assert start["epoch"] == 0
    assert start["val"] == lab.metrics(ORIGINAL)["val", "accuracy"]


def on_digits(scenario: str) -> Any:
    """Return a one-epoch trial on the digits and its original."""
    registry.load()
    spec = DATASETS["digits"]
    reference = DatasetRef("digits", 1, spec.digest)
    recipe = replace(spec.recipe, epochs=1)
    return unit(Kind.UNLEARN, scenario=scenario, dataset=reference, recipe=recipe), unit(
        Kind.ORIGINAL, dataset=reference, recipe=recipe
    )


@pytest.mark.parametrize(("scenario", "classes"), [("random:0.1", range(10)), ("class:3", [3])])
def test_the_population_attack_compares_forget_with_held_out_images_of_the_same_classes(
    tmp_path: Any, scenario: str, classes: Collection[int]
) -> None:
    store = Store.open(str(tmp_path), write=True)
    bench = Workbench(store, tiny.CPU)
    trial, original = on_digits(scenario)
    assert [perform(u, bench) for u in (original, trial)] == ["done", "done"]
    lab = Lab(store)
    signals, metrics = lab.signals(trial), lab.metrics(trial)
    loaded, parts = bench.dataset(trial.dataset), bench.parts(trial.dataset, scenario)
    forget = np.logaddexp(0, -signals["forget"][0])
    for part in ("val", "test"):
        labels = loaded.labels[parts.index[part]]
        others = np.logaddexp(0, -signals[part][0])
        assert len(others) == np.isin(labels, list(classes)).sum()
        assert metrics[part, "population_mia"] == pytest.approx(population_mia(forget, others), abs=1e-9)
        assert len(others) < len(labels) or scenario != "class:3"
        assert not signals[part][1].any()
    assert signals["forget"][1].all()


def test_too_few_images_of_the_forgotten_class_give_no_population_attack(lab: Lab) -> None:
    trial = unit(Kind.UNLEARN, scenario="class:3")
    lab.perform(ORIGINAL, trial)
    assert len(VAL) == 8  # two of each class
    assert lab.metrics(trial)["val", "population_mia"] is None
    assert lab.row(trial)["status"] == "done"


def test_a_bf16_recipe_learns_what_the_fp32_one_learns(lab: Lab) -> None:
    """Over enough steps that weights which the low precision had frozen or cached would show."""
    losses, digests = [], []
    for precision in ("fp32", "bf16"):
        original = unit(Kind.ORIGINAL, recipe=replace(LONG, precision=precision))
        finetune = unit(Kind.UNLEARN, "finetune", recipe=replace(LONG, precision=precision))
        lab.perform(original, finetune)
        found = [lab.metrics(original)["train", "loss"], lab.metrics(finetune)["retain", "loss"]]
        losses.append(np.array(found, dtype=float))
        digests.append({lab.row(original)["model"], lab.row(finetune)["model"]})
        assert {t.dtype for t in lab.store.load_model(original.id).values()} <= {torch.float32, torch.int64}
    np.testing.assert_allclose(losses[1], losses[0], atol=0.05)
    assert losses[0].max() < 0.3
    assert digests[0].isdisjoint(digests[1])


@pytest.mark.parametrize(("variant", "sizes"), [("default", [4, 3, 3]), ("reference", [4, 4, 2])])
def test_the_reference_variant_of_a_method_gets_the_batches_of_released_code(
    lab: Lab, variant: str, sizes: list[int]
) -> None:
    varied = replace(FINETUNE, values={"variant": variant})
    run, data = new_run(varied, lab.bench, None), lab.bench.dataset(DATASET).data
    view = view_of(varied, data, {RETAIN: torch.arange(10)}, run)
    assert [len(batch.labels) for batch in view.retain.batches(4)] == sizes


def test_a_batch_of_one_under_batch_norm_is_a_failure_that_says_why(lab: Lab) -> None:
    retained = len(lab.bench.parts(DATASET, SCENARIO).index["retain"])
    values = {"batch_size": retained - 1, "epochs": 1, "variant": "reference"}
    assert lab.perform(ORIGINAL, replace(FINETUNE, values=values)) == "failed"
    (failure,) = lab.rows("failures", replace(FINETUNE, values=values))
    assert "more than 1 value per channel" in failure["message"]
    assert lab.perform(replace(FINETUNE, values={**values, "variant": "default"})) == "done"
