"""Units of kind `compare`: the model of a trial beside its retrain."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from tiny_lab import ORIGINAL, SCENARIO, Lab, equal, unit
from torch import Tensor, nn

from harness.contracts import FORGET, RETAIN, Diverged, Part, Run, View
from harness.engine.evaluate import log_probabilities
from harness.engine.models import digest
from harness.metrics import LIKENESS_METRICS, LIKENESS_PARTS
from harness.metrics.likeness import Floats
from harness.unit import Kind, Unit
from harness.work import compare

Declare = Callable[[str, Collection[Part], Callable[[nn.Module, View, Run], nn.Module]], None]

RETRAIN = unit(Kind.RETRAIN, "retrain")
OTHER = unit(Kind.RETRAIN, "retrain", seed=1)
FLOOR = replace(unit(Kind.COMPARE, "retrain"), needs=(RETRAIN.id, OTHER.id, ORIGINAL.id))


def compared(lab: Lab, method: str) -> Unit:
    """Perform original, retrain, trial and comparison; return the last one."""
    found = unit(Kind.COMPARE, method)
    lab.perform(ORIGINAL, RETRAIN, unit(Kind.UNLEARN, method), found)
    return found


def model(lab: Lab, identity: str) -> nn.Module:
    network = lab.bench.initial_model(ORIGINAL)
    network.load_state_dict(lab.store.load_model(identity))
    return network.eval()


def says(lab: Lab, network: nn.Module, part: str) -> tuple[Floats, Floats]:
    """Return probabilities and features of the images of a part, one image at a time."""
    index, data = lab.bench.parts(ORIGINAL.dataset, SCENARIO).index[part], lab.bench.dataset(ORIGINAL.dataset).data
    shares, features = [], []
    with torch.no_grad():
        for one in index:
            inner = network[:-1](data.batch(one[None]))  # type: ignore[index]
            logits = network[-1](inner)[0].double().numpy()  # type: ignore[index, operator]
            shares.append(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())
            features.append(inner[0].double().numpy())
    return np.array(shares), np.array(features)


@pytest.fixture
def answering(declare: Declare) -> None:
    """Methods that give what is asked to compare: the retrain itself, the original, another network."""
    declare("other", {RETAIN}, lambda model, data, run: run.untrained_model("other"))
    declare("idle", {RETAIN}, lambda model, data, run: model)


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("method", ["finetune", "other"])
def test_all_numbers_by_hand(lab: Lab, method: str) -> None:
    found = compared(lab, method)
    numbers = lab.metrics(found)
    own, retrain, original = (model(lab, need) for need in found.needs)
    for part in LIKENESS_PARTS:
        (p, x), (q, y) = says(lab, own, part), says(lab, retrain, part)
        divergence = np.mean([jensenshannon(one, other) ** 2 for one, other in zip(p, q, strict=True)])
        assert numbers[part, "js_divergence"] == pytest.approx(divergence, rel=1e-4)
        assert numbers[part, "activation_distance"] == pytest.approx(np.linalg.norm(p - q, axis=1).mean(), rel=1e-4)
        assert numbers[part, "completeness"] == (p.argmax(1) == q.argmax(1)).mean()
        if part == "retain":
            before, _ = says(lab, original, part)
            assert numbers[part, "churn"] == pytest.approx((p.argmax(1) != before.argmax(1)).mean())
        else:
            x, y = x - x.mean(0), y - y.mean(0)
            cka = (x.T @ y).__pow__(2).sum() / np.sqrt((x.T @ x).__pow__(2).sum() * (y.T @ y).__pow__(2).sum())
            assert numbers[part, "cka"] == pytest.approx(cka, rel=1e-4)
            assert numbers[part, "images_per_feature"] == len(x) / 64
    weights = [torch.cat([w.detach().double().flatten() for w in net.parameters()]) for net in (own, retrain)]
    distance = float((weights[0] - weights[1]).norm() / weights[1].norm())
    assert numbers["all", "layer_distance"] == pytest.approx(distance, rel=1e-9)
    p, q = says(lab, own, "forget")[0], says(lab, retrain, "forget")[0]
    random = [says(lab, lab.bench.initial_model(found, f"untrained {k}").eval(), "forget")[0] for k in range(5)]
    scores = [
        1 - np.mean([jensenshannon(a, b) ** 2 for net in random for a, b in zip(one, net, strict=True)])
        for one in (p, q)
    ]
    assert numbers["forget", "zrf"] == pytest.approx(scores[0], rel=1e-4)
    assert numbers["forget", "zrf_gap"] == pytest.approx(abs(scores[0] - scores[1]), rel=1e-3, abs=1e-5)


@pytest.mark.usefixtures("answering")
def test_doing_nothing_changes_nothing_for_whom_it_serves_and_a_copy_is_like_its_source(lab: Lab) -> None:
    numbers = lab.metrics(compared(lab, "idle"))
    assert numbers["retain", "churn"] == 0
    lab.perform(same := replace(FLOOR, needs=(RETRAIN.id, RETRAIN.id, ORIGINAL.id)))
    alike = lab.metrics(same)
    for (part, name), value in alike.items():
        if name in ("completeness", "cka"):
            assert value == pytest.approx(1), (part, name)
        elif name not in ("zrf", "zrf_published", "churn", "rf_divergence", "images_per_feature"):
            assert value == pytest.approx(0, abs=1e-12), (part, name)


def test_two_retrains_are_not_one(lab: Lab) -> None:
    lab.perform(ORIGINAL, RETRAIN, OTHER, FLOOR)
    numbers = lab.metrics(FLOOR)
    for metric in ("js_divergence", "activation_distance"):
        assert all((numbers[part, metric] or 0) > 0 for part in LIKENESS_PARTS)
    assert (numbers["all", "layer_distance"] or 0) > 0.1
    assert 0 < (numbers["test", "cka"] or 0) < 1


def test_nothing_that_is_compared_changes_and_every_module_keeps_its_mode(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[nn.Module] = []
    whole = compare.likeness

    def watched(*models: Any) -> Any:
        *single, untrained, where = models
        seen.extend([*single, *untrained])
        for number, network in enumerate(seen):
            network.train(number % 2 == 0)
        before = [(digest(network.state_dict()), [m.training for m in network.modules()]) for network in seen]
        numbers = whole(*single, untrained, where)
        after = [(digest(network.state_dict()), [m.training for m in network.modules()]) for network in seen]
        assert before == after
        return numbers

    monkeypatch.setattr(compare, "likeness", watched)
    found = compared(lab, "finetune")
    assert lab.row(found)["status"] == "done"
    assert len(seen) == 3 + compare.UNTRAINED
    states: list[dict[str, Tensor]] = [lab.store.load_model(need) for need in found.needs]
    lab.perform(found)
    assert all(equal(lab.store.load_model(need), state) for need, state in zip(found.needs, states, strict=True))
    assert len({digest(network.state_dict()) for network in seen[: 3 + compare.UNTRAINED]}) == 3 + compare.UNTRAINED


def test_of_retain_only_so_many_images_count(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    whole = log_probabilities

    def noted(network: nn.Module, data: Any, index: Tensor) -> Any:
        asked.append(index.tolist())
        return whole(network, data, index)

    monkeypatch.setattr(compare, "RETAIN_IMAGES", 10)
    monkeypatch.setattr(compare, "log_probabilities", noted)
    compared(lab, "finetune")
    retain = lab.bench.parts(ORIGINAL.dataset, SCENARIO).index["retain"].tolist()
    (few,) = {tuple(one) for one in asked if set(one) <= set(retain)}
    assert list(few) == retain[:: math.ceil(len(retain) / 10)]


def test_a_trial_that_diverged_has_no_numbers(lab: Lab, declare: Declare) -> None:
    def diverge(model: nn.Module, data: View, run: Run) -> nn.Module:
        raise Diverged("nothing can come of it")

    declare("divergent", {FORGET}, diverge)
    found = compared(lab, "divergent")
    assert lab.row(found)["status"] == "diverged"
    numbers = lab.metrics(found)
    assert len(numbers) == len(LIKENESS_METRICS)
    assert {name for (_, name), value in numbers.items() if value is not None} == {"images_per_feature"}


def test_beside_a_retrain_that_diverged_only_the_models_own_numbers_are_left(lab: Lab) -> None:
    found = compared(lab, "finetune")
    state = lab.store.load_model(RETRAIN.id)
    lab.store.save_model(
        RETRAIN.id, {name: one * float("nan") if one.is_floating_point() else one for name, one in state.items()}
    )
    lab.perform(found)
    known = {name for (_, name), value in lab.metrics(found).items() if value is not None}
    assert known == {"images_per_feature", "zrf", "zrf_published", "churn", "rf_divergence"}
