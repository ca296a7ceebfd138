"""`harness run`: run what is left of a study and print the ranking."""

from __future__ import annotations

import json
import sys

import click

from harness.cli import options


@click.command()
@options.study
@options.root
@options.data
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, or auto.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only units that match: method=msg. Repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many units (and what they need).")
@click.option("--plugin", multiple=True, metavar="MODULE", help="A module with more tasks. Repeatable.")
@click.option("--local", is_flag=True, help="In this one process, without Ray.")
@click.option("--address", metavar="ADDRESS", help="A Ray cluster: auto, or host:port of its head.  [this machine]")
@click.option("--workers", type=click.IntRange(min=1), help="Cores of this machine to use.  [all]")
@options.as_json
def command(
    study: str,
    root: str | None,
    data: str | None,
    device: str,
    where: tuple[str, ...],
    limit: int | None,
    plugin: tuple[str, ...],
    local: bool,
    address: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Run what is left of STUDY, a YAML file or the name of a suite, and print the ranking.

    Stop it at any moment: what is finished stays, and the same command goes on. Exit code 1: some units failed.

    \b
    harness run digits
    harness run my_study.yaml --where method=msg --limit 1
    harness run my_study.yaml --address auto --root /shared/runs
    """
    from harness import registry
    from harness.cli.progress import Live
    from harness.cli.screen import as_document, screen
    from harness.drive import Where, run
    from harness.schedule import Cluster
    from harness.selection import Selection

    if local and address:
        raise click.UsageError("--local and --address exclude each other")
    registry.load(plugin)
    place = Where(None if local else Cluster(address, workers), device, data, plugin)
    selection = Selection(dict(_pair(text) for text in where), limit or 0)
    summary = run(study, root, where=place, selection=selection, progress=Live(sys.stderr))
    click.echo(json.dumps(as_document(summary, root), indent=2) if as_json else screen(summary, root))
    sys.exit(1 if summary.failed else 0)


def _pair(text: str) -> tuple[str, str]:
    from harness.errors import did_you_mean

    column, equals, value = text.partition("=")
    known = ("kind", "dataset", "scenario", "architecture", "method", "config", "seed", "unit")
    if not equals or column not in known:
        raise click.UsageError(f"--where {text!r} must be COLUMN=VALUE{did_you_mean(column, known)}")
    return column, value
