"""How many images of each part a run draws: a cost that depends on no machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

Note = Callable[[int, int], None]
"""Told of each batch of a pass, from where in the pass to where it goes."""


@dataclass(frozen=True)
class Tally:
    """Adds the images of samples to `counts` as they are drawn, under the name of their part.

    Samples are of the part `names[0]` alone, or of several: then `which` [n] is each one's place in `names`, on the
    CPU, so that counting waits for no device.
    """

    names: tuple[str, ...]
    counts: Counter[str] = field(default_factory=Counter)
    which: Tensor | None = None

    def take(self, index: Tensor) -> Self:
        """Return what counts the samples at the given positions."""
        return self if self.which is None else type(self)(self.names, self.counts, self.which[index.cpu()])

    def join(self, other: Self, lengths: tuple[int, int]) -> Self:
        """Return what counts these samples followed by the others; `lengths` are how many each are."""
        names = tuple(dict.fromkeys((*self.names, *other.names)))
        if len(names) == 1:
            return self
        pairs = zip((self, other), lengths, strict=True)
        return type(self)(names, self.counts, torch.cat([one._places(names, count) for one, count in pairs]))

    def of_pass(self, order: Tensor) -> Note:
        """Return what is to be told of each batch of a pass over the samples in an order [n], on the CPU."""
        if self.which is None:
            return lambda start, stop: self._add([stop - start], self.names)
        one_of = torch.nn.functional.one_hot(self.which[order], len(self.names)).cumsum(0)
        until = torch.cat([torch.zeros(1, len(self.names), dtype=torch.int64), one_of])
        return lambda start, stop: self._add((until[stop] - until[start]).tolist(), self.names)

    def _add(self, counts: Sequence[int], names: Sequence[str]) -> None:
        for name, count in zip(names, counts, strict=True):
            self.counts[name] += count

    def _places(self, names: tuple[str, ...], count: int) -> Tensor:
        own = torch.tensor([names.index(name) for name in self.names])
        return own[torch.zeros(count, dtype=torch.int64) if self.which is None else self.which]
