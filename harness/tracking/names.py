"""What a number is called in MLflow: `<group>/<name>`. The interface draws what stands before the last slash together.

| group | what | names |
|---|---|---|
| a part (`forget`, `retain`, `val`, `test`, `test_forget`, …) | its own numbers | `forget/accuracy`, `test/loss` |
| `forgotten_before` | what earlier requests of a sequence have forgotten | `forgotten_before/accuracy` |
| `gap` | distance to retrain | `gap/retention_deviation`, `gap/to_retrain`, `gap/forget_retention` |
| `mia` | membership inference | `mia/population_val`, `mia/ulira_o_auc`, `mia/canary/ulira_o_auc_l1` |
| `audit` | what else the farm tells | `audit/eps_cp_o`, `audit/canary/klom_r` |
| `challenge` | the score of the NeurIPS 2023 challenge | `challenge/score`, `challenge/forgetting_quality` |
| `relearn` | learning the forgotten again | `relearn/anamnesis`, `relearn/steps` |
| `likeness` | how alike the model and its retrain answer | `likeness/js_divergence_forget`, `likeness/cka_test` |
| `manipulated` | what shows manipulated training data | `manipulated/attack_success`, `manipulated/accuracy` |
| `probe` | what is left of the forgotten in the model | `probe/relearn_curve`, `probe/noise_recovery` |
| `composite` | scores of others, never ranked | `composite/tow`, `composite/gum` |
| `distill` | how fast retrain is reached | `distill/steps`, `distill/auc` |
| `cost` | time, images drawn, steps | `cost/seconds`, `cost/images_ratio` |
| `rank` | ranks in the whole study | `rank/overall`, `rank/retention_deviation`; `rank/mean` is the mean rank |
| `other` | a metric that nobody has given a group | `other/<metric>` |
| `seeds`, `epochs` | series, the step being the seed or the epoch | `seeds/forget_accuracy`, `epochs/test_accuracy` |

The ends of an interval are `<name>_ci_low` and `<name>_ci_high`. The audit pool stands in a name where a study has
several. `o` and `r` are the null worlds (never in, retrained), `_l0` and `_l1` the weaker attackers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.metrics import (
    CLASS_PARTS,
    COMPOSITE_METRICS,
    COST_METRICS,
    EFFICACY_RATIO,
    FORGOTTEN_BEFORE,
    IMAGES_RATIO,
    LIKENESS_METRICS,
    OVER_REQUESTS,
    PARTS,
    PROBE_METRICS,
    SVC_PARTS,
    TAMPERED_METRICS,
    TRIO_METRICS,
)
from harness.metrics.challenge import LEVEL

Row = Mapping[str, Any]

CI_LOW, CI_HIGH = "_ci_low", "_ci_high"
SEEDS, EPOCHS = "seeds", "epochs"
HEADLINE_LEVEL = "L2"

NAMES = {
    **{metric: f"gap/{metric}" for metric in (*(f"{part}_retention" for part in PARTS), "retention_deviation")},
    "gap_to_retrain": "gap/to_retrain",
    **{metric: f"gap/{metric}_over_requests" for metric in OVER_REQUESTS},
    "rebound": "gap/rebound",
    **{metric: f"challenge/{metric}" for metric in ("forgetting_quality", "forgetting_ratio")},
    "challenge_score": "challenge/score",
    "gap_in_retrain_sd": "gap/in_retrain_sd",
    "in_retrain_sd": "gap/z",
    "changed_weights": "cost/changed_weights",
    "entanglement": "forget/entanglement",
    **{f"population_mia_{part}": f"mia/population_{part}" for part in PARTS},
    **{f"mia_{kind}_{part}": f"mia/{kind}_{part}" for kind in ("confidence", "entropy") for part in SVC_PARTS},
    **{metric: f"mia/{metric.removeprefix('mia_')}" for metric in TRIO_METRICS},
    "loss_gap": "mia/loss_gap",
    **{metric: f"likeness/{metric}" for metric in LIKENESS_METRICS},
    **{metric: f"probe/{metric}" for metric in (*PROBE_METRICS, EFFICACY_RATIO)},
    **{metric: f"composite/{metric}" for metric in COMPOSITE_METRICS},
    **{metric: f"cost/{metric}" for metric in (*COST_METRICS, IMAGES_RATIO)},
    **{metric: f"manipulated/{metric.removesuffix('_manipulated')}" for metric in TAMPERED_METRICS},
    **{f"indiscernibility_{part}": f"mia/indiscernibility_{part}" for part in PARTS},
    **{"anamnesis": "relearn/anamnesis", "relearn_steps": "relearn/steps"},
    **{"distill_steps": "distill/steps", "distill_auc": "distill/auc"},
    **{metric: f"cost/{metric}" for metric in ("seconds", "time_ratio", "run_time_efficiency")},
    "overall": "rank/mean",
}
"""Metrics of the tables that are no plain measurement on a part."""

_OF_A_PART = re.compile(rf"(?P<what>.+?)_(?P<part>{'|'.join((*CLASS_PARTS, *PARTS, FORGOTTEN_BEFORE, 'train'))})")
_ATTACKS = re.compile(r"(?:(?P<attack>offline_1s|offline_2s|rmia|ulira)_)?(?P<statistic>auc|(?:tpr|bacc)@.*)")
_NOT_IN_A_NAME = re.compile(r"[^\w.-]+")


def metric_name(metric: str) -> str:
    """Return what a metric of a trial (`accuracy_forget`) is called: `forget/accuracy`."""
    if metric in NAMES:
        return NAMES[metric]
    measured = _OF_A_PART.fullmatch(metric)
    return f"{measured['part']}/{_segment(measured['what'])}" if measured else f"other/{_segment(metric)}"


def rank_name(metric: str) -> str:
    """Return what the rank of a method by a metric is called: `rank/accuracy_test`."""
    return f"rank/{_segment(metric)}"


def series_name(prefix: str, name: str) -> str:
    """Return what the series of a metric is called, all of one kind in one group: `seeds/gap_retention_deviation`."""
    return f"{prefix}/{name.replace('/', '_')}"


def attack_name(row: Row, *, with_pool: bool) -> str:
    """Return what a row of `attacks` is called: `mia/ulira_o_tpr_at_0.01`, or `mia/canary/…` with its pool.

    That is attack, null world and statistic, and the attacker's level unless it is the headline.
    """
    null, level = str(row["null"]).lower(), row["level"]
    if level == LEVEL:
        return metric_name(row["metric"])
    known = _ATTACKS.fullmatch(row["metric"])
    name = f"{known['attack'] or 'ulira'}_{null}_{known['statistic']}" if known else f"{row['metric']}_{null}"
    weaker = [] if level in (None, "", HEADLINE_LEVEL) else [level.lower()]
    pool = [_segment(row["pool"])] if with_pool else []
    return "/".join(["mia" if known else "audit", *pool, _segment("_".join([name, *weaker]))])


def _segment(text: str) -> str:
    """Return a text as MLflow takes it between two slashes."""
    name = _NOT_IN_A_NAME.sub("_", text.replace("@", "_at_"))
    return name if name.strip(".") else "_" * max(1, len(name))
