"""`harness repro`: one stored unit once more, compared with what is stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.text import columns, say

if TYPE_CHECKING:
    from harness.repro import Reproduction

MOST = 20
"""Differences that are printed; `--json` has all."""

device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, or auto.")


@click.command()
@click.argument("trial")
@options.root
@options.data
@device
@options.plugin
@options.as_json
def command(trial: str, root: str | None, data: str | None, device: str, as_json: bool) -> None:
    """Run one unit again and compare it with what is stored; nothing in the root changes. Exit code 1: it differs.

    TRIAL is the id of the unit, or the first digits of it. What it starts from is taken from the root, or made again
    where its weights were not kept. On a CPU every number must be the same, bit for bit; on CUDA, where some kernels
    add up in any order, none may differ by more than 0.01.

    \b
    harness repro 6c43b0f8
    """
    from harness.engine.device import pick_device
    from harness.repro import find, reproduce
    from harness.store import Store

    store = Store.open(root)
    unit, units = find(store, trial)
    found = reproduce(unit, units, store, pick_device(device), data)
    say(json.dumps(document(found), indent=2) if as_json else text(found))
    if not found.same:
        raise SystemExit(1)


def document(found: Reproduction) -> dict[str, Any]:
    """Return what was found, for a program."""
    return {
        "unit": found.unit.id,
        "what": str(found.unit),
        "compared": found.compared,
        "tolerance": found.tolerance,
        "same": found.same,
        "differences": [vars(one) for one in found.differences],
    }


def text(found: Reproduction) -> str:
    """Return what was found, for a reader."""
    said = f"{found.unit}: {verdict(found)}"
    rows = [[one.table, one.what, one.stored, one.again] for one in found.differences[:MOST]]
    if not rows:
        return said
    more = len(found.differences) - len(rows)
    table = columns([["table", "value", "stored", "again"], *rows])
    return "\n".join([said, table, *([f"and {more} more; --json has all"] if more else [])])


def verdict(found: Reproduction) -> str:
    """Return in a few words whether all was as before."""
    if not found.same:
        return f"{len(found.differences)} of {found.compared} values differ"
    how = "bit for bit" if found.tolerance == 0 else f"to within {found.tolerance:g}"
    return f"{found.compared} values, the same {how}"
