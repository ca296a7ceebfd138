"""What shows whether a model fell for manipulated training data, where a study has such data."""

from __future__ import annotations

from harness.metrics.definitions import define

TAMPERED_METRICS = ("accuracy_manipulated", "attack_success", "confusion")

CORRECTIVE = "Goel et al. 2024, arXiv 2402.14015"
REFERENCE = "retrain of the scenario in which all manipulated images are known, such as {}"


def define_tampered() -> None:
    """Define them all; `catalogue` does."""
    define(
        "accuracy_manipulated",
        label="acc, manipulated",
        what="top-1 accuracy, true labels, where the manipulation would show: on test images that carry the trigger "
        "(poison; those of class 0, which it aims at, are left out), or on test images of the two classes (swap)",
        direction="higher",
        reference=REFERENCE.format("poison:100:1"),
        unit="fraction",
        source=CORRECTIVE,
    )
    define(
        "attack_success",
        label="attack success",
        what="share of the test images of other classes than 0 that the model calls 0 once they carry the trigger of "
        "the poison",
        direction="lower",
        reference=REFERENCE.format("poison:100:1"),
        unit="fraction",
        source=CORRECTIVE,
    )
    define(
        "confusion",
        label="confusion (swap)",
        what="(C_ab + C_ba) / all test images of the classes a and b whose labels were swapped in training: the share "
        "of them that the model takes for the other class",
        direction="lower",
        reference=REFERENCE.format("swap:100:0,1:1"),
        unit="fraction",
        source="IC-ERR, Kurmanji et al. 2023, arXiv 2302.09880",
    )
