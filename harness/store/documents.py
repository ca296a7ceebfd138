"""Small JSON documents in `studies/`: the plans that were made of this root."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import did_you_mean, one_line
from harness.store.errors import REMEDY, StoreCorrupt, StoreError, UnknownPlan
from harness.store.files import Files

if TYPE_CHECKING:
    from harness.store.shapes import Outline

FOLDER = "studies"
_DIGEST = ', "sha256": "%s"}'
"""How a document ends: with the sha256 of all before that."""
_MARK = _DIGEST.partition("%s")[0].encode()
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")


def path_of(plan_id: str, suffix: str) -> str:
    """Return `studies/<plan id><suffix>`; raise `StoreError` for an id that is no file name."""
    if not _ID.fullmatch(plan_id):
        raise StoreError(f"{plan_id!r} is no plan id; letters, digits and _ . @ - make one")
    return f"{FOLDER}/{plan_id}{suffix}"


def write(files: Files, path: str, document: Mapping[str, object]) -> None:
    body = json.dumps(document, ensure_ascii=False)[:-1].encode()
    files.write(path, body + _tail(body))


def read(files: Files, path: str) -> dict[str, object]:
    """Return the document at `path`; raise `FileNotFoundError`, or `StoreCorrupt` if it is not as it was written."""
    try:
        return _parse(_intact(files.read(path)))
    except ValueError as error:
        raise StoreCorrupt(f"{files.where(path)} is damaged: {one_line(error)}; {REMEDY}") from error


def _tail(body: bytes | memoryview) -> bytes:
    return (_DIGEST % hashlib.sha256(body).hexdigest()).encode()


def _intact(data: bytes) -> bytes:
    """Return the JSON of a stored document, without its digest; raise ValueError if that is another one."""
    if not data.startswith(b'{"'):  # an older version, which kept no digest, began a new line
        return data
    body = memoryview(data)[: max(0, data.rfind(_MARK))]  # no copy: plans of 50,000 units are 35 MB
    if data[len(body) :] != _tail(body):
        raise ValueError("its digest does not match")
    return b"".join((body, b"}"))


def _parse(data: bytes) -> dict[str, object]:
    from pydantic_core import from_json  # in half of the time of json: 50,000 units are 40 MB

    document = from_json(data, cache_strings="keys")
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    return document


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
    """Return a plan as it was stored; raise `UnknownPlan` or `StoreCorrupt`."""
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


def read_outline(files: Files, plan_id: str) -> Outline:
    """Return what units a plan has, in a tenth of the time; raises as `read_plan`."""
    from harness.store.shapes import Outline, outline

    try:
        return outline(_intact(files.read(path_of(plan_id, ".json"))), plan_id)
    except (ValueError, FileNotFoundError):  # the thorough way says what is wrong, or takes what lacks a key
        plan = read_plan(files, plan_id)
        return Outline(plan_id, plan["study"], [unit["id"] for unit in plan["units"]])
