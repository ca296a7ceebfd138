"""`harness report`: the page of a study."""

from __future__ import annotations

import click

from harness.cli import options
from harness.cli.text import say


@click.command()
@options.study
@options.root
@options.plugin
def command(study: str, root: str | None) -> None:
    """Write the report of STUDY as one self-contained HTML page and print where it is.

    \b
    harness report digits
    """
    from harness.planner import make_plan
    from harness.store import Store
    from harness.study import load_study
    from harness.views import rebuild, refuse_empty

    plan = make_plan(load_study(study))
    refuse_empty(plan, Store.open(root))
    written = rebuild(plan, Store.open(root, write=True))
    if written.report is not None:
        say(written.report)
    for line in written.missing:
        say(line, err=True)
