"""`harness ls`: what there is."""

from __future__ import annotations

import json
from typing import Any

import click

from harness.cli import options
from harness.cli.text import columns

KINDS = ("datasets", "scenarios", "architectures", "methods", "suites", "metrics")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@options.as_json
def command(kind: str, as_json: bool) -> None:
    """List what there is of a KIND.

    \b
    harness ls methods
    harness ls metrics --json
    """
    rows = _metrics() if kind == "metrics" else _suites() if kind == "suites" else _declared(kind)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        shown = [[str(value) for value in row.values() if not isinstance(value, dict)] for row in rows]
        click.echo(columns(shown))


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
