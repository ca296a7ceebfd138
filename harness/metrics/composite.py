"""Composite scores of the literature: for comparison with published numbers, never for ranking.

Each packs unlike things into one number. Formulas are of single trials, as polars expressions or floats alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.metrics.definitions import RETRAIN_OF_SEED, define

Number = TypeVar("Number", float, pl.Expr)

TOW_PARTS = ("forget", "retain", "test")
TINY = 1e-6
"""What the published GUM adds to denominators."""
COMPOSITE_METRICS = ("tow", "tow_mia", "nomus", "aus", "gum", "average_gap")
F1_METRICS = ("f1_test", "f1_over_chance_test")

_WARNING = "For comparison with published numbers, never ranked"


def tug_of_war(*gaps: Number) -> Number:
    """Return the product of 1 - |gap| over gaps to retrain in [-1, 1]."""
    first, *others = (1 - abs(gap) for gap in gaps)
    for one in others:
        first = first * one
    return first


def nomus(accuracy: Number, mia: Number) -> Number:
    """Return the normalised machine unlearning score of test accuracy and attack accuracy."""
    return 0.5 * accuracy + 0.5 * (1 - 2 * abs(mia - 0.5))


def aus(accuracy: Number, before: Number, distance: Number) -> Number:
    """Return the adaptive unlearning score: accuracy kept of that `before`, over 1 + the distance still to go."""
    return (1 - (before - accuracy)) / (1 + distance)


def macro_f1(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mean F1 score over the classes of answers [n] and labels [n]; NaN for no image."""
    classes = np.union1d(answers, labels)
    right = np.array([np.sum((answers == one) & (labels == one)) for one in classes])
    either = np.array([np.sum(answers == one) + np.sum(labels == one) for one in classes])
    return float((2 * right / either).mean()) if len(classes) else float("nan")


@dataclass(frozen=True)
class Judged:
    """What GUM knows of a model: macro F1 over chance, attack accuracy, seconds."""

    f1_over_chance: pl.Expr
    mia: pl.Expr
    seconds: pl.Expr


def gum(own: Judged, retrain: Judged, original_mia: pl.Expr) -> pl.Expr:
    """Return the global unlearning metric: utility, efficacy and time as one, each in [0, 1], with weights of 1.

    An attack that fares better than on the original counts as on the original, on whichever side of retrain's it is.
    """
    utility = (own.f1_over_chance / (retrain.f1_over_chance + TINY)).clip(0, 1)
    above, below = pl.min_horizontal(own.mia, original_mia), pl.max_horizontal(own.mia, original_mia)
    mia = pl.when(original_mia >= retrain.mia).then(above).otherwise(below)
    efficacy = (1 - (mia - retrain.mia).abs() / ((original_mia - retrain.mia).abs() + TINY)).clip(0, 1)
    time = (1 - (own.seconds + 1).log() / ((retrain.seconds + 1).log() + TINY)).clip(0, 1)
    return 3 * utility * efficacy * time / (efficacy * time + utility * time + utility * efficacy + TINY)


def define_composites() -> None:
    """Define them all, and what GUM is made of; `catalogue` does."""
    _define(
        "tow",
        "ToW",
        "tug of war: product of 1 - |accuracy - retrain's| over forget, retain and test",
        "1: retrain",
        "Zhao et al. 2024 (RUM), arXiv 2406.01257",
        1.0,
    )
    _define(
        "tow_mia",
        "ToW-MIA",
        "tug of war with 1 - |MIA - retrain's| in the place of forget, MIA being mia_confidence_forget",
        "1: retrain",
        "Zhao et al. 2024 (RUM), arXiv 2406.01257",
        1.0,
    )
    _define(
        "nomus",
        "NoMUS",
        "half the test accuracy plus half of 1 - 2 |MIA - 0.5|, MIA being population_mia_test. There is no retrain in "
        "it, and guessing reaches about 0.55 with ten classes",
        "retrain's own value, in its row",
        "Choi and Na 2023, arXiv 2311.02240",
    )
    _define(
        "aus",
        "AUS",
        "adaptive unlearning score: (1 - (A - a)) / (1 + D), test accuracies A of the original and a of the model, D "
        "being |forget accuracy - a|. Where classes or a subclass are forgotten, A and a are on test images of others, "
        "and D is the accuracy on test images of the forgotten, as if 0 were the goal, which for a subclass it is not",
        "retrain's own value, in its row",
        "Cotogni et al. 2023 (DUCK), arXiv 2312.02052",
    )
    _define(
        "gum",
        "GUM",
        "global unlearning metric: 3 U E T / (E T + U T + U E), each in [0, 1]: U = macro F1 on test over chance, "
        "against retrain's; E = 1 - |MIA - retrain's| / |original's - retrain's|, MIA being population_mia_test; "
        "T = 1 - ln(1 + seconds) / ln(1 + retrain's). 0 if one of them is 0; E means nothing where the original's MIA "
        "is retrain's",
        "1: nothing reaches it, and retrain's own is 0, for its time",
        "Koudounas et al. 2025 (UnSLU-BENCH), arXiv 2505.15700",
        1.0,
    )
    _average_gap()
    _macro_f1()


def _average_gap() -> None:
    define(
        "average_gap",
        label="average gap",
        what="mean of |value - retrain's| over accuracy on forget, retain and test (of other classes, where some are "
        f"forgotten) and mia_confidence_forget. {_WARNING}: forgetting too much and too little look alike",
        direction="lower",
        reference="0: retrain",
        unit="fraction",
        source="Fan et al. 2024 (SalUn), arXiv 2310.12508",
        reference_value=0.0,
    )


def _macro_f1() -> None:
    over = "mean of the F1 scores of the classes on test, those that are there or are answered"
    for metric, label, what in (
        ("f1_test", "macro F1", over),
        ("f1_over_chance_test", "macro F1 over chance", f"{over}, minus 1 / classes of the data set"),
    ):
        define(
            metric,
            label=label,
            what=what,
            direction="closest",
            reference=RETRAIN_OF_SEED,
            unit="fraction",
            source="van Rijsbergen 1979, Information Retrieval",
        )


def _define(metric: str, label: str, what: str, reference: str, source: str, fixed: float | None = None) -> None:
    define(
        metric,
        label=label,
        what=f"{what}. {_WARNING}",
        direction="higher",
        reference=reference,
        unit="fraction",
        source=source,
        reference_value=fixed,
    )
