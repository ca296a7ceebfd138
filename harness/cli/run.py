"""`harness run`: run what is left of a study and print the ranking."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from harness.cli import options

if TYPE_CHECKING:
    from harness.drive import Where


def _hours(context: click.Context, parameter: click.Parameter, hours: float) -> float:
    if math.isnan(hours):
        raise click.BadParameter("nan is no number of hours")
    return hours


@click.command()
@options.study
@options.root
@options.placement
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only units that match: method=msg. Repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many units (and what they need).")
@click.option(
    "--max-device-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=float("inf"),
    metavar="H",
    callback=_hours,
    help="Begin no unit once those of this run have used H hours of a device, or on a CPU of a worker; what has begun "
    "is finished.",
)
@options.as_json
def command(
    study: str,
    root: str | None,
    place: Where,
    where: tuple[str, ...],
    limit: int | None,
    max_device_hours: float,
    as_json: bool,
) -> None:
    """Run what is left of STUDY, a YAML file or the name of a suite, and print the ranking.

    Stop it at any moment: what is finished stays, and the same command goes on. Exit code 1: some units failed; 0 also
    where --max-device-hours has stopped it: the last lines, and `not_tried` with --json, say what is left.

    \b
    harness run digits
    harness run my_study.yaml --where method=msg --limit 1
    harness run my_study.yaml --address auto --root /shared/runs --max-device-hours 24
    """
    from harness.cli.screen import run_and_show
    from harness.selection import Selection

    chosen = Selection(dict(_pair(text) for text in where), limit or 0)
    run_and_show(study, root, place, chosen, as_json, max_device_hours)


def _pair(text: str) -> tuple[str, str]:
    from harness.errors import did_you_mean

    column, equals, value = text.partition("=")
    known = ("kind", "dataset", "scenario", "architecture", "method", "config", "seed", "unit")
    if not equals or column not in known:
        raise click.UsageError(f"--where {text!r} must be COLUMN=VALUE{did_you_mean(column, known)}")
    return column, value
