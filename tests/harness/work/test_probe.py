"""Units of kind `probe`, and what trials record of their own cost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_lab import ORIGINAL, QUICK, SCENARIO, Lab, gan, unit
from torch import nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, Diverged, Part, Run, View
from harness.engine.features import features_of
from harness.engine.linear_head import scale_of, train_head
from harness.engine.models import digest, state_bytes
from harness.engine.recovery import divided
from harness.engine.seeding import generator
from harness.metrics import HEAD_METRICS, PROBE_METRICS
from harness.metrics.probed import SHOTS
from harness.unit import Kind, Unit
from harness.work import probe
from harness.work.setting import trial_model

Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

RETRAIN = unit(Kind.RETRAIN, "retrain")
TRAINED = tiny.COUNT - 24
"""Images that are trained on: retain and forget."""


def probed(lab: Lab, method: str, scenario: str = SCENARIO) -> dict[str, float | None]:
    """Perform original, trial and probe; return the numbers."""
    kind = Kind.RETRAIN if method == "retrain" else Kind.UNLEARN
    found = unit(Kind.PROBE, method, scenario=scenario)
    lab.perform(ORIGINAL, unit(kind, method, scenario=scenario), found)
    return numbers(lab, found)


def numbers(lab: Lab, found: Unit) -> dict[str, float | None]:
    return {name: value for (part, name), value in lab.metrics(found).items() if part == "all"}


def answers(lab: Lab, network: nn.Module, index: torch.Tensor) -> float:
    """Return the accuracy on single images."""
    data = lab.bench.dataset(ORIGINAL.dataset).data
    with torch.no_grad():
        right = [int(network.eval()(data.batch(one[None])).argmax()) == int(data.labels[one]) for one in index]
    return float(np.mean(right))


def test_before_anything_is_shown_the_curve_is_the_plain_accuracy_on_images_never_shown(lab: Lab) -> None:
    found = probed(lab, "finetune")
    forget = lab.bench.parts(ORIGINAL.dataset, SCENARIO).index["forget"]
    shown, unused = divided(forget, SHOTS, generator("probe", SCENARIO, 0, "shown"))
    assert (len(shown), len(unused)) == (5, 7)
    network = lab.bench.initial_model(ORIGINAL)
    network.load_state_dict(lab.store.load_model(unit(Kind.UNLEARN, "finetune").id))
    assert found["relearn_accuracy_0"] == answers(lab, network, unused)
    known = [found[f"relearn_accuracy_{shots}"] or 0.0 for shots in (0, 1, 5)]
    assert found["relearn_curve"] == pytest.approx(np.mean(known))
    assert all(found[f"relearn_accuracy_{shots}"] is None for shots in (10, 50, 100))


@pytest.mark.parametrize("scenario", [SCENARIO, "class:3"])
def test_a_head_is_trained_on_all_training_images_and_asked_about_the_forgotten_and_the_others(
    lab: Lab, scenario: str
) -> None:
    found = probed(lab, "finetune", scenario)
    parts, data = lab.bench.parts(ORIGINAL.dataset, scenario), lab.bench.dataset(ORIGINAL.dataset).data
    network = lab.bench.initial_model(ORIGINAL)
    network.load_state_dict(lab.store.load_model(unit(Kind.UNLEARN, "finetune", scenario=scenario).id))
    train = torch.from_numpy(np.sort(np.concatenate([parts.index[part] for part in ("retain", "forget")])))
    assert train.tolist() == sorted(parts.split.left.tolist())
    features = features_of(network, "5", data, torch.from_numpy(parts.split.left))
    scale, labels = scale_of(features), data.labels[torch.from_numpy(parts.split.left)]
    key = ("probe", scenario, 0, "head")
    head = train_head(features / scale, labels, 4, generator(*key), tiny.new_run())
    network.add_module("5", nn.Sequential(Divide(scale), head))
    test = parts.index["test"]
    of_class = data.labels[test] == 3
    asked = (test[of_class], test[~of_class]) if scenario == "class:3" else (parts.index["forget"], test)
    for part, index in zip(("forget", "retain"), asked, strict=True):
        assert found[f"knowledge_retention_{part}"] == pytest.approx(answers(lab, network, index))


class Divide(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features / self.by


def test_probing_twice_gives_the_same_and_nothing_that_is_probed_changes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[tuple[nn.Module, str]] = []

    def watched(*arguments: Any) -> nn.Module:
        model = trial_model(*arguments)
        looked_at.append((model, digest(model.state_dict())))
        return model

    monkeypatch.setattr(probe, "trial_model", watched)
    first = probed(lab, "finetune")
    stored = digest(lab.store.load_model(unit(Kind.UNLEARN, "finetune").id))
    found = unit(Kind.PROBE, "finetune")
    lab.perform(found)
    assert numbers(lab, found) == first
    assert len(looked_at) == 2
    assert {before for _, before in looked_at} == {digest(model.state_dict()) for model, _ in looked_at} == {stored}
    assert digest(lab.store.load_model(unit(Kind.UNLEARN, "finetune").id)) == stored
    assert not any(layer._forward_pre_hooks for model, _ in looked_at for layer in model.modules())


def test_a_method_that_retrains_has_the_numbers_of_retrain_and_one_that_does_nothing_those_of_the_original(
    lab: Lab, declare: Declare
) -> None:
    state: dict[str, torch.Tensor] = {}

    def as_retrain(model: nn.Module, data: View, run: Run) -> nn.Module:
        model.load_state_dict(state)
        return model

    declare("twin", {RETAIN}, as_retrain)
    reference = probed(lab, "retrain")
    state.update(copy.deepcopy(lab.store.load_model(RETRAIN.id)))
    assert probed(lab, "twin") == reference
    assert probed(lab, "original") != reference


def test_what_the_head_alone_denies_a_new_head_finds_and_noise_does_not(lab: Lab, declare: Declare) -> None:
    def hide(model: nn.Module, data: View, run: Run) -> nn.Module:
        with torch.no_grad():
            model.get_submodule("5").bias[3] -= 100  # type: ignore[index, operator]
        return model

    declare("hiding", {RETAIN}, hide)
    hidden, known = probed(lab, "hiding", "class:3"), probed(lab, "original", "class:3")
    assert hidden["relearn_accuracy_0"] == hidden["noise_recovery"] == 0
    for metric in HEAD_METRICS:
        assert hidden[metric] == known[metric]


def test_a_model_without_a_linear_head_has_no_retention_and_keeps_its_other_numbers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = lab.bench.architecture(ORIGINAL)
    monkeypatch.setattr(type(lab.bench), "architecture", lambda bench, one: replace(spec, head="nowhere"))
    found = probed(lab, "finetune")
    assert {name for name in PROBE_METRICS if name in HEAD_METRICS} == {
        name for name, value in found.items() if value is None and not name.startswith("relearn")
    }


def test_a_trial_that_diverged_has_no_numbers(lab: Lab, declare: Declare) -> None:
    def diverge(model: nn.Module, data: View, run: Run) -> nn.Module:
        raise Diverged("nothing can come of it")

    declare("divergent", {FORGET}, diverge)
    assert probed(lab, "divergent") == dict.fromkeys(PROBE_METRICS)
    assert lab.row(unit(Kind.PROBE, "divergent"))["status"] == "diverged"


def costs(lab: Lab, found: Unit) -> list[float | None]:
    stored = lab.metrics(found)
    images = [stored[part, "images_seen"] for part in ("retain", "forget", "val")]
    return [*images, stored["all", "optimiser_steps"], stored["all", "artifact_bytes"]]


def test_trials_record_what_they_draw_and_how_often_they_step(lab: Lab, declare: Declare) -> None:
    def look(model: nn.Module, data: View, run: Run) -> nn.Module:
        for _ in data.retain_and_forget.batches(8):
            pass
        next(iter(data.forget.batches(5, shuffle=False)))  # the first of three batches of four
        for _ in data.val.take(torch.arange(2)).batches(8):
            pass
        return model

    declare("looking", {RETAIN, FORGET, Part.VAL}, look)
    looking, tuned = unit(Kind.UNLEARN, "looking"), unit(Kind.UNLEARN, "finetune")
    lab.perform(ORIGINAL, RETRAIN, looking, tuned, unit(Kind.UNLEARN))
    retain = 28.0
    assert costs(lab, RETRAIN) == [RETRAIN.recipe.epochs * retain, 0, 0, lab.row(RETRAIN)["steps"], 0]
    assert costs(lab, tuned) == [float(QUICK["epochs"]) * retain, 0, 0, lab.row(tuned)["steps"], 0]
    assert costs(lab, looking) == [retain, 12 + 4, 2, 0, 0]
    assert costs(lab, unit(Kind.UNLEARN)) == [0, 0, 0, 0, 0]


def test_an_artifact_records_its_own_cost_and_its_bytes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gan("retain")
    lab.perform(ORIGINAL, made)
    seen = costs(lab, made)
    assert (seen[0] or 0) > 0
    assert seen[1:3] == [0, 0]
    assert (seen[3] or 0) >= lab.row(made)["steps"]
    network = lab.store.load_model(made.id)
    assert seen[4] == sum(one.numel() * one.element_size() for one in network.values())
    assert state_bytes(nn.Linear(3, 2)) == 4 * 8
