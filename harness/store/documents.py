"""Small JSON documents in `studies/`: the plans that were made of this root."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.errors import did_you_mean, one_line
from harness.store.errors import StoreCorrupt, StoreError, UnknownPlan
from harness.store.files import Files

FOLDER = "studies"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")


def path_of(plan_id: str, suffix: str) -> str:
    """Return `studies/<plan id><suffix>`; raise `StoreError` for an id that is no file name."""
    if not _ID.fullmatch(plan_id):
        raise StoreError(f"{plan_id!r} is no plan id; letters, digits and _ . @ - make one")
    return f"{FOLDER}/{plan_id}{suffix}"


def write(files: Files, path: str, document: Mapping[str, object]) -> None:
    files.write(path, json.dumps(document, indent=2, ensure_ascii=False).encode())


def read(files: Files, path: str) -> dict[str, object]:
    """Return the document at `path`; raise `FileNotFoundError`, or `StoreCorrupt` if it is no JSON object."""
    try:
        document = json.loads(files.read(path))
    except ValueError as error:
        raise StoreCorrupt(f"{files.where(path)} is damaged: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise StoreCorrupt(f"{files.where(path)} is damaged: it holds no JSON object")
    return document


def plans(files: Files) -> list[str]:
    return [file.name.removesuffix(".json") for file in files.find(FOLDER, ".json")]


def read_plan(files: Files, plan_id: str) -> dict[str, Any]:
    try:
        return read(files, path_of(plan_id, ".json"))
    except FileNotFoundError as error:
        raise UnknownPlan(
            f"no plan {plan_id!r} in {files.where(FOLDER)}{did_you_mean(plan_id, plans(files))}"
        ) from error
