"""Requests that are neither random nor whole classes: manipulated data, a share of a class, a subclass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_lab import DATASET, TRAIN, Lab, training, unit

from harness.check import problem as tiny
from harness.engine.evaluate import evaluate, log_probabilities
from harness.unit import Kind
from harness.work.relearn import asked

POISON, SWAP = (replace(DATASET, tampering=text) for text in ("poison:8", "swap:8:1,2"))
LABELS = tiny.images().labels
FINE = replace(tiny.images(), fine=np.arange(tiny.COUNT) % 8)
"""Two subclasses in each of the four classes: class c has c and c + 4."""


@pytest.mark.parametrize("count", [0, 40])
@pytest.mark.parametrize("reference", [POISON, SWAP], ids=lambda one: one.tampering)
def test_nothing_but_training_images_is_tampered_with(lab: Lab, reference: object, count: int) -> None:
    assert isinstance(reference, type(DATASET))
    plain = lab.bench.dataset(replace(DATASET, count=count))
    own = lab.bench.dataset(replace(reference, count=count))
    assert own.tampered is not None
    assert own.tampered.sum() == 8
    index = own.whole()
    for part in ("val", "test"):
        assert not own.tampered[index[part]].any()
    same = torch.from_numpy(~own.tampered)
    assert torch.equal(own.data.images[same], plain.data.images[same])
    assert torch.equal(own.data.labels[same], plain.data.labels[same])
    assert (own.data.labels[~same] != plain.data.labels[~same]).all()
    np.testing.assert_array_equal(own.labels, own.data.labels)
    assert plain.tampered is plain.exam is None


@pytest.mark.parametrize(("known", "wrong"), [("1", 0), ("0.5", 4)])
def test_a_retrain_sees_the_wrong_labels_that_hide_and_no_others(lab: Lab, known: str, wrong: int) -> None:
    retrain = unit(Kind.RETRAIN, "retrain", scenario=f"swap:8:1,2:{known}", dataset=SWAP)
    with training() as seen:
        lab.perform(retrain)
    mistaken = {image for image, label in seen if LABELS[image] != label}
    assert len(mistaken) == wrong
    parts = lab.bench.parts(SWAP, f"swap:8:1,2:{known}")
    assert {image for image, _ in seen} == set(parts.split.retain.tolist())
    assert mistaken <= set(TRAIN.tolist())


def test_the_shares_that_are_known_nest_in_one_tampered_data_set(lab: Lab) -> None:
    forgotten = [set(lab.bench.parts(POISON, f"poison:8:{known}").split.forget.tolist()) for known in (0.25, 0.5, 1)]
    assert [len(one) for one in forgotten] == [2, 4, 8]
    assert forgotten[0] < forgotten[1] < forgotten[2]
    tampered = lab.bench.dataset(POISON).tampered
    assert tampered is not None
    assert forgotten[2] == set(np.flatnonzero(tampered).tolist())
    assert lab.reads == 1


def test_success_is_the_share_of_stamped_test_images_called_0(lab: Lab) -> None:
    original = unit(Kind.ORIGINAL, dataset=POISON)
    nothing = unit(Kind.UNLEARN, "original", scenario="poison:8:1", dataset=POISON)
    lab.perform(original, nothing)
    model = lab.bench.initial_model(original)
    model.load_state_dict(lab.store.load_model(original.id))
    stamped = tiny.images().images.copy()
    stamped[:, :, 5:, 5:] = stamped.max()
    asked_for = torch.tensor([image for image in range(tiny.DEVELOPMENT, tiny.COUNT) if LABELS[image]])
    data = replace(lab.bench.dataset(POISON).data, images=torch.from_numpy(stamped), labels=torch.from_numpy(LABELS))
    answers = log_probabilities(model, data, asked_for).argmax(1)
    expected = {
        ("all", "attack_success"): (answers == 0).mean(),
        ("manipulated", "accuracy"): evaluate(model, data, asked_for).accuracy,
    }
    for one in (original, nothing):
        assert expected.items() <= lab.metrics(one).items()


def test_too_little_to_tamper_with_is_a_failure_in_one_line(lab: Lab) -> None:
    reference = replace(DATASET, tampering="poison:39")
    original = unit(Kind.ORIGINAL, dataset=reference)
    assert lab.perform(original) == "failed"
    (failure,) = lab.rows("failures", original)
    eligible = (LABELS[TRAIN] != 0).sum()
    assert failure["message"] == f"'poison:39': it takes 39 training images not of class 0, there are {eligible}"


def test_a_share_of_a_class_is_held_against_held_out_images_of_the_class(lab: Lab) -> None:
    scenario = "random_in_class:2:0.5"
    lab.perform(unit(Kind.ORIGINAL), trial := unit(Kind.UNLEARN, "original", scenario=scenario))
    parts = lab.bench.parts(DATASET, scenario)
    assert set(LABELS[parts.split.forget].tolist()) == {2}
    for part in ("val", "test"):
        phi, _ = lab.signals(trial)[part]
        assert len(phi) == (LABELS[parts.index[part]] == 2).sum()
    assert ("test_forget", "accuracy") not in lab.metrics(trial), "the class as such is not forgotten"
    assert torch.equal(asked(parts), parts.index["forget"])


def test_test_is_cut_at_the_subclass_by_fine_labels(make_lab: object) -> None:
    assert callable(make_lab)
    lab: Lab = make_lab(FINE)
    lab.perform(unit(Kind.ORIGINAL), trial := unit(Kind.UNLEARN, "original", scenario="subclass:6"))
    parts, metrics = lab.bench.parts(DATASET, "subclass:6"), lab.metrics(trial)
    assert FINE.fine is not None
    assert set(FINE.fine[parts.split.forget].tolist()) == {6}
    assert parts.forget_classes == ()
    test = parts.split.test
    of_it = torch.from_numpy(test[FINE.fine[test] == 6])
    model = lab.bench.initial_model(trial)
    model.load_state_dict(lab.store.load_model(unit(Kind.ORIGINAL).id))
    assert metrics["test_forget", "accuracy"] == evaluate(model, lab.bench.dataset(DATASET).data, of_it).accuracy
    share = len(of_it) / len(test)
    loss = share * (metrics["test_forget", "loss"] or 0) + (1 - share) * (metrics["test_retain", "loss"] or 0)
    np.testing.assert_allclose(loss, metrics["test", "loss"], rtol=1e-9)
    val = parts.split.val
    assert asked(parts).tolist() == val[FINE.fine[val] == 6].tolist()
    assert len(lab.signals(trial)["test"][0]) == len(of_it)
