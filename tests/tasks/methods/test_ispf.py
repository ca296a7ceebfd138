"""The loop of ISPF and its baselines: what a student is given, when, and what becomes of a run that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, DATASETS, METHODS, Diverged, View
from harness.contracts.scenario import Training
from harness.contracts.space import Value
from harness.engine.data import DeviceData, PartSamples
from harness.engine.models import build
from harness.engine.run import TrainingRun
from harness.engine.split import split
from harness.engine.train import train
from harness.work import official
from tasks.methods._data_free import UnsuitableTeacher

CPU = torch.device("cpu")
FAMILY = ("dfkd", "blockf", "gkt", "is", "pf", "ispf")
SHORT: Mapping[str, Value] = {"epochs": 3, "batch_size": 8}


def run_of(method: str, values: Mapping[str, Value], teacher: nn.Module | None = None) -> TrainingRun:
    run = tiny.new_run(observe=lambda model: {"test": 0.0})
    tiny.unlearn(method, run, tiny.parts("class:3"), METHODS[method].checked(values), model=teacher)
    return run


def recorded(run: TrainingRun, name: str) -> list[Tensor]:
    return [record.recorded[name] for record in run.curves if name in record.recorded]


def test_the_generator_learns_alone_before_the_student() -> None:
    run = run_of("dfkd", {**SHORT, "warm_up": 2, "rounds": 3, "generator_steps": 2, "student_steps": 4})
    assert run.steps == 3 * 3 * 4
    assert run.steps_aside == (2 + 3) * 3 * 2
    assert [record.steps for record in run.curves] == [0, 0, 0, 12, 24, 36]


def test_the_student_of_a_run_owes_nothing_to_the_weights_of_the_original() -> None:
    """Where the student has learned nothing yet, another original makes no difference."""
    others = tiny.own_copy("cnn_small")
    with torch.no_grad():
        for parameter in others.parameters():
            parameter.add_(0.1)
    values = {**SHORT, "epochs": 1, "rounds": 1, "student_steps": 1, "lr": 0.0}
    students = [
        tiny.unlearn("ispf", tiny.new_run(), tiny.parts("class:3"), METHODS["ispf"].checked(values), model=model)
        for model in (tiny.own_copy("cnn_small"), others)
    ]
    for one, other in zip(*(student.parameters() for student in students), strict=True):
        assert torch.equal(one, other)


def test_what_is_noted_shows_over_filtering() -> None:
    run = run_of("gkt", SHORT)
    for kept, answers, probability in zip(
        *(recorded(run, name) for name in ("kept", "teacher_answers", "forget_probability")), strict=True
    ):
        assert 0 <= kept <= 1
        torch.testing.assert_close(answers.sum(), torch.tensor(1.0))
        assert answers.shape == (tiny.CLASSES,)
        assert 0 < probability < 1
    assert len(recorded(run, "kept")) == SHORT["epochs"]
    assert len(recorded(run, "generator_loss")) == SHORT["epochs"] + METHODS["gkt"].defaults()["warm_up"]


@pytest.mark.parametrize(("method", "all_kept"), [("dfkd", True), ("pf", True), ("ispf", True), ("gkt", False)])
def test_only_filters_drop_images(method: str, all_kept: bool) -> None:
    """With a threshold that no answer of a barely trained original is under, GKT and IS keep nothing at all."""
    values = {**SHORT, "threshold": 1e-6} if "threshold" in METHODS[method].space else SHORT
    run = run_of(method, values)
    assert {float(kept) for kept in recorded(run, "kept")} == {1.0 if all_kept else 0.0}
    assert (run.steps > 0) == all_kept


def test_a_filter_that_leaves_nothing_for_long_is_a_run_that_diverged() -> None:
    values = {**SHORT, "epochs": 30, "rounds": 1, "student_steps": 1, "threshold": 1e-6}
    with pytest.raises(Diverged, match="no generated image was left for the student in 20 epochs"):
        run_of("is", values)


def test_a_generator_that_goes_to_infinity_is_a_run_that_diverged() -> None:
    with pytest.raises(Diverged, match="the generator's loss is not finite"):
        run_of("pf", {**SHORT, "generator_lr": 1e30})


def test_base_dfq_needs_a_teacher_with_batch_norm() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(tiny.SPEC.shape)), tiny.CLASSES))
    with pytest.raises(UnsuitableTeacher, match="no BatchNorm, whose statistics base DFQ matches; set bn: 0"):
        run_of("ispf", SHORT, plain)
    run_of("ispf", {**SHORT, "variant": "zskt"}, plain)


def test_base_zskt_has_the_adversarial_term_alone() -> None:
    defaults = METHODS["ispf"].defaults("zskt")
    assert [defaults[name] for name in ("bn", "one_hot", "balance", "student_steps")] == [0, 0, 0, 5]


def test_the_best_epoch_on_test_is_returned_on_demand_only() -> None:
    seen: list[dict[str, Tensor]] = []

    def observe(model: nn.Module) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"test": 0.0, "test_retain": {4: 0.9, 5: 0.9}.get(len(seen), 0.1)}

    for select, expected in (("best_test", 3), ("last", -1)):
        seen.clear()
        values = METHODS["pf"].checked({**SHORT, "warm_up": 1, "select": select})
        student = tiny.unlearn("pf", tiny.new_run(observe=observe), tiny.parts("class:3"), values)
        assert all(torch.equal(tensor, seen[expected][name]) for name, tensor in student.state_dict().items())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ispf_forgets_a_digit_and_keeps_the_others_where_gkt_loses_them() -> None:
    """On real digits: forgotten by both, retained by ISPF at least as well; plain distillation forgets nothing."""
    kept, forgotten = {}, {}
    for method in ("dfkd", "gkt", "ispf"):
        kept[method], forgotten[method] = _accuracies_on_digits(method)
    assert forgotten["dfkd"] > 0.7
    assert forgotten["gkt"] < 0.05
    assert forgotten["ispf"] < 0.05
    assert kept["ispf"] > kept["gkt"]
    assert kept["ispf"] > 0.85


def _accuracies_on_digits(method: str) -> tuple[float, float]:
    """Return the accuracy on test digits of the classes to keep and of class 3."""
    registry.load()
    spec, architecture = DATASETS["digits"], ARCHITECTURES["cnn_small"]
    images = official.read(spec)
    data = DeviceData.put(images, spec, CPU)
    parts = split(Training(images.labels), spec.development, registry.parse_scenario("class:3"))

    def new_run(seed: int) -> TrainingRun:
        return TrainingRun(
            seed=seed,
            recipe=spec.recipe,
            architecture=architecture,
            device=CPU,
            generator=torch.Generator().manual_seed(seed),
            draw_model=lambda name: build(architecture, spec, seed, CPU, name),
        )

    run = new_run(0)
    index = torch.from_numpy(np.concatenate([parts.retain, parts.forget]))
    original = train(run.initial_model(), PartSamples(data, index, run.generator), spec.recipe, run)
    torch.manual_seed(0)
    values = METHODS[method].checked({"epochs": 20, "batch_size": 64})
    student = (
        METHODS[method]
        .create(values)
        .unlearn(original, View(method, frozenset(), {}, spec.classes, spec.format, (3,)), new_run(1))
    )
    test = torch.from_numpy(parts.test)
    with torch.no_grad():
        right = student.eval()(data.batch(test)).argmax(1) == data.labels[test]
    of_class = data.labels[test] == 3
    return float(right[~of_class].float().mean()), float(right[of_class].float().mean())
