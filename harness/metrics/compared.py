"""The metrics that compare a trial's model with its retrain, answer by answer and weight by weight."""

from __future__ import annotations

from harness.metrics.definitions import RETRAIN_OF_SEED, Direction, define

LIKENESS_PARTS = ("forget", "retain", "test")
FEATURE_PARTS = ("forget", "test")

_BY_PART = ("js_divergence", "js_divergence_published", "activation_distance", "completeness")
LIKENESS_METRICS = (
    *(f"{metric}_{part}" for metric in _BY_PART for part in LIKENESS_PARTS),
    *(f"{metric}_forget" for metric in ("zrf", "zrf_gap", "zrf_published")),
    "rf_divergence",
    "churn_retain",
    *("layer_distance", "layer_distance_mean"),
    *(f"{metric}_{part}" for metric in ("cka", "images_per_feature") for part in FEATURE_PARTS),
)
"""What units of kind `compare` store; those without a part are of the model as a whole."""

FLOOR = "retrain's own row holds it against the retrain of the next seed, the floor that chance alone sets"
NO_FLOOR = "unknown with one seed"
SUPREME = "as released with SUPREME, arXiv 2606.00380"
BAD_TEACHER = "Chundawat et al. 2023, arXiv 2205.08096"
THIS = "this harness"


def define_likeness() -> None:
    """Define them all; `catalogue` does."""
    for part in LIKENESS_PARTS:
        _divergences(part, "at most 2,000 images of retain, evenly spaced" if part == "retain" else f"the {part} part")
    _against_untrained()
    _retrain_free()
    _stability()
    _weights()
    for part in FEATURE_PARTS:
        _features(part)


def _divergences(part: str, images: str) -> None:
    _define(
        f"js_divergence_{part}",
        f"JS ({part})",
        f"Jensen-Shannon divergence between the probabilities of the model and of retrain, mean over {images}; at "
        "most ln 2 = 0.693",
        "lower",
        f"0: answers as retrain does; {FLOOR}",
        "nat",
        "Lin 1991, IEEE Trans. Inf. Theory 37(1)",
        0.0,
    )
    _define(
        f"js_divergence_published_{part}",
        f"JS as published ({part})",
        f"the same as released code has it: both KL divergences reversed, mean over {images} and over classes, so "
        "that it falls with their number; only to compare with published numbers",
        "lower",
        f"0: answers as retrain does; {FLOOR}",
        "nat a class",
        SUPREME,
        0.0,
    )
    _define(
        f"activation_distance_{part}",
        f"activation distance ({part})",
        f"L2 distance between the probability vectors of the model and of retrain, mean over {images}",
        "lower",
        f"0: answers as retrain does; {FLOOR}",
        "L2 distance",
        f"{SUPREME}, which takes the root of the mean square; {THIS} takes the mean of the norms",
        0.0,
    )
    _define(
        f"completeness_{part}",
        f"agreement ({part})",
        f"share of images that the model labels as retrain does, rightly or not, over {images} (completeness)",
        "higher",
        f"1: labels all as retrain does; {FLOOR}",
        "fraction",
        "Cao and Yang 2015, IEEE S&P",
        1.0,
    )


def _against_untrained() -> None:
    what = "1 - the Jensen-Shannon divergence between the model and an untrained network on the forget part, mean over "
    five = "five untrained networks, the same for all methods of a seed"
    reference = f"{RETRAIN_OF_SEED}: a higher score is not better; {NO_FLOOR}"
    _define("zrf_forget", "ZRF", what + five, "closest", reference, "1 - nat", BAD_TEACHER)
    _define(
        "zrf_gap_forget",
        "ZRF gap",
        f"|ZRF - retrain's ZRF| on the forget part, by the same {five}",
        "lower",
        f"0: as far from random as retrain is; {FLOOR}",
        "nat",
        THIS,
        0.0,
    )
    _define(
        "zrf_published_forget",
        "ZRF as published",
        "ZRF from the divergence as released code has it: near 1 whatever the model; only to compare with published "
        "numbers",
        "closest",
        reference,
        "1 - nat a class",
        SUPREME,
    )


def _retrain_free() -> None:
    _define(
        "rf_divergence",
        "RF-JSD",
        "Jensen-Shannon divergence between the model's mean answer to forgotten images of a class and the original's "
        "mean answer to test images of that class, mean over the classes that both have; not normalised",
        "lower",
        f"retrain's own value, which is above 0; {NO_FLOOR}",
        "nat",
        "Spartalis et al. 2025 (LoTUS), CVPR",
    )


def _stability() -> None:
    _define(
        "churn_retain",
        "churn (retain)",
        "1 - share of images that the model labels as the original did, over at most 2,000 images of retain, evenly "
        "spaced: how much changes for those who asked for nothing",
        "lower",
        f"0: nothing changes; retraining has churn, too: that of retrain is {NO_FLOOR}",
        "fraction",
        "Milani Fard et al. 2016, NeurIPS (Launch and iterate)",
        0.0,
    )


def _weights() -> None:
    warning = (
        "Means nothing where the two began with other weights: a method that returns a new network, the floor (another "
        "seed), or originals that the seeds share"
    )
    _define(
        "layer_distance",
        "weight distance",
        f"|u - r| / |r| with u, r all parameters of the model and of retrain as one vector. {warning}",
        "lower",
        f"0: retrain's weights; {FLOOR}",
        "relative L2",
        SUPREME,
        0.0,
    )
    _define(
        "layer_distance_mean",
        "weight distance by layer",
        f"|u - r| / |r| of each parameter tensor, mean over tensors that are not all 0 in retrain. {warning}",
        "lower",
        f"0: retrain's weights; {FLOOR}",
        "relative L2",
        THIS,
        0.0,
    )


def _features(part: str) -> None:
    _define(
        f"cka_{part}",
        f"CKA ({part})",
        f"linear centred kernel alignment of the inputs of the head, model against retrain, on the {part} part. With "
        "n images and d features unrelated ones reach about d / n: see images_per_feature",
        "higher",
        f"1: retrain's features, up to rotation and scale; {FLOOR}",
        "fraction",
        "Kornblith et al. 2019, arXiv 1905.00414",
        1.0,
    )
    _define(
        f"images_per_feature_{part}",
        f"n / d of CKA ({part})",
        f"images of the {part} part for each input of the head: how far CKA can be read",
        "higher",
        "10: from here on unrelated features reach about 0.1 at most",
        "ratio",
        THIS,
        10.0,
    )


def _define(
    metric: str, label: str, what: str, direction: Direction, reference: str, unit: str, source: str, *fixed: float
) -> None:
    define(
        metric,
        label=label,
        what=what,
        direction=direction,
        reference=reference,
        unit=unit,
        source=source,
        reference_value=fixed[0] if fixed else None,
    )
