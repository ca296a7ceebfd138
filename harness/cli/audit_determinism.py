"""`harness audit-determinism`: a random share of a study once more."""

from __future__ import annotations

import json
import random

import click

from harness.cli import options
from harness.cli.repro import device, document, text
from harness.cli.text import say
from harness.errors import HarnessError


class NothingToRepeat(HarnessError):
    """A study of which nothing has ended."""


@click.command()
@options.study
@options.root
@options.data
@device
@options.plugin
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.01,
    show_default=True,
    help="Of the finished units.",
)
@click.option("--seed", default=0, show_default=True, help="Draws which units.")
@options.as_json
def command(
    study: str, root: str | None, data: str | None, device: str, share: float, seed: int, as_json: bool
) -> None:
    """Run a random share of the finished units of STUDY again and compare, as `harness repro` does one.

    Timing units are left out: they measure nothing but time. At least one unit is run. Exit code 1: some differ.

    \b
    harness audit-determinism digits --share 0.05
    """
    from harness.engine.device import pick_device
    from harness.planner import make_plan
    from harness.repro import reproduce
    from harness.store import Store
    from harness.study import load_study
    from harness.unit import Kind

    store, units = Store.open(root), make_plan(load_study(study)).units
    ended = store.committed()
    known = [unit for unit in units.values() if unit.id in ended and unit.kind != Kind.TIMING]
    if not known:
        raise NothingToRepeat(f"nothing of {study} is in {store.address}; run the study first")
    drawn = random.Random(seed).sample(known, max(1, round(share * len(known))))
    found = []
    for unit in drawn:
        found.append(reproduce(unit, units, store, pick_device(device), data))
        if not as_json:
            say(f"{unit.id}  {text(found[-1])}")
    same = sum(one.same for one in found)
    if as_json:
        say(json.dumps([document(one) for one in found], indent=2))
    else:
        say(f"{same} of {len(found)} units, drawn from {len(known)}, gave the same again")
    if same < len(found):
        raise SystemExit(1)
