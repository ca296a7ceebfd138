"""Images are counted as they are drawn, part by part, and counting changes nothing that is drawn."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.check import problem as tiny
from harness.engine.data import PartSamples
from harness.engine.seeding import generator
from harness.engine.tally import Tally

FORGET, RETAIN = torch.arange(0, 7), torch.arange(7, 29)


def samples(counts: Counter[str] | None, part: str, index: torch.Tensor, draws: torch.Generator) -> PartSamples:
    return PartSamples(tiny.data(), index, draws, tally=None if counts is None else Tally((part,), counts))


def lent(counts: Counter[str] | None) -> tuple[PartSamples, PartSamples]:
    draws = generator("tally", 0)
    return samples(counts, "retain", RETAIN, draws), samples(counts, "forget", FORGET, draws)


@given(st.integers(1, 30), st.integers(0, 40), st.booleans(), st.permutations(range(29)), st.integers(0, 29))
def test_what_is_counted_is_what_the_batches_held_and_they_hold_the_same_uncounted(
    size: int, batches: int, shuffle: bool, order: list[int], taken: int
) -> None:
    counts: Counter[str] = Counter()
    drawn = []
    for own in (counts, None):
        retain, forget = lent(own)
        chosen = torch.tensor(order[:taken], dtype=torch.int64)
        given_out = []
        for part in (retain, forget, retain.join(forget), forget.join(retain).take(chosen), retain.join(retain)):
            given_out += [part.index[batch.positions] for batch in islice(part.batches(size, shuffle=shuffle), batches)]
        drawn.append(torch.cat(given_out) if given_out else torch.empty(0))
    assert torch.equal(*drawn)
    assert counts["forget"] == int((drawn[0] < 7).sum())
    assert counts["retain"] == int((drawn[0] >= 7).sum())
    assert set(counts) <= {"retain", "forget"}
