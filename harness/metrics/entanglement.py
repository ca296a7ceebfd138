"""How entangled a forget set is with the rest in what the original makes of both: a number of the request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.metrics.definitions import define

Floats = NDArray[np.float64]


def entanglement(retain: Floats, forget: Floats) -> float:
    """Return the spread within the two sets of features [n, d] and [m, d] over the distance between them.

    Zhao et al. 2024, arXiv 2406.01257: the sum of the mean squared distances to each own mean, over the mean squared
    distance of both means to their midpoint. NaN for an empty set, and where the means are one.
    """
    if not (len(retain) and len(forget)):
        return float("nan")
    means = [features.mean(0) for features in (retain, forget)]
    pairs = zip((retain, forget), means, strict=True)
    within = sum(float(((features - mean) ** 2).sum(1).mean()) for features, mean in pairs)
    between = float(((means[0] - means[1]) ** 2).sum()) / 4
    return within / between if between > 0 else float("nan")


def define_entanglement() -> None:
    """Define it; `catalogue` does."""
    define(
        "entanglement",
        label="entanglement",
        what="spread of the original's penultimate features within retain (at most 2,000 images, evenly spaced) and "
        "within forget, over the squared distance between their means; a number of the request and of the original, "
        "stored with the trial that does nothing",
        direction="lower",
        reference="none: requests are compared with each other; the higher, the harder to forget one part alone",
        unit="ratio",
        source="Zhao et al. 2024, arXiv 2406.01257",
    )
