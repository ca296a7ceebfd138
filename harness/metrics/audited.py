"""The metrics of an audit with a shadow-model farm."""

from __future__ import annotations

from harness.metrics.definitions import define

HAYES = "Hayes et al. 2024, arXiv 2403.01218"
LIRA = "Carlini et al. 2022, arXiv 2112.03570"
GUESSING = "0.5: guessing"
FPRS = (0.01, 0.001)
"""The false-positive rates at which the true-positive rate is reported."""


AUDIT_METRICS = (
    *("auc", *(f"tpr@{rate:g}" for rate in FPRS), "bacc@0"),
    *("offline_1s_auc", "offline_2s_auc", "rmia_auc"),
    *("eps_cp", "eps_onerun", "eps_gdp"),
    *("klom", "klom_gaussian", "forgetting_quality"),
)
"""What the `attacks` table holds of an audit with a farm."""
CHALLENGE_METRICS = ("forgetting_ratio", "challenge_score")
"""What it holds beside `forgetting_quality` where the models are trials; every other metric is one of a trial."""


def define_audit() -> None:
    """Define them all; `catalogue` does."""
    _ulira()
    _other_attacks()
    _epsilons()
    _against_retrain()
    _challenge()


def _ulira() -> None:
    define(
        "auc",
        label="audit AUC",
        what="chance that the audit scores an image that was forgotten above one that was not there",
        direction="closest",
        reference=GUESSING,
        unit="fraction",
        source=HAYES,
        reference_value=0.5,
    )
    for rate in FPRS:
        share = f"{100 * rate:g} %"
        define(
            f"tpr@{rate:g}",
            label=f"TPR at {share} FPR",
            what=f"share of forgotten images that the audit recognises while it accuses {share} of the others",
            direction="closest",
            reference=f"{rate:g}: guessing",
            unit="fraction",
            source=HAYES,
            reference_value=rate,
        )
    define(
        "bacc@0",
        label="balanced accuracy",
        what="mean of the audit's true-positive and true-negative rates, threshold at likelihood ratio 1",
        direction="closest",
        reference=GUESSING,
        unit="fraction",
        source=HAYES,
        reference_value=0.5,
    )


def _other_attacks() -> None:
    attacks = {
        "offline_1s": ("offline LiRA, one-sided", "how far phi lies above the never-in releases", LIRA),
        "offline_2s": ("offline LiRA, two-sided", "how far phi lies from the never-in releases, either way", LIRA),
        "rmia": (
            "RMIA",
            "the share of test images that the release favours less, relative to the other releases",
            "Zarifzadeh et al. 2024, arXiv 2312.03262",
        ),
    }
    for name, (label, score, source) in attacks.items():
        define(
            f"{name}_auc",
            label=f"{label} AUC",
            what=f"AUC of an attack on the same releases that scores {score}",
            direction="closest",
            reference=GUESSING,
            unit="fraction",
            source=source,
            reference_value=0.5,
        )


def _epsilons() -> None:
    kinds = {
        "eps_cp": (
            "eps (bound)",
            "lower bound of epsilon at delta 0 from the error rates of one threshold, fixed on other releases, "
            "by Clopper-Pearson limits (95 %)",
            HAYES,
        ),
        "eps_onerun": (
            "eps (one run)",
            "largest lower bound of epsilon at delta 0 from the guesses within a single release (95 % over all)",
            "Steinke et al. 2023, arXiv 2305.08846",
        ),
        "eps_gdp": (
            "eps (restated)",
            "epsilon at delta 1e-5 of the Gaussian mechanism with the audit's AUC: a restatement, no guarantee",
            "Dong et al. 2022, arXiv 1905.02383",
        ),
    }
    for name, (label, what, source) in kinds.items():
        define(
            name,
            label=label,
            what=what,
            direction="lower",
            reference="0: no leak shown",
            unit="nat",
            source=source,
            reference_value=0.0,
        )


def _against_retrain() -> None:
    define(
        "klom",
        label="KLoM",
        what="mean over images of KL(retrained || unlearned) between histograms of phi over the models; "
        "read it minus its null floor, the same between two halves of the retrained models",
        direction="lower",
        reference="its null floor: retrain against retrain",
        unit="nat",
        source="Georgiev et al. 2024, arXiv 2410.23232",
    )
    define(
        "klom_gaussian",
        label="KLoM (Gaussian)",
        what="mean over images of KL(retrained || unlearned) between Gaussians fitted to phi, corrected for the "
        "number of models",
        direction="lower",
        reference="0: as retrained",
        unit="nat",
        source="after Georgiev et al. 2024, arXiv 2410.23232",
        reference_value=0.0,
    )
    define(
        "forgetting_quality",
        label="F",
        what="mean over images of 2^-floor(epsilon / 0.5), epsilon by the best threshold or interval on phi; "
        "its null floor F_null is what retraining scores at the same number of models (level trials: at half as many)",
        direction="higher",
        reference="its null floor: retrain against retrain",
        unit="fraction",
        source="Triantafillou et al. 2024, arXiv 2406.09073",
    )


def _challenge() -> None:
    define(
        "forgetting_ratio",
        label="F / F_null",
        what="F divided by what retraining scores, both with half of the models, since F_null needs two halves of the "
        "retrains; 1 is as good as retraining; F_null is taken as known in the interval",
        direction="higher",
        reference="1: retrain against retrain",
        unit="ratio",
        source="after Triantafillou et al. 2024, arXiv 2406.09073",
        reference_value=1.0,
    )
    define(
        "challenge_score",
        label="final score",
        what="F over all models, times retain accuracy / retrain's, times test accuracy / retrain's; accuracies are "
        "means over the models and taken as known in the interval; none where unlearning takes more than 0.2 of the "
        "time of a retrain: it is then rejected",
        direction="higher",
        reference="that of retrain, which is F_null; 1 cannot be reached",
        unit="score",
        source="NeurIPS 2023 Machine Unlearning challenge; Triantafillou et al. 2024, arXiv 2406.09073",
    )
