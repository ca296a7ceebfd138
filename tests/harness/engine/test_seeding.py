"""Seeds from names, and global generators that are left as they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.seeding import derive, generator, seeded

keys = st.lists(st.one_of(st.text("abc1", max_size=3), st.integers(0, 20)), min_size=1, max_size=3).map(tuple)


@given(keys, keys)
def test_equal_keys_and_only_they_give_equal_seeds(one: tuple[str | int, ...], two: tuple[str | int, ...]) -> None:
    assert 0 <= derive(*one) < 2**63
    assert (derive(*one) == derive(*two)) == (one == two)


def test_seeds_are_the_same_everywhere_and_for_ever() -> None:
    assert derive("order", "msg", 3) == 8907592918457205255
    assert torch.randint(1000, (3,), generator=generator("order", 0)).tolist() == [770, 692, 310]


def global_draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_draws_inside_are_those_of_the_seed() -> None:
    draws = []
    for _ in range(2):
        with seeded("a", 1):
            draws.append(global_draws())
    with seeded("a", 2):
        other = global_draws()
    assert draws[0] == draws[1]
    assert all(one != two for one, two in zip(draws[0], other, strict=True))


@pytest.mark.parametrize("fails", [False, True])
def test_global_generators_go_on_as_if_nothing_had_happened(fails: bool) -> None:
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = [global_draws() for _ in range(2)]
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    found = [global_draws()]
    try:
        with seeded("a", 1):
            global_draws()
            if fails:
                raise ArithmeticError
    except ArithmeticError:
        pass
    assert [*found, global_draws()] == expected
