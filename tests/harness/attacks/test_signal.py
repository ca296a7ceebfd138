from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attacks.errors import AttackError
from harness.attacks.signal import (
    MAX_PHI,
    clip_phi,
    confidence_from_phi,
    count_nonfinite,
    loss_from_phi,
    phi,
)

logit = st.floats(-300, 300, width=32)


def by_definition(logits: list[float], label: int) -> tuple[float, float, float]:
    """phi, loss and confidence by their definitions through p_y, with enough digits to survive 1 - p_y."""
    with localcontext() as context:
        context.prec = 400
        weights = [Decimal(z).exp() for z in logits]
        p = weights[label] / sum(weights)
        return float((p / (1 - p)).ln()), float(-p.ln()), float(p)


@given(st.lists(logit, min_size=2, max_size=6), st.data())
def test_phi_loss_and_confidence_follow_their_definitions(logits: list[float], data: st.DataObject) -> None:
    label = data.draw(st.integers(0, len(logits) - 1))
    expected, loss, confidence = by_definition(logits, label)
    signal = phi(np.array([logits], dtype=np.float32), np.array([label]))
    assert signal.dtype == np.float64
    np.testing.assert_allclose(signal, expected, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(loss_from_phi(expected), loss, rtol=1e-12)
    np.testing.assert_allclose(confidence_from_phi(expected), confidence, rtol=1e-10)


def test_phi_does_not_saturate_where_one_minus_p_rounds_to_zero() -> None:
    logits = np.array([[60, 0, -3], [200, 0, 1], [-50, 50, -900]], dtype=np.float32)
    np.testing.assert_allclose(phi(logits, np.zeros(3, dtype=int)), [59.9514, 198.6867, -100.0], atol=1e-4)


@given(st.lists(logit, min_size=3, max_size=3), st.floats(-100, 100))
def test_phi_ignores_a_shift_of_all_logits(logits: list[float], shift: float) -> None:
    z = np.array([logits])
    np.testing.assert_allclose(phi(z + shift, np.array([1])), phi(z, np.array([1])), atol=1e-10)


def test_overflowed_logits_are_reported_not_hidden() -> None:
    inf, nan = np.inf, np.nan
    logits = np.array([[inf, 0, 0], [0, inf, 0], [-inf, 0, 0], [0, -inf, -inf], [inf, inf, 0], [nan, 0, 0]])
    signal = phi(logits, np.zeros(6, dtype=int))
    np.testing.assert_array_equal(signal, [inf, -inf, -inf, inf, nan, nan])
    assert count_nonfinite(signal) == 6
    np.testing.assert_array_equal(clip_phi(signal), [MAX_PHI, -MAX_PHI, -MAX_PHI, MAX_PHI, nan, nan])


def test_phi_leaves_the_logits_alone() -> None:
    logits = np.ones((4, 3))
    phi(logits, np.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(logits, 1.0)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((4, 1)), np.zeros(4, dtype=int), "at least 2 classes"),
        (np.zeros(4), np.zeros(4, dtype=int), r"\[examples, classes\]"),
        (np.zeros((4, 3)), np.zeros(3, dtype=int), "4 integers"),
        (np.zeros((4, 3)), np.zeros(4), "4 integers"),
        (np.zeros((4, 3)), np.array([0, 1, 2, 3]), r"0\.\.2"),
        (np.zeros((4, 3)), np.array([0, 1, 2, -1]), r"0\.\.2"),
    ],
)
def test_misshapen_input_is_refused_in_one_line(logits: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(AttackError, match=message) as caught:
        phi(logits, labels)
    assert "\n" not in str(caught.value)
