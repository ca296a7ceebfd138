"""What does not fit is refused in one line that names the array, and the row and example where there is one."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.attacks.design import check_pairs
from harness.attacks.errors import AttackError
from harness.attacks.evaluate import audit, evaluate
from harness.attacks.joint import ulira_joint
from harness.attacks.ulira import check_worlds, ulira

SHADOWS, EXAMPLES = 8, 5


def sound() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    heads = rng.random((SHADOWS // 2, EXAMPLES)) < 0.5
    u = np.stack((heads, ~heads), axis=1).reshape(SHADOWS, EXAMPLES)
    phi = rng.normal(size=(SHADOWS, EXAMPLES))
    return {"phi": phi, "U": u, "O": ~u, "cluster": np.arange(SHADOWS) // 2}


def changed(name: str, value: Any) -> dict[str, Any]:
    return sound() | {name: value}


def with_cell(name: str, index: Any, value: Any, dtype: Any = None) -> dict[str, Any]:
    array = np.array(sound()[name], dtype=dtype)
    array[index] = value
    return changed(name, array)


def overlapping() -> dict[str, Any]:
    arrays = sound()
    for name in ("U", "O"):
        arrays[name][3, 2] = arrays[name][6, 4] = True
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (overlapping(), r"U and O overlap in row 3, example 2: 2 cells are in both worlds"),
        (with_cell("U", (4, 1), 2, int), r"U is 2 in row 4, example 1; a mask holds True and False, or 1 and 0"),
        (with_cell("O", (7, 0), np.nan, float), r"O is nan in row 7, example 0"),
        (changed("U", np.full((SHADOWS, EXAMPLES), "yes")), r"U holds str\d*; it holds numbers"),
        (changed("O", [[True], [True, False]]), r"O is not an array"),
        (changed("U", np.ones((SHADOWS - 1, EXAMPLES), dtype=bool)), r"U is \[7, 5\] where phi is \[8, 5\]"),
        (changed("O", np.ones(SHADOWS, dtype=bool)), r"O is \[8\] where phi is \[8, 5\]"),
        (changed("phi", np.zeros(SHADOWS)), r"phi is \[8\]; .* they are \[N, E\]"),
        (changed("phi", np.zeros((SHADOWS, EXAMPLES, 2))), r"phi is \[8, 5, 2\]"),
        (changed("phi", np.zeros((SHADOWS, EXAMPLES), dtype=complex)), r"phi holds complex128; it holds numbers"),
        (changed("cluster", np.arange(3)), r"cluster is \[3\] where phi is \[8, 5\]"),
        (with_cell("cluster", 5, np.nan, float), r"cluster is NaN in row 5; every row is in one cluster"),
        (changed("cluster", [None] * SHADOWS), r"cluster holds object"),
    ],
)
def test_the_array_and_the_place_are_named(arrays: dict[str, Any], message: str) -> None:
    for attack in (ulira, audit):
        with pytest.raises(AttackError, match=message):
            attack(**arrays)
    if arrays["phi"] is not None and np.shape(arrays["phi"]) == (SHADOWS, EXAMPLES):
        scores = arrays.pop("phi")
        with pytest.raises(AttackError, match=message.replace("phi holds", "llr holds")):
            evaluate(scores, **arrays)


@given(
    st.sampled_from(["phi", "U", "O", "cluster"]),
    st.sampled_from([(), (0,), (8,), (5,), (8, 4), (7, 5), (8, 5), (8, 5, 1), (0, 0)]),
    st.sampled_from([bool, int, float, complex, object, "U1", "datetime64[s]"]),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=80)
def test_any_array_is_attacked_or_refused_and_nothing_else(name: str, shape: Any, dtype: Any, value: int) -> None:
    arrays = changed(name, np.full(shape, value).astype(dtype))
    for attack in (ulira, lambda phi, **worlds: ulira_joint([phi], **worlds), audit):
        with contextlib.suppress(AttackError):
            attack(**arrays)


def test_masks_of_numbers_are_masks() -> None:
    arrays = sound()
    as_numbers = arrays | {"U": arrays["U"].astype(np.float32), "O": arrays["O"].astype(int).tolist()}
    np.testing.assert_array_equal(ulira(**as_numbers), ulira(**arrays))
    u, o, code = check_worlds((2, 1), [[1], [0]], [[0], [1]], ["b", "a"])
    assert (u.dtype, o.dtype, code.tolist()) == (np.bool_, np.bool_, [1, 0])


def test_pairs_are_complementary_and_every_example_is_in_half_of_them() -> None:
    inside = sound()["U"]
    numbers = np.array([6, 7, 2, 3, 4, 5, 12, 13])
    order = np.random.default_rng(1).permutation(SHADOWS)
    assert check_pairs(numbers[order], inside[order]) == 4
    assert check_pairs(numbers[1:], inside[1:]) == 3  # shadow 7 has no partner, and is not judged
    broken = inside.copy()
    broken[5, 3] = broken[4, 3] = True
    with pytest.raises(AttackError, match=r"pair 2 \(shadows 4 and 5\): example 3 is in both of them"):
        check_pairs(numbers[order], broken[order])
    broken[4:6, 1] = False
    with pytest.raises(AttackError, match="example 1 is in neither of them"):
        check_pairs(numbers, broken)
    with pytest.raises(AttackError, match="shadow 6 stands in rows 0 and 1"):
        check_pairs([6, 6], inside[:2])
    with pytest.raises(AttackError, match=r"inside is \[8, 5\]; .* N = 2"):
        check_pairs([6, 7], inside)
    for numbers_that_are_none in ([0.5, 1.5], [-1, 0], [[0, 1]]):
        with pytest.raises(AttackError, match="shadow_numbers is"):
            check_pairs(numbers_that_are_none, inside[:2])
