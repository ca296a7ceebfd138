"""Attacks on unlearned models: plain arrays in, numbers with intervals out.

    >>> from harness.attacks import audit, phi
    >>> results = audit(phi_matrix, U, O, cluster)   # [N, E], [N, E], [N, E], [N]

Importing costs numpy only; scipy and scikit-learn are loaded by the functions that need them.
"""

from harness.attacks.curves import OperatingPoint, auc, roc_points, tpr_at_fpr
from harness.attacks.errors import AttackError, NonFiniteLossError
from harness.attacks.evaluate import VERSION, Result, audit, evaluate, null_tpr
from harness.attacks.intervals import Interval, holm, jackknife_interval
from harness.attacks.population import hanley_mcneil_se, population_auc, population_mia
from harness.attacks.power import (
    auc_standard_error,
    effective_effect,
    expected_auc,
    expected_tpr,
    lowest_readable_fpr,
    smallest_detectable_effect,
    smallest_detectable_effect_per_example,
)
from harness.attacks.signal import clip_phi, confidence_from_phi, count_nonfinite, loss_from_phi, phi
from harness.attacks.student import VARIANCES
from harness.attacks.ulira import jackknife, stack_retrains, ulira

__all__ = [
    "VARIANCES",
    "VERSION",
    "AttackError",
    "Interval",
    "NonFiniteLossError",
    "OperatingPoint",
    "Result",
    "auc",
    "auc_standard_error",
    "audit",
    "clip_phi",
    "confidence_from_phi",
    "count_nonfinite",
    "effective_effect",
    "evaluate",
    "expected_auc",
    "expected_tpr",
    "hanley_mcneil_se",
    "holm",
    "jackknife",
    "jackknife_interval",
    "loss_from_phi",
    "lowest_readable_fpr",
    "null_tpr",
    "phi",
    "population_auc",
    "population_mia",
    "roc_points",
    "smallest_detectable_effect",
    "smallest_detectable_effect_per_example",
    "stack_retrains",
    "tpr_at_fpr",
    "ulira",
]
