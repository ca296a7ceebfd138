"""Colours of the report: one name, one value on light ground, one on dark ground.

Figures are drawn in the light values; the page replaces each by its CSS variable, so that one figure serves
both schemes. The seven method colours keep apart under protanopia, deuteranopia and tritanopia (simulated
after Machado et al. 2009, IEEE TVCG 15(6)); markers differ too, so that no figure depends on colour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A colour of the page: its CSS variable and its values in both schemes, `#rrggbb`."""

    variable: str
    light: str
    dark: str


GROUND = Colour("ground", "#fffff8", "#16171b")
INK = Colour("ink", "#191917", "#eceae2")
MUTED = Colour("muted", "#62625b", "#a5a49c")
RULE = Colour("rule", "#cbcabf", "#45464c")
BAND = Colour("band", "#efeee3", "#26272d")

METHODS = (
    Colour("m0", "#2a40b0", "#3579fe"),
    Colour("m1", "#a40c0f", "#e43e08"),
    Colour("m2", "#2b846f", "#45f4cd"),
    Colour("m3", "#a98f29", "#ebc944"),
    Colour("m4", "#8456e8", "#9a75ad"),
    Colour("m5", "#399bd0", "#02bffb"),
    Colour("m6", "#6e3b62", "#d68ea0"),
)

COLOURS = (GROUND, INK, MUTED, RULE, BAND, *METHODS)


def variables(scheme: str) -> str:
    """Return the CSS declarations of all colours in a scheme, `light` or `dark`."""
    return "".join(f"--{colour.variable}:{getattr(colour, scheme)};" for colour in COLOURS)
