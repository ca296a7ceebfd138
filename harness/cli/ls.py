"""`harness ls`: what there is."""

from __future__ import annotations

import json
from typing import Any

import click

from harness.cli import options
from harness.cli.text import columns, say

DECLARED = ("datasets", "scenarios", "architectures", "methods")
KINDS = (*DECLARED, "suites", "metrics", "tables", "columns")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("table", required=False)
@options.as_json
def command(kind: str, table: str | None, as_json: bool) -> None:
    """List what there is of a KIND; for columns, those of a TABLE, with unit and direction.

    \b
    harness ls methods
    harness ls metrics --json
    harness ls columns trials
    """
    if (kind == "columns") != (table is not None):
        right = "name one table, such as trials: harness ls tables" if table is None else "leave the second word away"
        raise click.UsageError(f"ls {kind}: {right}")
    rows = _columns(table) if table is not None else _declared(kind) if kind in DECLARED else _LISTS[kind]()
    if as_json:
        say(json.dumps(rows, indent=2))
    else:
        say(_text(rows, headed=kind == "columns"))


def _text(rows: list[dict[str, Any]], headed: bool) -> str:
    """Return the rows as aligned columns, without those that are empty or for programs."""
    names = [name for name in rows[0] if any(isinstance(row[name], str) and row[name] for row in rows)] if rows else []
    return columns([[row[name] for name in names] for row in rows], names if headed else None)


def _declared(kind: str) -> list[dict[str, Any]]:
    from harness import registry

    registry.load()
    catalog = registry.CATALOGS[kind]
    return [_describe(kind, catalog[name]) for name in catalog]


def _describe(kind: str, spec: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"name": spec.example if kind == "scenarios" else spec.name}
    if kind == "methods":
        row["reads"] = " ".join(sorted(spec.reads)) or "nothing"
        row["summary"] = spec.summary
        row["hyperparameters"] = _ranges(spec.space)
        row["variants"] = {name: _ranges(own) for name, own in spec.overrides.items()}
    else:
        row["summary"] = spec.summary
    return row


def _ranges(space: Any) -> dict[str, Any]:
    return {name: {"default": range_.default, "searched": range_.describe()} for name, range_ in space.items()}


def _suites() -> list[dict[str, Any]]:
    from harness import registry
    from harness.yamlfile import YamlFile

    found = {name: YamlFile(path).content for name, path in registry.suites().items()}
    return [{"name": name, "question": content.get("question", "")} for name, content in found.items()]


def _metrics() -> list[dict[str, Any]]:
    from harness.metrics import frame

    return [
        {"metric": row["metric"], "direction": row["direction"], "what": row["what"]}
        for row in frame().iter_rows(named=True)
    ]


def _tables() -> list[dict[str, Any]]:
    from harness.tables import tables

    return [{"table": name, "row": row} for name, row in tables().items()]


def _columns(table: str) -> list[dict[str, Any]]:
    from harness import tables

    return [dict(row) for row in tables.columns(table)]


_LISTS = {"suites": _suites, "metrics": _metrics, "tables": _tables}
