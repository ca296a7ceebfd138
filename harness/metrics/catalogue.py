"""The metrics that every study has; importing this module defines them."""

from __future__ import annotations

from harness.metrics.audited import define_audit
from harness.metrics.definitions import DEEP_UNLEARN, RETRAIN_OF_SEED, define

PARTS = ("retain", "forget", "val", "test")
MIA_PARTS = ("val", "test")

_RETENTION_DEVIATION = (
    "|RR - 1| + |FR - 1| + |TR - 1|: how far retain, forget and test accuracy together are from retrain's, "
    "relative to retrain's; per seed, then averaged"
)


def _accuracy_and_loss() -> None:
    for part in PARTS:
        define(
            f"accuracy_{part}",
            label=f"{part} acc",
            what=f"top-1 accuracy on the {part} part, evaluation mode, no augmentation",
            direction="closest",
            reference=RETRAIN_OF_SEED,
            unit="fraction",
            source=DEEP_UNLEARN,
        )
        define(
            f"loss_{part}",
            label=f"{part} loss",
            what=f"mean cross-entropy on the {part} part, evaluation mode, no augmentation",
            direction="closest",
            reference=RETRAIN_OF_SEED,
            unit="nat",
            source=DEEP_UNLEARN,
        )
    define(
        "accuracy_train",
        label="train acc",
        what="top-1 accuracy of an original on all training data (retain and forget)",
        direction="higher",
        reference="none: originals only",
        unit="fraction",
        source=DEEP_UNLEARN,
    )
    define(
        "loss_train",
        label="train loss",
        what="mean cross-entropy of an original on all training data (retain and forget)",
        direction="lower",
        reference="none: originals only",
        unit="nat",
        source=DEEP_UNLEARN,
    )


def _retention() -> None:
    for part, short in (("retain", "RR"), ("forget", "FR"), ("test", "TR")):
        define(
            f"{part}_retention",
            label=short,
            what=f"{part} accuracy divided by retrain's {part} accuracy",
            direction="closest",
            reference="1: as accurate as retrain",
            unit="ratio",
            source=DEEP_UNLEARN,
            reference_value=1.0,
        )
    define(
        "retention_deviation",
        label="RetDev",
        what=_RETENTION_DEVIATION,
        direction="lower",
        reference="0: retrain",
        unit="sum of three ratios",
        source=DEEP_UNLEARN,
        reference_value=0.0,
    )
    define(
        "gap_to_retrain",
        label="gap to retrain",
        what="mean of |accuracy - retrain's accuracy| over retain, forget and test: as retention deviation, but "
        "defined also where retrain's forget accuracy is 0 (a forgotten class); per seed, then averaged",
        direction="lower",
        reference="0: retrain",
        unit="fraction",
        source="this harness",
        reference_value=0.0,
    )
    define(
        "gap_in_retrain_sd",
        label="gap / retrain's sd",
        what="|mean accuracy over seeds - retrain's mean| divided by retrain's standard deviation over seeds (n - 1), "
        "mean over retain, forget and test; a number of a cell, not of a trial, because one seed has no spread; "
        "unknown where retrain has one seed or no spread in a part",
        direction="lower",
        reference="0: retrain's mean; about 1: as far from it as a single retrain is",
        unit="standard deviations of retrain",
        source="this harness",
        reference_value=0.0,
    )


def _privacy() -> None:
    for part in MIA_PARTS:
        define(
            f"population_mia_{part}",
            label=f"population MIA ({part})",
            what="accuracy of a logistic regression on the loss that tells the forget part (members) "
            f"from the {part} part (non-members)",
            direction="closest",
            reference="0.5: cannot be told apart",
            unit="fraction",
            source=DEEP_UNLEARN,
            reference_value=0.5,
        )
        define(
            f"indiscernibility_{part}",
            label=f"Indisc ({part})",
            what=f"1 - |2 MIA - 1| with MIA = population_mia_{part}; per seed, then averaged",
            direction="higher",
            reference="1: cannot be told apart",
            unit="fraction",
            source=DEEP_UNLEARN,
            reference_value=1.0,
        )


def _time() -> None:
    define(
        "seconds",
        label="time",
        what="wall-clock time of unlearning (of training, for retrain) in a timing run, alone on its device; "
        "0 for original, which runs nothing",
        direction="lower",
        reference=RETRAIN_OF_SEED,
        unit="s",
        source=DEEP_UNLEARN,
    )
    define(
        "time_ratio",
        label="time / retrain",
        what="seconds of unlearning divided by seconds of retraining, same cell, seed and device, "
        "timing runs only; per seed, then averaged",
        direction="lower",
        reference="1: retrain",
        unit="ratio",
        source=DEEP_UNLEARN,
        reference_value=1.0,
    )
    define(
        "run_time_efficiency",
        label="RTE",
        what="seconds of retraining divided by seconds of unlearning, same cell, seed and device, "
        "timing runs only; per seed, then averaged (so it is not the inverse of the averaged time_ratio)",
        direction="higher",
        reference="1: retrain",
        unit="ratio",
        source=DEEP_UNLEARN,
        reference_value=1.0,
    )


def _ranking() -> None:
    define(
        "overall",
        label="mean rank",
        what="mean of a method's ranks on the metrics that the ranking combines; 1 is the best possible",
        direction="lower",
        reference="none: retrain and original are not ranked",
        unit="rank",
        source="after the per-metric ranks of " + DEEP_UNLEARN,
    )


_accuracy_and_loss()
_retention()
_privacy()
_time()
_ranking()
define_audit()
