"""Who is in which world: the checks of matrices, masks and pairs of shadows, which name the array, row and example."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools

Array = npt.NDArray[Any]


def check_numbers(name: str, values: npt.ArrayLike) -> Array:
    """Return the array as it is, not copied, of any number type.

    Raises:
        AttackError: it holds anything but real numbers, or its rows are of different lengths.
    """
    array = _array(name, values)
    if array.dtype.kind not in "biuf":
        raise AttackError(f"{name} holds {array.dtype.name}; it holds numbers")
    return array


def check_mask(name: str, values: npt.ArrayLike) -> Bools:
    """Return the mask as bool; the numbers 0 and 1 are read as False and True.

    Raises:
        AttackError: an entry is neither; the first such is named.
    """
    array = check_numbers(name, values)
    if array.dtype.kind != "b":
        bad = np.argwhere((array != 0) & (array != 1))
        if len(bad):
            first = tuple(bad[0])
            raise AttackError(f"{name} is {array[first]:g}{_place(first)}; a mask holds True and False, or 1 and 0")
    return array.astype(np.bool_, copy=False)


def check_cluster(values: npt.ArrayLike) -> Array:
    """Return the clusters as an array of numbers or strings.

    Raises:
        AttackError: they are anything else, or one of them is NaN.
    """
    ids = _array("cluster", values)
    if ids.dtype.kind not in "biufSU":
        raise AttackError(f"cluster holds {ids.dtype.name}; it holds numbers or strings")
    if ids.dtype.kind == "f" and np.isnan(ids).any():
        raise AttackError(f"cluster is NaN{_place(tuple(np.argwhere(np.isnan(ids))[0]))}; every row is in one cluster")
    return ids


def refuse_overlap(u: Bools, o: Bools) -> None:
    """Raise AttackError that names the first cell that is in both worlds [N, E]."""
    # row by row: the matrix of both would be a third of the size of float32 scores
    both = [row for row, (in_u, in_o) in enumerate(zip(u, o, strict=True)) if (in_u & in_o).any()]
    if both:
        example = int(np.argmax(u[both[0]] & o[both[0]]))
        cells = sum(int(np.count_nonzero(u[row] & o[row])) for row in both)
        raise AttackError(
            f"U and O overlap{_place((both[0], example))}: {cells} cells are in both worlds; "
            "a release unlearned an example or never saw it"
        )


def check_pairs(shadow_numbers: npt.ArrayLike, inside: npt.ArrayLike) -> int:
    """Return the number of whole pairs, in each of which every example is in exactly one training set.

    Shadows 2k and 2k + 1 are a pair with complementary training sets. It follows that every example is in
    exactly half of the shadows of the whole pairs; the leave-pair-out fit of `ulira` is unbiased for that
    design only. A shadow without its partner is not judged.

    Args:
        shadow_numbers: [N] integers >= 0, in any order.
        inside: [N, E] True where the shadow was trained on the example.

    Raises:
        AttackError: the shapes do not fit, a shadow stands twice, or a pair is not complementary: the pair
            and the first example are named.
    """
    numbers, members = check_numbers("shadow_numbers", shadow_numbers), check_mask("inside", inside)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or (numbers < 0).any():
        raise AttackError(f"shadow_numbers is {numbers.dtype.name} {list(numbers.shape)}; it is [N] integers >= 0")
    if members.ndim != 2 or len(members) != len(numbers):
        raise AttackError(f"inside is {list(members.shape)}; it is [N, E], and N = {len(numbers)} shadows have numbers")
    rows: dict[int, int] = {}
    for row, number in enumerate(numbers.tolist()):
        if number in rows:
            raise AttackError(f"shadow {number} stands in rows {rows[number]} and {row}; it has one row")
        rows[number] = row
    whole = sorted(number for number in rows if number % 2 == 0 and number + 1 in rows)
    for first in whole:
        _refuse_uncomplementary(first, members[rows[first]], members[rows[first + 1]])
    return len(whole)


def _refuse_uncomplementary(first: int, one: Bools, other: Bools) -> None:
    alike = one == other
    if alike.any():
        example = int(np.argmax(alike))
        where = "both" if one[example] else "neither"
        raise AttackError(
            f"pair {first // 2} (shadows {first} and {first + 1}): example {example} is in {where} of them; "
            "in a complementary pair each example is in exactly one"
        )


def _array(name: str, values: npt.ArrayLike) -> Array:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise AttackError(f"{name} is not an array: {error}") from error


def _place(index: tuple[int, ...]) -> str:
    return f" in row {index[0]}" + (f", example {index[1]}" if len(index) > 1 else "") if index else ""
