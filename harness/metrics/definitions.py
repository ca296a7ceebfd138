"""What every number means: its direction, unit, reference and source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import polars as pl

from harness.errors import HarnessError, did_you_mean

Direction = Literal["lower", "higher", "closest"]

DEEP_UNLEARN = "Cadet et al. 2024, arXiv 2410.01276"
RETRAIN_OF_SEED = "retrain of the same cell and seed"


class UnknownMetric(HarnessError):
    """A metric that nobody defined."""


class InvalidDefinition(HarnessError):
    """A definition that contradicts itself or an earlier one."""


@dataclass(frozen=True)
class Definition:
    """One number that the harness shows.

    `direction` says which values are better: `lower`, `higher`, or `closest` to the reference. `reference`
    says in words what a value is read against; `reference_value` is that number where it is fixed. A
    `closest` metric without a `reference_value` is read against the retrain of the same cell and seed.
    """

    metric: str
    label: str
    what: str
    direction: Direction
    reference: str
    unit: str
    source: str
    reference_value: float | None = None


DEFINITIONS: dict[str, Definition] = {}


def define(
    metric: str,
    *,
    label: str,
    what: str,
    direction: Direction,
    reference: str,
    unit: str,
    source: str,
    reference_value: float | None = None,
) -> Definition:
    """Add one definition to `DEFINITIONS` and return it.

    Defining the same thing again is harmless. Raises InvalidDefinition if `direction` is not lower, higher or
    closest, or if `metric` already means something else.
    """
    if direction not in get_args(Direction):
        raise InvalidDefinition(f"metric {metric!r}: direction {direction!r} is not lower, higher or closest")
    new = Definition(metric, label, what, direction, reference, unit, source, reference_value)
    if DEFINITIONS.setdefault(metric, new) != new:
        raise InvalidDefinition(f"metric {metric!r} already means something else; use another name")
    return new


def definition(metric: str) -> Definition:
    """Return the definition of `metric`, or raise UnknownMetric with the nearest known name."""
    if metric not in DEFINITIONS:
        raise UnknownMetric(f"unknown metric {metric!r}{did_you_mean(metric, DEFINITIONS)}")
    return DEFINITIONS[metric]


def frame() -> pl.DataFrame:
    """Return the `definitions` table: one row per metric, `reference_value` null where it is not fixed."""
    names = ("metric", "label", "what", "direction", "reference", "reference_value", "unit", "source")
    schema = {name: pl.Float64() if name == "reference_value" else pl.String() for name in names}
    return pl.DataFrame([asdict(one) for one in DEFINITIONS.values()], schema=schema)
