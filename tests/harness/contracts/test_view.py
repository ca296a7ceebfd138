"""A method sees what it declared, and nothing else."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, TEST, VAL, Part, UndeclaredRead, View
from harness.engine.data import PartSamples
from harness.errors import HarnessError

READABLE = (RETAIN, FORGET, VAL)
SETS = [frozenset(s) for s in chain.from_iterable(combinations(READABLE, n) for n in range(4))]


def view(reads: frozenset[Part]) -> View:
    run = tiny.new_run()
    index = tiny.parts("random:0.1")
    parts = {part: PartSamples(tiny.data(), index[part], run.generator) for part in Part}
    return View("curious", reads, parts, tiny.CLASSES, tiny.SPEC.format)


@pytest.mark.parametrize("reads", SETS, ids=lambda reads: "+".join(sorted(reads)) or "nothing")
def test_hands_out_the_declared_parts_alone(reads: frozenset[Part]) -> None:
    seen = view(reads)
    for part in READABLE:
        if part in reads:
            assert getattr(seen, part.value).index is tiny.parts("random:0.1")[part]
        else:
            with pytest.raises(UndeclaredRead, match=rf"'curious' read the {part.value} part"):
                getattr(seen, part.value)
    assert set(seen.parts) == reads


def test_test_is_out_of_reach() -> None:
    seen = view(frozenset(READABLE))
    assert not hasattr(seen, "test")
    assert TEST not in seen.parts


def test_all_training_images_need_both_declarations() -> None:
    both = view(frozenset({RETAIN, FORGET})).retain_and_forget
    index = tiny.parts("random:0.1")
    assert len(both) == len(index[RETAIN]) + len(index[FORGET])
    assert both.index[: len(index[RETAIN])].tolist() == index[RETAIN].tolist()  # type: ignore[attr-defined]
    for part in (RETAIN, FORGET):
        with pytest.raises(UndeclaredRead):
            _ = view(frozenset({part})).retain_and_forget


def test_reading_what_was_not_declared_is_an_error_of_the_user_who_wrote_the_method() -> None:
    assert issubclass(UndeclaredRead, HarnessError)
