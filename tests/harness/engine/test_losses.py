"""Losses against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from harness.engine.losses import distillation


def test_is_the_divergence_of_the_student_from_the_teacher_at_the_temperature() -> None:
    student, teacher = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[2 * math.log(3), 0.0], [0.0, 0.0]])
    p = 0.75  # at T = 2 the teacher says 3 : 1, the student 1 : 1
    expected = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert float(distillation(student, teacher, 2.0)) == pytest.approx(expected / 2)  # the second image: nothing


def test_is_not_symmetric_and_stays_finite_where_a_probability_vanishes() -> None:
    sure, unsure = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert float(distillation(unsure, sure, 1.0)) == pytest.approx(math.log(2))
    assert float(distillation(sure, unsure, 1.0)) == pytest.approx(100 - math.log(2))
