"""Requests one after the other: disjoint slices of one permutation, whatever their number."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness import registry
from harness.contracts.scenario import Facts, InvalidScenario, Training
from harness.engine.split import split
from tasks.scenarios.random import Random
from tasks.scenarios.sequence import Sequence


def training(count: int) -> Training:
    return Training(np.zeros(count, dtype=np.int64))


@given(st.integers(1, 8), st.floats(0.01, 0.5), st.integers(2, 400))
def test_requests_are_disjoint_and_what_is_left_shrinks_by_each(number: int, fraction: float, count: int) -> None:
    whole = training(count)
    last = Sequence(number, fraction)
    try:
        last.check(Facts(10, count))
    except InvalidScenario:
        assume(False)
    requests = [registry.parse_scenario(text) for text in registry.expand_scenario(str(last), 10)]
    assert requests == [Sequence(one + 1, fraction) for one in range(number)]
    before, left = set[int](), set(range(count))
    for request in requests:
        retain, forget = map(set, (part.tolist() for part in request.divide(whole)))
        assert isinstance(request, Sequence)
        assert set(request.earlier(whole).tolist()) == before
        assert len(forget) == len(request.divide(whole)[1]) == len(requests[0].divide(whole)[1])
        assert left - retain == forget, "each request takes its own images, and those alone, from what was left"
        assert not forget & before
        assert len(retain) == len(request.divide(whole)[0]) > 0
        before, left = before | forget, retain
    for one, other in zip(requests[0].divide(whole), Random(fraction).divide(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_request_follows_the_one_before() -> None:
    texts = registry.expand_scenario("sequence:3:0.1", 10)
    assert texts == ["sequence:1:0.1", "sequence:2:0.1", "sequence:3:0.1"]
    assert [registry.follows(text) for text in texts] == ["", *texts[:-1]]
    assert registry.follows("random:0.1") == ""


def test_what_was_forgotten_before_is_training_data_in_neither_part() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 300)
    found = split(Training(labels), 240, Sequence(3, 0.1))
    both = np.concatenate([found.retain, found.forget])
    assert sorted([*both, *found.earlier]) == sorted(found.train)
    np.testing.assert_array_equal(found.left, [one for one in found.train if one in set(both.tolist())])
    plain = split(Training(labels), 240, Random(0.1))
    assert len(plain.earlier) == 0
    np.testing.assert_array_equal(plain.left, plain.train)


def test_a_sequence_that_leaves_nothing_is_refused() -> None:
    Sequence(4, 0.2).check(Facts(10, 100))
    with pytest.raises(InvalidScenario, match=r"^'sequence:5:0.2': nothing of 100 training images is left to retain$"):
        Sequence(5, 0.2).check(Facts(10, 100))


@pytest.mark.parametrize("argument", ["", "5", "0:0.1", "-1:0.1", "x:0.1", "5:", "5:0", "5:1", "5:nan", "*", "5:0.1:2"])
def test_what_cannot_be_read_is_refused_with_an_example(argument: str) -> None:
    with pytest.raises(InvalidScenario, match=f"{re.escape(argument)}'.*such as sequence:5:0.02$"):
        registry.parse_scenario(f"sequence:{argument}")
