"""What a stored plan must be for its readers: a root may come from anyone, and ids become names of files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

UnitId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=100)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Named(_Shape):
    name: str
    version: Whole


class _Dataset(_Named):
    digest: str
    count: Whole = 0
    tampering: str = ""


class _Unit(_Shape):
    id: UnitId
    kind: str
    dataset: _Dataset
    scenario: _Named
    architecture: _Named
    method: _Named
    recipe: dict[str, float | int | str]
    seed: Whole
    config: str
    values: dict[str, float | int | str] = {}
    needs: list[UnitId] = []
    evidence: list[UnitId] = []
    pool: str = ""


class _Plan(_Shape):
    id: str
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=60)]
    question: str = ""
    measures: list[str] = []
    classes: dict[str, Whole] = {}
    units: list[_Unit] = []


def check_plan(document: dict[str, Any], plan_id: str) -> dict[str, Any]:
    """Return the document of a plan, whatever is absent empty; raise ValueError where a reader could not follow it."""
    complete = {"id": plan_id, "study": plan_id, "question": "", "measures": [], "units": []} | document
    if complete["id"] != plan_id:
        raise ValueError("it is the plan of another name")
    try:
        _Plan.model_validate(complete)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    return complete
