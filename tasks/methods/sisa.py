"""SISA: shards and slices trained apart, so that forgetting redoes only what the forgotten images were in."""

from __future__ import annotations

import torch
from torch import nn

from harness.contracts import RETAIN, Build, Run, View, fixed, method
from tasks.methods._shards import Checkpoints, Ensemble, SisaTraining, learn_slice


@method(
    reads={RETAIN}, source="Bourtoule et al. 2021, IEEE S&P, arXiv 1912.03817; what it leaves open is this harness's"
)
class Sisa:
    """Exact unlearning: a shard restarts before the first slice that lost an image, the others stay as they are.

    The model is an ensemble of one model for each shard: what there is to lose against one model is in its accuracy,
    not in what it remembers. Its own reference is SISA trained without the forgotten images, which it equals bit for
    bit. `answer` mean (of the softmax) or vote; see `Ensemble`. The paper votes; the mean is this harness's default,
    since votes alone have no loss to attack, and so is the rule for ties. The steps are those of the slices redone:
    where every shard loses an image of its first slice, as with most requests for 10 % or a class, that is all of the
    training.
    """

    shards: int = fixed(5, least=1)
    slices: int = fixed(5, least=1)
    answer: str = fixed("mean", options=("mean", "vote"))

    def artifacts(self) -> tuple[SisaTraining, ...]:
        """Return the training: a checkpoint after each slice of each shard."""
        return (SisaTraining(shards=self.shards, slices=self.slices),)

    def network(self, build: Build) -> nn.Module:
        """Return the ensemble that it returns, untrained."""
        return Ensemble([build("") for _ in range(self.shards)], self.answer)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the ensemble without what is not in retain; the given model is not used."""
        (training,) = self.artifacts()
        kept = run.artifact(training)
        assert isinstance(kept, Checkpoints)
        first = first_redone(kept, data.retain.ids)
        run.record("shards_redone", torch.tensor(len(first)))
        run.record("slices_redone", torch.tensor(sum(self.slices - number for number in first.values())))
        before = [first.get(shard, self.slices) - 1 for shard in range(self.shards)]
        starts = [
            kept.after(shard, one) if one >= 0 else run.untrained_model(f"shard {shard}")
            for shard, one in enumerate(before)
        ]
        ensemble = Ensemble(starts, self.answer)
        for shard, number in first.items():
            for redone in range(number, self.slices):
                learn_slice(kept, ensemble.members[shard], shard, redone, data.retain, run, ensemble)
        return ensemble


def first_redone(kept: Checkpoints, retained: torch.Tensor) -> dict[int, int]:
    """Return the first slice of each shard that has an image which is not among the retained ids [n]."""
    gone = ~torch.isin(kept.images["ids"], retained)
    shards, slices = kept.images["shards"][gone].tolist(), kept.images["slices"][gone].tolist()
    first: dict[int, int] = {}
    for shard, number in sorted(zip(shards, slices, strict=True), reverse=True):
        first[shard] = number
    return dict(sorted(first.items()))
