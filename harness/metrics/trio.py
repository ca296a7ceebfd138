"""The metrics of three attackers on the losses of forget and test, and the gap between these losses."""

from __future__ import annotations

from harness.metrics.definitions import RETRAIN_OF_SEED, define

TRIO = {
    "logistic": ("logistic", "a logistic regression (scikit-learn's defaults: `simple_mia` of the challenge's kit)"),
    "svm": ("SVM", "a support-vector machine (RBF kernel, C = 1, standardised loss)"),
    "xgboost": ("XGBoost", "boosted trees (XGBoost: 100 of depth 3, learning rate 0.1)"),
}
"""The three attackers: how their columns are headed, and what they are."""

_NUMBERS = {
    "": ("", "mean accuracy"),
    "_sd": (" sd", "standard deviation (n - 1) of the accuracy"),
    "_auc": (" AUC", "mean AUC"),
    "_auc_sd": (" AUC sd", "standard deviation (n - 1) of the AUC"),
}
TRIO_ACCURACIES = tuple(f"mia_{attacker}_test" for attacker in TRIO)
TRIO_METRICS = tuple(f"mia_{attacker}{number}_test" for attacker in TRIO for number in _NUMBERS)
"""Accuracy and AUC of each, means and standard deviations over the splits."""

HATUA = "Hatua et al. 2024, arXiv 2407.18467, in this harness's reading: features and splits are not given there"


def define_trio() -> None:
    """Define what the three attackers reach, and the gap without which it is misread."""
    for attacker, (head, what) in TRIO.items():
        for number, (end, measured) in _NUMBERS.items():
            define(
                f"mia_{attacker}{number}_test",
                label=f"MIA {head}{end}",
                what=f"{measured} of {what} that tells the forget set from equally many test images by their loss, "
                "over ten stratified random 90/10 splits; where classes are forgotten, from test images of these",
                direction="closest",
                reference=f"{RETRAIN_OF_SEED}, which need not be at 0.5",
                unit="fraction",
                source=HATUA,
            )
    define(
        "loss_gap",
        label="loss gap",
        what="mean cross-entropy on forget minus that on test (of all classes), signed. Where it is above retrain's, "
        "the forget set is known worse than images never seen: methods that invert labels push its losses above those "
        "of test, and an attack's accuracy above 0.5 then means over-forgetting. The ideal of both is retrain's value, "
        "not 0 and not 0.5",
        direction="closest",
        reference=RETRAIN_OF_SEED,
        unit="nat",
        source="this harness",
    )
