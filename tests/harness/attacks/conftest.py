"""Toy farms: complementary pairs of shadows, as the real farm draws them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

Draw = Callable[[np.random.Generator, int, int], tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]]


@pytest.fixture(scope="session")
def pairs() -> Draw:
    """A function (rng, N, E) -> (U [N, E], cluster [N]): fair coins, row 2k+1 the complement of row 2k."""

    def draw(
        rng: np.random.Generator, shadows: int, examples: int
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        heads = rng.random((shadows // 2, examples)) < 0.5
        members = np.empty((shadows, examples), dtype=np.bool_)
        members[0::2], members[1::2] = heads, ~heads
        return members, np.arange(shadows) // 2

    return draw
