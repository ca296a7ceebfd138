"""The metrics that every study has; importing this module defines them."""

from __future__ import annotations

from harness.metrics.audited import define_audit
from harness.metrics.compared import define_likeness
from harness.metrics.composite import define_composites
from harness.metrics.costs import define_costs
from harness.metrics.definitions import DEEP_UNLEARN, RETRAIN_OF_SEED, define
from harness.metrics.entanglement import define_entanglement
from harness.metrics.probed import define_probes
from harness.metrics.sequence import define_sequence
from harness.metrics.tampered import define_tampered
from harness.metrics.trio import define_trio

PARTS = ("retain", "forget", "val", "test")
MIA_PARTS = ("val", "test")
CLASS_PARTS = ("test_retain", "test_forget")
"""Test by its classes, where whole classes are forgotten; by its subclasses, where one of them is."""
SVC_PARTS = ("forget", "test_forget")

ISPF = "arXiv 2412.13790"
GKT = "Chundawat et al. 2023, arXiv 2201.05629"

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


def _by_class() -> None:
    for part, which in (("test_retain", "to keep"), ("test_forget", "to forget")):
        for metric, what, unit in (("accuracy", "top-1 accuracy", "fraction"), ("loss", "mean cross-entropy", "nat")):
            define(
                f"{metric}_{part}",
                label=f"{'test acc' if metric == 'accuracy' else 'test loss'}, {which.removeprefix('to ')}",
                what=f"{what} on the test images of the classes or subclasses {which}, over all outputs of the model; "
                "the goal is what retrain has, which for a subclass need not be near 0: its siblings teach the class",
                direction="closest",
                reference=RETRAIN_OF_SEED,
                unit=unit,
                source=ISPF,
            )


def _svc_mia() -> None:
    images = {"forget": "the forget set", "test_forget": "test images of what is forgotten, which are no members"}
    for part, which in images.items():
        define(
            f"mia_confidence_{part}",
            label=f"M-conf ({part})",
            what=f"share of {which} that a support-vector attacker on the probability of the label calls non-members; "
            "it is fitted on equally many retain and test images of each class that is kept",
            direction="closest",
            reference=RETRAIN_OF_SEED,
            unit="fraction",
            source="Jia et al. 2023, arXiv 2304.04934; balanced here",
        )
        define(
            f"mia_entropy_{part}",
            label=f"M-ent ({part})",
            what=f"share of {which} that a support-vector attacker on the entropy of the answer calls members; "
            "it is fitted on equally many retain and test images of each class that is kept",
            direction="closest",
            reference=RETRAIN_OF_SEED,
            unit="fraction",
            source=GKT + "; balanced here",
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
        "in_retrain_sd",
        label="z",
        what="(mean over seeds - retrain's mean) divided by retrain's standard deviation over seeds (n - 1), for any "
        "metric; a number of a cell, not of a trial, because one seed has no spread; its interval is that of Glass's "
        "delta by the noncentral t distribution, which takes the method's spread for equal to retrain's; unknown where "
        "retrain has one seed or no spread",
        direction="closest",
        reference="0: retrain's mean; single retrains scatter by about 1",
        unit="standard deviations of retrain",
        source="Hedges and Olkin 1985, Statistical Methods for Meta-Analysis",
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


def _work_done() -> None:
    define(
        "changed_weights",
        label="changed weights",
        what="share of the weights (not buffers) that a method started from and that changed, by a single bit; 0 is a "
        "method that did nothing, whatever its other numbers say; unknown for one that returns another network",
        direction="higher",
        reference="above 0: the method did something; how much is no merit",
        unit="fraction",
        source="this harness",
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


def _relearning() -> None:
    define(
        "relearn_steps",
        label="relearn steps",
        what="optimiser steps until the model knows again what it was made to forget: 95 % of the original's accuracy "
        "on the validation images of the forgotten classes or subclass (on the forget set itself where it is neither, "
        "which is not standard). Adam at 1e-3 on retain and forget, in batches of 256; asked after "
        "every step up to 50, then after every fifth; unknown where 10 epochs (at least 500 steps) do not suffice; 0 "
        "for original",
        direction="closest",
        reference=RETRAIN_OF_SEED,
        unit="steps",
        source=GKT,
    )
    define(
        "anamnesis",
        label="AIN",
        what="Anamnesis Index: relearn_steps divided by retrain's, same cell and seed and the same order of batches. "
        "Below 1 the model has kept something of what it should have forgotten; far above 1 is not better. Unknown "
        "where one of the two is, or retrain's is 0; per seed, then averaged",
        direction="closest",
        reference="1: learns it as one that never saw it",
        unit="ratio",
        source=GKT,
        reference_value=1.0,
    )


def _distillation() -> None:
    define(
        "distill_steps",
        label="steps to 90 %",
        what="optimiser steps until the end of the first epoch at which the accuracy on retain images (at most 512, "
        "as the curves show it) is 90 % of retrain's final accuracy on retain; unknown where it never is",
        direction="lower",
        reference="0: there from the start",
        unit="steps",
        source="this harness",
        reference_value=0.0,
    )
    define(
        "distill_auc",
        label="accuracy on the way",
        what="area under the accuracy on retain images (at most 512) over optimiser steps, by the trapezoidal rule, "
        "divided by all steps",
        direction="higher",
        reference="1: right from the first step on",
        unit="fraction",
        source="this harness",
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
_by_class()
define_tampered()
_svc_mia()
define_trio()
_retention()
_work_done()
_privacy()
_time()
_relearning()
_distillation()
define_likeness()
define_sequence()
define_probes()
define_costs()
define_composites()
define_entanglement()
_ranking()
define_audit()
