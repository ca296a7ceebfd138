"""`harness compact`: write the many files of the tables as few."""

from __future__ import annotations

import json

import click

from harness.cli import options
from harness.cli.text import say


@click.command()
@options.root
@options.as_json
def command(root: str | None, as_json: bool) -> None:
    """Write the many files of the tables of a root as few: after a large study every command reads them faster.

    Nothing changes in the tables. While a study runs on the root it is refused.

    \b
    harness compact --root s3://bucket/runs
    """
    from harness.store import Store

    store = Store.open(root, write=True)
    for repaired in store.repair():
        say(repaired, err=True)
    store.fold()
    before, after = store.compact()
    if as_json:
        say(json.dumps({"before": before, "after": after}))
        return
    say(f"{before} files of tables are {after} now, in {store.address}")
