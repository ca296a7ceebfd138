"""Colours can be read and told apart, by everybody and in both schemes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from harness.report.palette import BAND, COLOURS, GROUND, INK, METHODS, MUTED, Colour, variables
from harness.report.roster import MARKERS, make_roster

SCHEMES = ("light", "dark")

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
# Ottosson 2020: from linear RGB to the cone responses of Oklab, and on to Oklab.
TO_CONES = [[0.41222, 0.53633, 0.05145], [0.2119, 0.6807, 0.1074], [0.0883, 0.28172, 0.62998]]
TO_OKLAB = [[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]]


def linear(colour: Colour, scheme: str) -> np.ndarray:
    text = getattr(colour, scheme)
    encoded = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def contrast(one: Colour, other: Colour, scheme: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    dark, bright = sorted(float(linear(colour, scheme) @ weights) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


def seen(colour: Colour, scheme: str, vision: str) -> np.ndarray:
    stimulus = np.clip(np.array(VISION[vision]) @ linear(colour, scheme), 0, 1)
    return np.array(TO_OKLAB) @ np.cbrt(np.array(TO_CONES) @ stimulus)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_has_the_contrast_of_wcag_aa_and_marks_that_of_graphics(scheme: str) -> None:
    for text in (INK, MUTED):
        assert contrast(text, GROUND, scheme) >= 4.5
        assert contrast(text, BAND, scheme) >= 4.5
    for mark in METHODS:
        assert contrast(mark, GROUND, scheme) >= 3


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_method_colours_keep_apart_for_every_vision(scheme: str, vision: str) -> None:
    """The palette of Okabe and Ito, which is much used, has 0.076 here for deuteranopia."""
    nearest = min(
        np.linalg.norm(seen(one, scheme, vision) - seen(other, scheme, vision))
        for one, other in combinations(METHODS, 2)
    )
    assert nearest > 0.076


def test_no_two_of_49_methods_look_alike() -> None:
    import polars as pl

    names = [f"method_{place:02d}" for place in range(len(METHODS) * len(MARKERS))]
    roster = make_roster(pl.DataFrame({"method": names, "config": ["default"] * len(names)}))
    assert len({(entry.colour, entry.marker) for entry in roster}) == len(names)


def test_every_colour_has_its_variable_in_both_schemes() -> None:
    for scheme in SCHEMES:
        for colour in COLOURS:
            assert f"--{colour.variable}:{getattr(colour, scheme)};" in variables(scheme)
