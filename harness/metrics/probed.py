"""The metrics of what is left in a model of what it was made to forget: a few images shown, new heads, noise."""

from __future__ import annotations

from harness.metrics.definitions import RETRAIN_OF_SEED, define

SHOTS = (0, 1, 5, 10, 50, 100)
"""A model is shown so many images to forget."""
AFTER = "relearn_accuracy_{}"
FEW = 5
"""A head of few shots sees so many images of each class."""
HEAD_METRICS = tuple(
    f"knowledge_retention{shots}_{part}" for shots in ("", f"_{FEW}_shot") for part in ("forget", "retain")
)
PROBE_METRICS = (
    *(AFTER.format(shots) for shots in SHOTS),
    "relearn_curve",
    *HEAD_METRICS,
    *("noise_recovery", "epistemic_efficacy"),
)
"""What units of kind `probe` store, all under the part `all`."""
EFFICACY_RATIO = "epistemic_ratio"
"""What `derive` makes of them."""

TAMPERING = "Siddiqui et al. 2025, arXiv 2505.22310; the optimiser is this harness's"
ESC = "Lee et al. 2025 (ESC), arXiv 2504.02199; momentum and scaling are this harness's"
EPISTEMIC = "Becker and Liebig 2022, arXiv 2208.10836"

_SHOWN = (
    "ten full-batch steps by the recipe's optimiser at a tenth of its learning rate, evaluation mode, no weight decay "
    "and no augmentation"
)


def define_probes() -> None:
    """Define them all; `catalogue` does."""
    for shots in SHOTS:
        few = f"after {_SHOWN}, on {shots} other forget images" if shots else "before it was shown any"
        asked = "needs at least twice as many forget images; " if shots else ""
        _define(
            AFTER.format(shots),
            f"relearned, {shots} shown",
            f"accuracy of the model on forget images that are never shown to it (at most 2,000), {few}; {asked}the "
            "images are the same for every method of a seed. Above retrain's, the model had hidden what it knew",
        )
    _define(
        "relearn_curve",
        "relearn curve",
        "mean of relearn_accuracy over the numbers of shown images that the forget set is large enough for",
    )
    _heads()
    _define(
        "noise_recovery",
        "forget acc under noise",
        "median over ten draws of the forget accuracy (at most 2,000 images) after normal noise on each parameter, "
        "of 5 % of the root mean square of its tensor: shallow forgetting does not survive it",
        source="this harness",
    )
    _efficacy()


def _heads() -> None:
    for shots, seen in (("", "all training images, forget included"), (f"_{FEW}_shot", f"{FEW} images of each class")):
        for part, asked in (("forget", "forgotten classes; else on forget"), ("retain", "other classes; else on test")):
            _define(
                f"knowledge_retention{shots}_{part}",
                f"KR{' 5-shot' if shots else ''} ({part})",
                f"accuracy of a new linear head on the model's frozen features (SGD at 1e-3, momentum 0.9, batches "
                f"of 64, 10 epochs or 500 steps, features scaled to a root mean square of 1), trained on {seen}; where "
                f"classes are forgotten, on test images of the {asked}. A retrained body tells classes apart that it "
                "has never seen, too: 0 is not the goal. Unknown where the model has no linear head",
                source=ESC,
            )


def _efficacy() -> None:
    _define(
        "epistemic_efficacy",
        "epistemic efficacy",
        "1 / mean of |gradient of ln p_y(x) by the weights|^2 over at most 200 forget images, one by one; depends on "
        "the size of the network and the scale of its weights",
        unit="1 / squared norm",
        source=EPISTEMIC,
    )
    define(
        EFFICACY_RATIO,
        label="efficacy / retrain",
        what="epistemic_efficacy divided by retrain's, same cell and seed; per seed, then averaged",
        direction="closest",
        reference="1: retrain",
        unit="ratio",
        source=EPISTEMIC,
        reference_value=1.0,
    )


def _define(metric: str, label: str, what: str, *, unit: str = "fraction", source: str = TAMPERING) -> None:
    define(metric, label=label, what=what, direction="closest", reference=RETRAIN_OF_SEED, unit=unit, source=source)
