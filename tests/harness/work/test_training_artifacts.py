"""Artifacts of the training: made of all training images before any request, lent off the clock, each seed its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_lab import ORIGINAL, SHADOW, TRAIN, Lab, equal, unit

from harness.contracts import ARTIFACTS, METHODS, RETAIN, UndeclaredRead, View, artifact
from harness.contracts.space import Value
from harness.engine import device
from harness.farm import membership
from harness.unit import Kind, Named, Unit

MakeLab = Callable[..., Lab]
SMALL: Mapping[str, Value] = {"shards": 2, "slices": 2}
OF: Mapping[str, str] = {"sisa": "sisa_training", "amnesiac_delta": "logged_training"}


def training(method: str, seed: int = 0, **changes: Any) -> Unit:
    """Return the unit that makes what a method needs of the training."""
    values = dict(SMALL) if method == "sisa" else {}
    blank = replace(
        unit(Kind.ORIGINAL, seed=seed), kind=Kind.ARTIFACT, scenario=Named("", 0), method=Named(OF[method], 1)
    )
    return replace(blank, values=values, **changes)


def trial(method: str, *made: Unit, kind: Kind = Kind.UNLEARN, **about: Any) -> Unit:
    """Return a trial that borrows what was made, or makes its own."""
    found = unit(kind, method, **about)
    return replace(
        found, values=dict(SMALL) if method == "sisa" else {}, needs=(*found.needs, *(one.id for one in made))
    )


def views(monkeypatch: pytest.MonkeyPatch, name: str) -> list[View]:
    """Collect what an artifact is made of from now on."""
    cls, seen = ARTIFACTS[name].cls, []
    make = cls.make

    def noted(self: Any, *given: Any) -> Any:
        seen.append(next(one for one in given if isinstance(one, View)))
        return make(self, *given)

    monkeypatch.setattr(cls, "make", noted)
    return seen


@pytest.mark.parametrize("method", OF)
def test_a_trial_is_the_same_whether_its_training_was_kept_or_is_made_on_the_spot(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    lab, seen, made = make_lab(), views(monkeypatch, OF[method]), training(method, seed=1)
    assert lab.perform(unit(Kind.ORIGINAL, seed=1), made) == "done"
    borrowing, own = trial(method, made, seed=1), trial(method, seed=1)
    elsewhere = trial(method, made, seed=1, scenario="class:3")
    assert lab.perform(borrowing, elsewhere) == "done"
    assert len(seen) == 1, "one for all scenarios"
    assert lab.perform(own) == "done"
    assert len(seen) == 2
    assert equal(lab.store.load_model(borrowing.id), lab.store.load_model(own.id))
    assert lab.row(borrowing)["steps"] == lab.row(own)["steps"] <= lab.row(made)["steps"]


@pytest.mark.parametrize("method", OF)
def test_it_is_made_of_all_training_images_and_knows_of_no_request(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    lab, seen = make_lab(), views(monkeypatch, OF[method])
    lab.perform(ORIGINAL, training(method), trial(method, scenario="class:3"))
    assert len(seen) == 2
    for view in seen:
        assert view.retain.ids.tolist() == TRAIN.tolist()
        assert view.forget_classes == ()
        with pytest.raises(UndeclaredRead):
            _ = view.forget


def test_no_artifact_of_the_training_may_ask_for_what_nobody_has_named_yet() -> None:
    with pytest.raises(TypeError, match="nobody has asked to forget anything yet"):
        artifact(reads=METHODS["finetune"].reads | METHODS["gradient_ascent"].reads, source="a test", of="training")


@pytest.mark.parametrize(("method", "name"), [*OF.items(), ("multi_gan", "dcgan")])
def test_training_is_not_on_the_clock_and_what_is_made_for_a_request_is(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    """To a clock that goes on by 1000 s with each artifact, and by nothing else."""
    lab, cls, now = make_lab(), ARTIFACTS[name].cls, [0.0]
    make = cls.make

    def slow(self: Any, *given: Any) -> Any:
        now[0] += 1000
        return make(self, *given)

    monkeypatch.setattr(cls, "make", slow)
    timed = trial(method, kind=Kind.TIMING)
    if method == "multi_gan":
        timed = replace(timed, values={"gan_steps": 6, "gan_batch_size": 8, "gan_width": 4, "epochs": 1})
    lab.perform(ORIGINAL)
    monkeypatch.setattr(device.time, "perf_counter", lambda: now[0])
    assert lab.perform(timed) == "done"
    assert lab.row(timed)["work_seconds"] == (2000 if method == "multi_gan" else 0)


def test_on_a_shadow_it_is_made_of_what_the_shadow_was_trained_on(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, seen = make_lab(), views(monkeypatch, "sisa_training")
    lab.perform(SHADOW)
    audits = [replace(unit(Kind.SHADOW_UNLEARN, "sisa", pool=pool), values=dict(SMALL)) for pool in ("canary", "clean")]
    assert lab.perform(*audits) == "done"
    audited = lab.bench.audited(SHADOW)
    assert SHADOW.farm is not None
    inside = audited.train[membership(SHADOW.farm, SHADOW.seed, len(audited.train))]
    for view in seen:
        assert view.retain.ids.tolist() == inside.tolist()
        assert view.retain.labels.tolist() == lab.trained_labels()[inside].tolist()
    assert len(seen) == 2


@pytest.mark.parametrize("method", OF)
def test_a_training_that_diverged_makes_its_trials_diverge(make_lab: MakeLab, method: str) -> None:
    lab, recipe = make_lab(), replace(ORIGINAL.recipe, lr=1e30)
    original = replace(ORIGINAL, recipe=recipe)
    made = training(method, recipe=recipe)
    assert lab.perform(original, made) == "diverged"
    assert lab.perform(replace(trial(method, made), recipe=recipe, needs=(original.id, made.id))) == "diverged"


def test_an_ensemble_is_looked_at_and_what_it_does_not_have_is_unknown(make_lab: MakeLab) -> None:
    lab, made = make_lab(), training("sisa")
    sisa, retrain = trial("sisa", made), unit(Kind.RETRAIN, "retrain")
    assert lab.perform(ORIGINAL, made, sisa, retrain) == "done"
    assert lab.metrics(sisa)["all", "changed_weights"] is None
    assert lab.metrics(sisa)["test", "accuracy"] is not None
    looking = replace(sisa, needs=(sisa.id, ORIGINAL.id))
    for kind in (Kind.RELEARN, Kind.ATTACK):
        assert lab.perform(replace(looking, kind=kind)) == "done"
    compared = replace(looking, kind=Kind.COMPARE, needs=(sisa.id, retrain.id, ORIGINAL.id))
    assert lab.perform(compared) == "done"
    found = lab.metrics(compared)
    unknown = {name for name, value in found.items() if value is None}
    assert {name for _, name in unknown} == {"layer_distance", "layer_distance_mean", "cka", "images_per_feature"}
    assert 0 <= (found["forget", "completeness"] or 0) <= 1


def test_the_next_request_starts_from_the_ensemble_and_forgets_what_the_one_before_did(make_lab: MakeLab) -> None:
    lab, made = make_lab(), training("sisa")
    first, second = (trial("sisa", made, scenario=f"sequence:{number}:0.1") for number in (1, 2))
    second = replace(second, needs=(first.id, made.id))
    assert lab.perform(ORIGINAL, made, first, second) == "done"
    parts = [lab.bench.parts(ORIGINAL.dataset, one.scenario.name) for one in (first, second)]
    assert len(parts[1].split.earlier) == len(parts[0].split.forget)
    left = torch.from_numpy(parts[1].split.retain)
    at_once = replace(first, scenario=Named("random:0.2", 1))
    assert lab.perform(at_once) == "done"
    together = lab.bench.parts(ORIGINAL.dataset, "random:0.2").index[RETAIN]
    assert set(together.tolist()) == set(left.tolist())
    assert equal(lab.store.load_model(second.id), lab.store.load_model(at_once.id))
