"""The one signal that every attack reads: phi, the log-odds of the label that the model was trained with.

One stored matrix of phi serves LiRA, U-LiRA and every attack on the loss or the confidence, because both
follow from it: loss = softplus(-phi), confidence = sigmoid(phi).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MAX_PHI = 1e4
"""|phi| is clipped here: larger values only come from a model whose logits overflowed."""


def phi(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return log(p_y / (1 - p_y)) of each example, computed from logits without ever forming 1 - p_y.

    phi = z_y - logsumexp of the other logits, the logit-scaled confidence of Carlini et al. 2022 (arXiv
    2112.03570) and the margin of KLoM (arXiv 2410.23232).

    Args:
        logits: [n, C] with C >= 2, raw outputs of a model in evaluation mode.
        labels: [n] integers in 0..C-1, the labels that the model was *trained* with (they differ from the
            true ones for label-noise canaries).

    Returns:
        float64 [n], in nats; infinite or NaN only where the logits are.

    Raises:
        AttackError: the shapes do not fit or a label is outside of 0..C-1.
    """
    z = np.array(logits, dtype=np.float64)
    y = np.asarray(labels)
    _check_logits(z, y)
    rows = np.arange(len(y))
    own = z[rows, y]
    z[rows, y] = -np.inf
    largest = z.max(axis=1)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        shift = np.where(np.isfinite(largest), largest, 0.0)
        others = shift + np.log(np.exp(z - shift[:, None]).sum(axis=1))
        result: Floats = own - others
    return result


def _check_logits(z: Floats, y: npt.NDArray[Any]) -> None:
    if z.ndim != 2 or z.shape[1] < 2:
        raise AttackError(f"logits are {list(z.shape)}; phi needs [examples, classes] and at least 2 classes")
    if y.shape != (len(z),) or not np.issubdtype(y.dtype, np.integer):
        raise AttackError(f"labels are {y.dtype} {list(y.shape)}; phi needs {len(z)} integers, one a row")
    if len(y) and not 0 <= y.min() <= y.max() < z.shape[1]:
        raise AttackError(f"labels span {y.min()}..{y.max()}; logits have the classes 0..{z.shape[1] - 1}")


def loss_from_phi(phi: npt.ArrayLike) -> Floats:
    """Return the cross-entropy loss softplus(-phi), in nats, exact also where p_y rounds to 1."""
    with np.errstate(invalid="ignore"):  # a diverged model has no loss
        return np.asarray(np.logaddexp(0.0, -np.asarray(phi, dtype=np.float64)), dtype=np.float64)


def confidence_from_phi(phi: npt.ArrayLike) -> Floats:
    """Return the probability sigmoid(phi) of the label."""
    return np.asarray(np.exp(-loss_from_phi(phi)), dtype=np.float64)


def count_nonfinite(phi: npt.ArrayLike) -> int:
    """Return how many entries are NaN or infinite."""
    return int(np.count_nonzero(~np.isfinite(np.asarray(phi, dtype=np.float64))))


def refuse_nan(name: str, values: Floats, hint: str) -> None:
    """Raise AttackError that names the first row and example [rows, examples] that is NaN, and what to do."""
    bad = np.argwhere(np.isnan(values))
    if len(bad):
        raise AttackError(f"{name} row {bad[0][0]} is NaN at example {bad[0][1]}; {hint}")


def clip_phi(phi: npt.ArrayLike) -> Floats:
    """Return phi as float64 clipped to +-MAX_PHI; NaN, the mark of a diverged model, stays NaN."""
    return np.clip(np.asarray(phi, dtype=np.float64), -MAX_PHI, MAX_PHI)
