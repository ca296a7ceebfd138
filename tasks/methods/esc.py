"""Erasing space concept: cut the directions that forget images share out of the features that the head sees.

Both methods edit the head alone: all features before it stay as they were, and so do its bias and all statistics.
"""

from __future__ import annotations

import warnings
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, Diverged, Run, Samples, View, fixed, log_uniform, method, ranges
from harness.engine.evaluate import BATCH
from harness.engine.features import penultimate
from tasks.methods._batches import nothing_to_forget

PAPER = "Lee et al. 2025, CVPR, arXiv 2504.02199"


@method(reads={FORGET}, name="esc", source=PAPER)
class ESC:
    """Project the penultimate features off the `p` % principal directions of those of forget: no step, no label.

    The directions are the first k = max(1, int(d x p / 100)) left singular vectors U of the features [d, n], which are
    those of the model in eval mode and not centred; k is 0 for a `p` of 0, and at most the rank of the features. The
    head gets W (I - U U^T); what goes of the squared features of forget is recorded as `erased`, a share. The released
    code keeps the other vectors of a thin SVD instead, and so erases all that forget does not span where it has fewer
    images than features; its extractor is in train mode.
    """

    p: float = log_uniform(0.2, 5.0, default=1.5)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with another head; the original where there is nothing to forget or `p` is 0."""
        if not len(data.forget) or not self.p:
            return model
        features = features_of(model, data.forget, run)
        basis = directions(features)
        lost = basis[:, : max(1, int(len(basis) * self.p / 100))]
        erased = (features @ lost).square().sum() / features.square().sum()
        return _folded(model, torch.eye(len(basis)).to(basis) - lost @ lost.T, erased, run)


@method(reads={FORGET}, name="esc_t", version=2, source=f"{PAPER}, ESC-T")
class ESCT:
    """Erase single entries of the principal directions of forget: those that its still correct answers need.

    Features become (I - U U^T + V V^T) times themselves, V = U x M: U [d, r] are the left singular vectors of the
    features of forget, model in eval mode, and M in [0, 1] starts at 1 and ascends, by plain gradient steps, on the
    cross-entropy of the images that are still right, until none is or for `epochs`. At the end entries of M up to
    `threshold` become 0 (their share is recorded as `erased`) and the others 1; warns where there are none. The share
    of images that are `still_right` is recorded. What forget does not span stays, unlike in
    the released code. The published `lr` of 1e-3 is for 5000 images in batches of 64, whose 4000 steps a smaller
    forget set does not have: the default is this harness's.
    """

    lr: float = log_uniform(1e-3, 10.0, default=1.0)
    batch_size: int = ranges.batch_size(64)
    epochs: int = fixed(50, least=1)
    threshold: float = fixed(0.7, most=1)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with another head; the original where there is nothing to forget."""
        if nothing_to_forget(data):
            return model
        features = features_of(model, data.forget, run)
        basis = directions(features)
        mask = self._learned(model, data.forget, features, basis, run).gt(self.threshold)
        if mask.all():
            why = f"no forget image was right, or no entry of the mask fell to the threshold of {self.threshold:g}"
            warnings.warn(
                f"{data.method}: the model is the original, nothing was erased: {why}; raise lr", stacklevel=2
            )
            return model
        return _folded(model, masked(basis, mask.to(basis)), 1 - mask.double().mean(), run)

    def _learned(self, model: nn.Module, forget: Samples, features: Tensor, basis: Tensor, run: Run) -> Tensor:
        """Return the mask [d, r] with which no forget image is right, or that of the last epoch."""
        answer = _answers(model, run)
        mask = torch.ones_like(basis, requires_grad=True)
        optimizer = SGD([mask], self.lr)
        for _ in run.epochs(self.epochs, model, optimizer):
            for _, labels, positions in forget.batches(self.batch_size):
                logits = answer(features[positions] @ masked(basis, mask))
                right = logits.argmax(1) == labels
                run.check()
                if right.any():
                    run.step(optimizer, -cross_entropy(logits[right], labels[right]), aside="mask")
                    mask.data.clamp_(0, 1)
            with torch.no_grad():
                right = answer(features @ masked(basis, mask)).argmax(1) == forget.labels
            run.record("still_right", right.double().mean())
            if not right.any():
                break
        return mask.detach()


def features_of(model: nn.Module, samples: Samples, run: Run) -> Tensor:
    """Return the penultimate features [n, d] of images as they are and in their own order, in float64.

    Raises `Diverged` where one is not finite: such features have no directions.
    """
    found = []
    for images, _, _ in samples.batches(BATCH, shuffle=False):
        run.check()
        found.append(penultimate(model, run.architecture.head, images).double())
    features = torch.cat(found)
    if not bool(features.isfinite().all()):
        raise Diverged("the features of the model that it starts from are not finite")
    return features


def directions(features: Tensor) -> Tensor:
    """Return the left singular vectors [d, r] of features [n, d]^T, largest first; r is their numerical rank."""
    vectors: Tensor
    vectors, sizes, _ = torch.linalg.svd(features.T, full_matrices=False)
    smallest = sizes[0] * max(features.shape) * torch.finfo(torch.float32).eps  # they were computed in float32
    return vectors[:, sizes > smallest]


def _answers(model: nn.Module, run: Run) -> nn.Module:
    """Return a frozen copy of the head, in float64."""
    return deepcopy(model.get_submodule(run.architecture.head)).double().requires_grad_(False)


def masked(basis: Tensor, mask: Tensor) -> Tensor:
    """Return I - U U^T + V V^T [d, d], V = U x M, for orthonormal U [d, r] and M [d, r]; symmetric, I where M is 1."""
    kept = basis * mask
    return torch.eye(len(basis)).to(basis) - basis @ basis.T + kept @ kept.T


def _folded(model: nn.Module, projection: Tensor, erased: Tensor, run: Run) -> nn.Module:
    """Return the model whose head sees features through a symmetric [d, d] matrix; its weights are changed in place."""
    weight = model.get_submodule(run.architecture.head).get_parameter("weight")
    for _ in run.epochs(1, model, SGD([weight], lr=0.0)):  # no step: the curves show the model before and after
        with torch.no_grad():
            weight.copy_(weight.double() @ projection)
        run.record("erased", erased)
    return model
