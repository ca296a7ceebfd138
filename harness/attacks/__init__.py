"""Attacks on unlearned models: plain arrays in, numbers with intervals out.

    >>> from harness.attacks import audit, phi
    >>> results = audit(phi_matrix, U, O, cluster)   # [N, E], [N, E], [N, E], [N]

Importing costs numpy only; scipy, scikit-learn and xgboost are loaded by the functions that need them.
"""

from harness.attacks.curves import OperatingPoint, auc, roc_points, tpr_at_fpr
from harness.attacks.deep_unlearn import ulira_deep_unlearn
from harness.attacks.design import check_pairs
from harness.attacks.effects import Effects, example_effects, growth, normality
from harness.attacks.epsilon import CpEpsilon, eps_cp, eps_gdp, eps_onerun, rate_design_effect
from harness.attacks.errors import AttackError, NonFiniteLossError
from harness.attacks.evaluate import VERSION, Result, audit, evaluate, null_tpr
from harness.attacks.forgetting import (
    ForgettingQuality,
    final_score,
    forgetting_interval,
    forgetting_null,
    forgetting_quality,
)
from harness.attacks.intervals import (
    Difference,
    Interval,
    benjamini_hochberg,
    holm,
    jackknife_interval,
    paired_difference,
)
from harness.attacks.joint import combine, jackknife_joint, ulira_joint, ulira_queries
from harness.attacks.klom import ModelInterval, gaussian_kl, gaussian_kl_interval, klom, klom_floor, klom_interval
from harness.attacks.learned import PopulationAttack, population_attack
from harness.attacks.lira import lira, lira_reference
from harness.attacks.population import hanley_mcneil_se, population_auc, population_mia
from harness.attacks.power import (
    auc_standard_error,
    effect_of_auc,
    effective_effect,
    expected_auc,
    expected_tpr,
    lowest_readable_fpr,
    smallest_detectable_effect,
    smallest_detectable_effect_per_example,
)
from harness.attacks.rmia import OFFLINE_A, rmia, tune_offline_a
from harness.attacks.rmia_farm import jackknife_rmia, rmia_farm
from harness.attacks.signal import clip_phi, confidence_from_phi, count_nonfinite, loss_from_phi, phi
from harness.attacks.student import LIRA_VARIANTS, VARIANCES
from harness.attacks.svc_mia import Outputs, outputs, svc_efficacy, svc_feature, svc_training_privacy
from harness.attacks.trio import SplitAttack, mia_trio
from harness.attacks.ulira import jackknife, stack_retrains, ulira

__all__ = [
    "LIRA_VARIANTS",
    "OFFLINE_A",
    "VARIANCES",
    "VERSION",
    "AttackError",
    "CpEpsilon",
    "Difference",
    "Effects",
    "ForgettingQuality",
    "Interval",
    "ModelInterval",
    "NonFiniteLossError",
    "OperatingPoint",
    "Outputs",
    "PopulationAttack",
    "Result",
    "SplitAttack",
    "auc",
    "auc_standard_error",
    "audit",
    "benjamini_hochberg",
    "check_pairs",
    "clip_phi",
    "combine",
    "confidence_from_phi",
    "count_nonfinite",
    "effect_of_auc",
    "effective_effect",
    "eps_cp",
    "eps_gdp",
    "eps_onerun",
    "evaluate",
    "example_effects",
    "expected_auc",
    "expected_tpr",
    "final_score",
    "forgetting_interval",
    "forgetting_null",
    "forgetting_quality",
    "gaussian_kl",
    "gaussian_kl_interval",
    "growth",
    "hanley_mcneil_se",
    "holm",
    "jackknife",
    "jackknife_interval",
    "jackknife_joint",
    "jackknife_rmia",
    "klom",
    "klom_floor",
    "klom_interval",
    "lira",
    "lira_reference",
    "loss_from_phi",
    "lowest_readable_fpr",
    "mia_trio",
    "normality",
    "null_tpr",
    "outputs",
    "paired_difference",
    "phi",
    "population_attack",
    "population_auc",
    "population_mia",
    "rate_design_effect",
    "rmia",
    "rmia_farm",
    "roc_points",
    "smallest_detectable_effect",
    "smallest_detectable_effect_per_example",
    "stack_retrains",
    "svc_efficacy",
    "svc_feature",
    "svc_training_privacy",
    "tpr_at_fpr",
    "tune_offline_a",
    "ulira",
    "ulira_deep_unlearn",
    "ulira_joint",
    "ulira_queries",
]
