"""`harness run`: run what is left of a study and print the ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli import options

if TYPE_CHECKING:
    from harness.drive import Where


@click.command()
@options.study
@options.root
@options.placement
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only units that match: method=msg. Repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many units (and what they need).")
@options.as_json
def command(
    study: str, root: str | None, place: Where, where: tuple[str, ...], limit: int | None, as_json: bool
) -> None:
    """Run what is left of STUDY, a YAML file or the name of a suite, and print the ranking.

    Stop it at any moment: what is finished stays, and the same command goes on. Exit code 1: some units failed.

    \b
    harness run digits
    harness run my_study.yaml --where method=msg --limit 1
    harness run my_study.yaml --address auto --root /shared/runs
    """
    from harness.cli.screen import run_and_show
    from harness.selection import Selection

    run_and_show(study, root, place, Selection(dict(_pair(text) for text in where), limit or 0), as_json)


def _pair(text: str) -> tuple[str, str]:
    from harness.errors import did_you_mean

    column, equals, value = text.partition("=")
    known = ("kind", "dataset", "scenario", "architecture", "method", "config", "seed", "unit")
    if not equals or column not in known:
        raise click.UsageError(f"--where {text!r} must be COLUMN=VALUE{did_you_mean(column, known)}")
    return column, value
