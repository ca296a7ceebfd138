"""Evaluation against high precision, and what it must leave alone."""

from __future__ import annotations

import copy
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.engine import evaluate as module
from harness.engine.evaluate import evaluate, evaluating, signal
from harness.engine.models import digest

EVERYTHING = torch.arange(tiny.COUNT)


def exact_phi(logits: list[float], label: int) -> float:
    """log(p / (1 - p)) in 100 digits."""
    with localcontext(prec=100):
        weights = [Decimal(z).exp() for z in logits]
        return float((weights[label] / sum(w for i, w in enumerate(weights) if i != label)).ln())


@given(st.lists(st.integers(-90_000, 90_000).map(lambda n: n / 1024), min_size=2, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_phi_is_the_log_odds_of_the_label_however_sure_the_model(logits: list[float], data: st.DataObject) -> None:
    label = data.draw(st.integers(0, len(logits) - 1))
    found = signal(torch.tensor([logits], dtype=torch.float32), torch.tensor([label]))
    assert float(found) == pytest.approx(exact_phi(logits, label), rel=1e-12, abs=1e-9)


def test_accuracy_losses_and_phi_agree_with_torch() -> None:
    model, source = tiny.own_copy("cnn_small").eval(), tiny.data()
    found = evaluate(model, source, EVERYTHING)
    with torch.no_grad():
        logits = model(source.batch(EVERYTHING)).double()
    losses = cross_entropy(logits, source.labels, reduction="none")
    odds = logits.softmax(1).gather(1, source.labels[:, None]).squeeze(1)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(found.phi, torch.log(odds / (1 - odds)), rtol=1e-5, atol=1e-6)
    assert found.loss == pytest.approx(float(losses.mean()))
    assert found.accuracy == float((logits.argmax(1) == source.labels).double().mean())


def test_losses_stay_exact_where_the_model_is_very_sure() -> None:
    found = module.Evaluation(np.array([800.0, 40.0, 0.0, -800.0]), np.array([True, True, True, False]))
    np.testing.assert_allclose(found.losses, [0.0, math.exp(-40), math.log(2), 800.0], rtol=1e-12)


def test_the_result_does_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING)
    monkeypatch.setattr(module, "BATCH", 9)  # 64 = 7 x 9 + 1: the last batch takes the lone image
    parts = evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING)
    np.testing.assert_allclose(parts.phi, whole.phi, atol=1e-5)
    np.testing.assert_array_equal(parts.correct, whole.correct)


def test_the_flip_query_shows_mirrored_images() -> None:
    images = tiny.images()
    mirrored = type(images)(images.images[:, :, :, ::-1].copy(), images.labels)
    source = module.DeviceData.put(mirrored, tiny.SPEC, tiny.CPU)
    found = evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING, flip=True)
    expected = evaluate(tiny.original("cnn_small"), source, EVERYTHING)
    np.testing.assert_allclose(found.phi, expected.phi, atol=1e-5)
    assert not np.allclose(found.phi, evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING).phi)


def test_given_labels_replace_the_true_ones() -> None:
    model, source = tiny.original("cnn_small"), tiny.data()
    others = (source.labels + 1) % tiny.CLASSES
    found = evaluate(model, source, EVERYTHING, others)
    with evaluating(model), torch.no_grad():
        logits = model(source.batch(EVERYTHING))
    np.testing.assert_allclose(found.phi, signal(logits, others), atol=1e-5)
    np.testing.assert_array_equal(found.correct, logits.argmax(1) == others)


def test_parts_of_one_pass_are_those_of_separate_passes() -> None:
    chosen = torch.tensor([3, 50, 7])
    whole = evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING).at(chosen.numpy())
    alone = evaluate(tiny.original("cnn_small"), tiny.data(), chosen)
    np.testing.assert_allclose(whole.phi, alone.phi, atol=1e-5)
    np.testing.assert_array_equal(whole.correct, alone.correct)


def test_no_images_have_no_accuracy_and_no_loss() -> None:
    empty = evaluate(tiny.original("cnn_small"), tiny.data(), torch.arange(0))
    assert len(empty.phi) == 0
    assert math.isnan(empty.accuracy)
    assert math.isnan(empty.loss)


@pytest.mark.parametrize("training", [True, False])
def test_weights_buffers_and_the_mode_of_every_module_stay(training: bool) -> None:
    model = tiny.own_copy("cnn_small").train(training)
    frozen = next(layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    frozen.train(not training)  # as a method that freezes its BatchNorm layers has it
    modes, before = [layer.training for layer in model.modules()], digest(model.state_dict())
    evaluate(model, tiny.data(), EVERYTHING)
    assert [layer.training for layer in model.modules()] == modes
    assert digest(model.state_dict()) == before


def test_is_in_full_precision_whatever_the_training_is_in() -> None:
    expected = evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING)
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate(tiny.original("cnn_small"), tiny.data(), EVERYTHING)
    np.testing.assert_array_equal(found.phi, expected.phi)


def test_the_mode_comes_back_after_an_error() -> None:
    model = copy.deepcopy(tiny.original("cnn_small")).train()
    with pytest.raises(IndexError):
        evaluate(model, tiny.data(), torch.tensor([10**6]))
    assert model.training
