"""`harness show`: everything about one trial."""

from __future__ import annotations

import json
from typing import Any

import click

from harness.cli import options
from harness.cli.text import columns, say
from harness.errors import HarnessError


class NoSuchTrial(HarnessError):
    """An id that no unit, or more than one, begins with."""


@click.command()
@click.argument("trial")
@options.root
@options.as_json
def command(trial: str, root: str | None, as_json: bool) -> None:
    """Show one unit: TRIAL is its id, or the first digits of it.

    \b
    harness show 6c43b0f8
    """
    document = _document(trial, root)
    say(json.dumps(document, indent=2, default=str) if as_json else _text(document))


def _document(trial: str, root: str | None) -> dict[str, Any]:
    import polars as pl

    from harness.store import Store

    store = Store.open(root)
    units = store.scan("units").filter(pl.col("unit").str.starts_with(trial)).collect()
    if units.height != 1:
        found = "no unit" if not units.height else f"{units.height} units"
        raise NoSuchTrial(
            f"{found} in {store.address} begin with {trial!r}; list them: "
            'harness query "select unit, kind, method, seed from units"'
        )
    unit = units["unit"][0]
    rows = {name: store.scan(name).filter(pl.col("unit") == unit).collect() for name in ("metrics", "failures")}
    return {
        "unit": units.to_dicts()[0],
        "metrics": rows["metrics"].select("part", "metric", "value").sort("metric", "part").to_dicts(),
        "failures": rows["failures"]
        .select("attempt", "phase", "exception", "message", "traceback")
        .sort("attempt")
        .to_dicts(),
    }


def _text(document: dict[str, Any]) -> str:
    blocks = [columns([[name, str(value)] for name, value in document["unit"].items() if value is not None])]
    if document["metrics"]:
        blocks.append(
            columns([[f"{row['metric']} ({row['part']})", _number(row["value"])] for row in document["metrics"]])
        )
    for failure in document["failures"]:
        blocks.append(
            f"attempt {failure['attempt']} failed in phase {failure['phase']}: {failure['exception']}: "
            f"{failure['message']}\n\n{failure['traceback'].rstrip()}"
        )
    return "\n\n".join(blocks)


def _number(value: float | None) -> str:
    return "not computable" if value is None else f"{value:.4f}"
