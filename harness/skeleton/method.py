"""MyMethod: what it is, and where it comes from."""

from __future__ import annotations

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Run, View, method, ranges, uniform


# reads: the parts that it may see, of RETAIN, FORGET and VAL; whatever else it asks for raises.
# scenarios: those that it supports, such as {"class", "classes"}; leave the word away if any forget set will do.
# version: raise it when its results change: all that it ever computed is then computed again.
@method(reads={RETAIN, FORGET}, version=1, source="the paper that says how")
class MyMethod:
    """Ascend a little on forget, then descend on retain."""

    # A default, and the range that a search draws from. Those in `ranges` are the benchmark's own.
    lr: float = ranges.learning_rate(0.01)
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(3)
    weight: float = uniform(0.0, 0.5, default=0.1)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the unlearned model; `model` is a copy of the original, to be changed as you like.

        The clock runs: no evaluation, no checkpoint, no logging is needed here.
        """
        optimizer = SGD(model.parameters(), self.lr)
        for _ in run.epochs(self.epochs, model, optimizer):  # curves are drawn between epochs, off the clock
            model.train()
            for images, labels, _ in data.forget.batches(self.batch_size):
                run.step(optimizer, -self.weight * cross_entropy(model(images), labels))
            for images, labels, _ in data.retain.batches(self.batch_size, augment=True):
                run.step(optimizer, cross_entropy(model(images), labels))
        return model
