"""What a stored plan must be for its readers: a root may come from anyone, and ids become names of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

UnitId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=100)]
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=60)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Values = dict[str, float | int | str]

# Dictionaries, not models: a plan of 50,000 units is checked in an eighth of the time.
_shape = with_config(ConfigDict(extra="allow", strict=True))
_only = with_config(ConfigDict(extra="ignore", strict=True))


@_shape
class _Named(TypedDict):
    name: str
    version: Whole


@_shape
class _Dataset(TypedDict):
    name: str
    version: Whole
    digest: str
    count: NotRequired[Whole]
    tampering: NotRequired[str]


@_shape
class _Unit(TypedDict):
    id: UnitId
    kind: str
    dataset: _Dataset
    scenario: _Named
    architecture: _Named
    method: _Named
    recipe: Values
    seed: Whole
    config: str
    values: NotRequired[Values]
    needs: NotRequired[list[UnitId]]
    evidence: NotRequired[list[UnitId]]
    pool: NotRequired[str]


@_shape
class _Plan(TypedDict):
    id: str
    study: StudyName
    question: str
    measures: list[str]
    classes: NotRequired[dict[str, Whole]]
    ids: NotRequired[list[UnitId]]
    units: list[_Unit]


@_only
class _Outline(TypedDict):
    id: str
    study: StudyName
    ids: list[UnitId]


_UNITS = b', "units": ['
"""What follows the outline of a plan. No text in it looks so: JSON escapes its quotes."""


@dataclass(frozen=True)
class Outline:
    """A plan by its id: the name of its study, and the ids of its units."""

    id: str
    study: str
    units: list[str]


def check_plan(document: dict[str, Any], plan_id: str) -> dict[str, Any]:
    """Return the document of a plan, whatever is absent empty; raise ValueError where a reader could not follow it."""
    complete = {"id": plan_id, "study": plan_id, "question": "", "measures": [], "units": []} | document
    if complete["id"] != plan_id:
        raise ValueError("it is the plan of another name")
    try:
        TypeAdapter(_Plan).validate_python(complete)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    ids = [unit["id"] for unit in complete["units"]]
    if complete.get("ids", ids) != ids:
        raise ValueError("its units are others than its ids")
    return complete


def outline(data: bytes, plan_id: str) -> Outline:
    """Return the outline of the JSON of a plan, of which no more is read; raise ValueError where it has none."""
    head, _, _ = data.partition(_UNITS)
    found = TypeAdapter(_Outline).validate_json(head + b"}")
    if found["id"] != plan_id:
        raise ValueError("it is the plan of another name")
    return Outline(plan_id, found["study"], found["ids"])
