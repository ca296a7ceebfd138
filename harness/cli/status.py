"""`harness status`: how far the studies of a root are."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from harness.cli import options
from harness.cli.text import columns


@click.command()
@click.argument("study", required=False)
@options.root
@options.as_json
def command(study: str | None, root: str | None, as_json: bool) -> None:
    """Show done, failed and waiting units of every study of a root, or of those named STUDY, and who runs them.

    \b
    harness status
    harness status digits --root /data/runs
    """
    from harness.errors import did_you_mean
    from harness.store import Store, UnknownPlan

    store = Store.open(root)
    committed, attempts = store.committed(), store.attempts()
    plans = [store.read_plan(plan) for plan in store.plans()]
    rows = [_row(store, plan, committed, attempts) for plan in plans if study in (None, plan["study"], plan["id"])]
    if study and not rows:
        known = {str(plan["study"]) for plan in plans}
        raise UnknownPlan(f"no study {study!r} in {store.uri}{did_you_mean(study, known)}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        click.echo(columns([[str(value) for value in row.values()] for row in rows], list(rows[0])))
    else:
        click.echo(f"no study in {store.uri}; begin one with: harness run digits")


def _row(store: Any, plan: dict[str, Any], committed: set[str], attempts: dict[str, int]) -> dict[str, Any]:
    count = Counter(
        "done" if unit["id"] in committed else "failed" if unit["id"] in attempts else "waiting"
        for unit in plan["units"]
    )
    holder = store.lease_holder(plan["id"])
    return {
        "plan": plan["id"],
        "units": len(plan["units"]),
        "done": count["done"],
        "failed": count["failed"],
        "waiting": count["waiting"],
        "running": f"pid {holder.pid} on {holder.host}" if holder else "no",
    }
