"""How alike two models are: divergences of their answers, agreement, distances of weights, CKA of features.

Probabilities are [n, C], float64 from float32 logits, a row an image; labels are integers [n]; features are [n, d].
Every number is a mean over all images, never a mean over batches. Where there is nothing to compute from (no image, a
number that is not finite), the value is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Divergence = Callable[[Floats, Floats], float]

UNDEFINED = float("nan")


class UnlikeArrays(HarnessError):
    """Two arrays that should speak of the same images and classes, and do not."""


def js_divergence(one: Floats, other: Floats) -> float:
    """Return the mean Jensen-Shannon divergence in nats: .5 KL(p to m) + .5 KL(q to m), m midway; at most ln 2.

    Lin 1991, IEEE Trans. Inf. Theory 37(1).
    """
    _check(one, other)
    middle = (one + other) / 2
    return _mean((_terms(one, middle) + _terms(other, middle)).sum(axis=1) / 2)


def js_divergence_published(one: Floats, other: Floats) -> float:
    """Return the number that released code gives: both KL the other way round, mean over images and classes.

    As in the code of bad teaching and of SUPREME (arXiv 2606.00380); infinite where a probability is 0.
    """
    _check(one, other)
    middle = (one + other) / 2
    return _mean((_terms(middle, one) + _terms(middle, other)) / 2)


def zrf(own: Floats, untrained: Sequence[Floats], divergence: Divergence = js_divergence) -> float:
    """Return the zero-retrain-forgetting score: 1 - divergence from untrained networks, mean over these.

    Chundawat et al. 2023, arXiv 2205.08096.
    """
    return 1 - _mean(np.array([divergence(own, one) for one in untrained]))


def rf_divergence(own: Floats, labels: Labels, unseen: Floats, unseen_labels: Labels) -> float:
    """Return the retrain-free divergence: per class, JS between the mean answer to forgotten and to unseen images.

    `own` are answers of the model to the forget set, `unseen` those of the original to images never trained on; the
    mean is over the classes that both have. Spartalis et al. 2025 (LoTUS), CVPR, not normalised.
    """
    classes = np.intersect1d(labels, unseen_labels)
    pairs = [(own[labels == c].mean(axis=0), unseen[unseen_labels == c].mean(axis=0)) for c in classes]
    return _mean(np.array([js_divergence(one[None], other[None]) for one, other in pairs]))


def activation_distance(one: Floats, other: Floats) -> float:
    """Return the mean L2 distance of the probability vectors; at most the root of 2."""
    _check(one, other)
    return _mean(np.linalg.norm(one - other, axis=1))


def agreement(one: Floats, other: Floats) -> float:
    """Return the share of images to which both give the same answer."""
    _check(one, other)
    if not (one.size and np.isfinite(one).all() and np.isfinite(other).all()):
        return UNDEFINED
    return _mean((one.argmax(axis=1) == other.argmax(axis=1)).astype(np.float64))


def layer_distances(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> tuple[float, float]:
    """Return |u - r| / |r| over all parameters as one vector, and its mean over the tensors taken one by one.

    Tensors that are all 0 in `other` are left out of the mean. NaN where names or shapes differ: those are two
    networks, and not two states of one.
    """
    shapes = [{name: np.shape(tensor) for name, tensor in state.items()} for state in (one, other)]
    if not other or shapes[0] != shapes[1]:
        return UNDEFINED, UNDEFINED
    apart, sizes = (
        np.array([np.linalg.norm(np.asarray(tensor, dtype=np.float64)) for tensor in tensors])
        for tensors in ([np.asarray(one[name], np.float64) - other[name] for name in other], list(other.values()))
    )
    known = sizes != 0
    if not known.any():
        return UNDEFINED, UNDEFINED
    return float(np.linalg.norm(apart) / np.linalg.norm(sizes)), float((apart[known] / sizes[known]).mean())


def linear_cka(one: Floats, other: Floats) -> float:
    """Return linear centred kernel alignment of features [n, d] and [n, e] of the same n images; 1 is alike.

    Kornblith et al. 2019, arXiv 1905.00414. Of unrelated features it is about d / n: read it at n >= 10 d, or beside
    a floor of the same n. NaN where a side is constant.
    """
    if len(one) != len(other):
        raise UnlikeArrays(f"features of {len(one)} and of {len(other)} images; both need the same images")
    if len(one) < 2:
        return UNDEFINED
    x, y = one - one.mean(axis=0), other - other.mean(axis=0)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / own) if own else UNDEFINED


def _check(one: Floats, other: Floats) -> None:
    if one.shape != other.shape:
        raise UnlikeArrays(f"probabilities {list(one.shape)} and {list(other.shape)}; both need the same [n, C]")


def _terms(one: Floats, other: Floats) -> Floats:
    """Return p log(p / q), 0 where p is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a ratio may be beyond every number
        return np.where(one == 0, 0.0, one * np.log(one / other))


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else UNDEFINED
