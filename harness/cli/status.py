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
@click.option("--address", metavar="URL", help="Ask a cluster instead, for its jobs: http://HOST:8265.")
@options.as_json
def command(study: str | None, root: str | None, address: str | None, as_json: bool) -> None:
    """Show done, failed and waiting units of every study of a root, or of those named STUDY, and who runs them.

    With --address, show the jobs of a cluster that were submitted, by what their logs say; no root is needed.

    \b
    harness status
    harness status digits --root /data/runs
    harness status --address http://head:8265
    """
    from harness.store import Store

    if address is not None and root is not None:
        raise click.UsageError("--address asks a cluster for its jobs; leave --root away")
    rows = _units(root, study) if address is None else _jobs(address, study)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        click.echo(columns([[str(value) for value in row.values()] for row in rows], list(rows[0])))
    elif address is None:
        click.echo(f"no study in {Store.open(root).uri}; begin one with: harness run digits")
    else:
        click.echo(f"no job of the harness at {address}; send one with: harness submit digits --address {address} ...")


def _jobs(address: str, study: str | None) -> list[dict[str, Any]]:
    from harness.schedule.jobs import jobs

    return [
        {
            "job": one.job,
            "study": one.study,
            "state": one.state,
            "started": f"{one.started:%Y-%m-%d %H:%M}" if one.started else "",
            "ended": f"{one.ended:%Y-%m-%d %H:%M}" if one.ended else "",
            "root": one.root,
            "progress": one.progress,
        }
        for one in jobs(address, study)
    ]


def _units(root: str | None, study: str | None) -> list[dict[str, Any]]:
    from harness.store import Store

    store = Store.open(root)
    committed, attempts = store.committed(), store.attempts()
    return [_row(store, plan, committed, attempts) for plan in store.studies(study)]


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
