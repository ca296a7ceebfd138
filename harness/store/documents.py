"""Small JSON documents in `studies/`: the plans that were made of this root."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from harness.errors import did_you_mean, one_line
from harness.store.errors import REMEDY, StoreCorrupt, StoreError, UnknownPlan
from harness.store.files import Files

FOLDER = "studies"
DIGEST = "sha256"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")


def path_of(plan_id: str, suffix: str) -> str:
    """Return `studies/<plan id><suffix>`; raise `StoreError` for an id that is no file name."""
    if not _ID.fullmatch(plan_id):
        raise StoreError(f"{plan_id!r} is no plan id; letters, digits and _ . @ - make one")
    return f"{FOLDER}/{plan_id}{suffix}"


def write(files: Files, path: str, document: Mapping[str, object]) -> None:
    sealed = {**document, DIGEST: _digest(document)}
    files.write(path, json.dumps(sealed, indent=2, ensure_ascii=False).encode())


def read(files: Files, path: str) -> dict[str, object]:
    """Return the document at `path`; raise `FileNotFoundError`, or `StoreCorrupt` if it is not as it was written."""
    try:
        document = json.loads(files.read(path))
        if not isinstance(document, dict):
            raise ValueError("it holds no JSON object")
        # Older versions stored none.
        if DIGEST in document and document.pop(DIGEST) != _digest(document):
            raise ValueError("its digest does not match")
    except (ValueError, RecursionError) as error:
        raise StoreCorrupt(f"{files.where(path)} is damaged: {one_line(error)}; {REMEDY}") from error
    return document


def _digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def plans(files: Files) -> list[str]:
    names = (file.path.removeprefix(f"{FOLDER}/").removesuffix(".json") for file in files.find(FOLDER, ".json"))
    return [name for name in names if _ID.fullmatch(name)]


def damaged(files: Files) -> dict[str, StoreCorrupt]:
    """Return what is wrong with stored plans, by path."""
    found = {}
    for file in files.find(FOLDER, ".json"):
        try:
            read(files, file.path)
        except StoreCorrupt as error:
            found[file.path] = error
        except FileNotFoundError:
            continue
    return found


def read_plan(files: Files, plan_id: str) -> dict[str, Any]:
    from harness.store.shapes import check_plan

    path = path_of(plan_id, ".json")
    try:
        return check_plan(read(files, path), plan_id)
    except ValueError as error:
        right = "delete it, or use the version that wrote it"
        raise StoreCorrupt(f"{files.where(path)} is no plan for this version: {one_line(error)}; {right}") from error
    except FileNotFoundError as error:
        raise UnknownPlan(
            f"no plan {plan_id!r} in {files.where(FOLDER)}{did_you_mean(plan_id, plans(files))}"
        ) from error
