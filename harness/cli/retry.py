"""`harness retry`: run again what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.text import say

if TYPE_CHECKING:
    from harness.drive import Where


@click.command()
@options.study
@options.root
@options.placement
@click.option("--failed", is_flag=True, help="Those that failed and have no result: what it does in any case.")
@options.as_json
def command(study: str, root: str | None, place: Where, failed: bool, as_json: bool) -> None:
    """Run the units of STUDY that failed once more, and nothing else; `harness run` would run what is left, too.

    \b
    harness retry digits --failed
    """
    from harness.cli.screen import run_and_show
    from harness.errors import first_of
    from harness.planner import make_plan
    from harness.selection import Selection
    from harness.store import Store
    from harness.study import load_study

    ended = Store.open(root).ended()
    again = frozenset(ended.attempts) & make_plan(load_study(study)).units.keys()
    if not again:
        for line in first_of(ended.damage):
            say(f"harness: {line}", err=True)
        say("no unit of the study has failed and is without a result")
        return
    run_and_show(study, root, place, Selection(only=frozenset(again)), as_json)
