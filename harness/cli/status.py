"""`harness status`: how far the studies of a root are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.text import columns, duration, say
from harness.secrets import without_secrets

if TYPE_CHECKING:
    import polars as pl

    from harness.store import Ended, Store
    from harness.store.shapes import Outline


@click.command()
@click.argument("study", required=False)
@options.root
@click.option("--address", metavar="URL", help="Ask a cluster instead, for its jobs: http://HOST:8265.")
@options.as_json
def command(study: str | None, root: str | None, address: str | None, as_json: bool) -> None:
    """Show done, failed and waiting units of every study of a root, or of those named STUDY, and who runs them.

    A state is running, done, failed (nothing waits, some units failed), stopped (units wait), or killed: its driver
    ended without a word. The last result may be a failure. --json has its age in seconds.

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
        say(json.dumps(rows, indent=2))
    elif rows and address is None:
        say(_table(rows))
    elif rows:
        say(columns([[str(value) for value in row.values()] for row in rows], list(rows[0])))
    elif address is None:
        say(f"no study in {Store.open(root).address}; begin one with: harness run digits")
    else:
        where = without_secrets(address)
        say(f"no job of the harness at {where}; send one with: harness submit digits --address {where} ...")


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
    from harness.errors import first_of
    from harness.store import Store

    store = Store.open(root)
    ended, moments = store.ended(), store.moments()
    for line in first_of(ended.damage):
        _say(line)
    return [_row(store, plan, ended, moments) for plan in store.outlines(study, damaged=_say)]


def _say(what: object) -> None:
    """Say what cannot be read: what only that tells counts as waiting."""
    say(f"harness: {what}", err=True)


def _row(store: Store, plan: Outline, ended: Ended, moments: pl.DataFrame) -> dict[str, Any]:
    count = Counter(
        "done" if unit in ended.committed else "failed" if unit in ended.attempts else "waiting" for unit in plan.units
    )
    running, state = _driver(store, plan.id)
    if not state:
        state = "stopped" if count["waiting"] else "failed" if count["failed"] else "done"
    last = moments.filter(moments["unit"].is_in(plan.units))["at"].max()
    assert last is None or isinstance(last, datetime)
    return {
        "plan": plan.id,
        "units": len(plan.units),
        "done": count["done"],
        "failed": count["failed"],
        "waiting": count["waiting"],
        "running": running,
        "state": state,
        "last": None if last is None else max(0.0, (datetime.now(UTC) - last).total_seconds()),
    }


def _driver(store: Store, plan: str) -> tuple[str, str]:
    """Return who runs a plan, and its state as far as that follows from it: empty where nobody does."""
    from harness.store import StoreCorrupt

    try:
        holder, fallen = store.lease_holder(plan), store.lease_fallen(plan)
    except StoreCorrupt as error:
        _say(error)
        return "unknown", "unknown"
    if holder:
        return f"pid {holder.pid} on {holder.host}", "running"
    return "no", "killed" if fallen else ""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the studies as a person reads them, and how to go on where units wait and nobody runs them."""
    shown = [
        {
            **{name: row[name] for name in ("plan", "units", "done", "failed", "waiting", "running", "state")},
            "last result": "-" if row["last"] is None else f"{duration(row['last'])} ago",
        }
        for row in rows
    ]
    idle = [row for row in rows if row["running"] == "no"]
    left = [row["plan"] for row in idle if row["waiting"] or row["state"] == "killed"]
    again = [row["plan"] for row in idle if row["failed"]]
    lines = [f"not at its end, and nobody runs it: {', '.join(left)}; `harness run STUDY` goes on"] if left else []
    lines += [f"failed: {', '.join(again)}; `harness retry STUDY --failed` tries again"] if again else []
    return "\n".join([columns([list(row.values()) for row in shown], list(shown[0])), *lines])
