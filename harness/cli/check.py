"""`harness check`: does a method keep what every method promises?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.text import plural, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.check import Verdict


@click.command()
@click.argument("methods")
@click.option("--architecture", multiple=True, metavar="NAME", help="Where.  [cnn_small and tinyvit_tiny]")
@options.plugin
@options.as_json
def command(methods: str, architecture: tuple[str, ...], as_json: bool) -> None:
    """Try METHODS on a small problem: a name, a glob, or a file that declares some. Exit code 1: a promise is broken.

    \b
    harness check my_method.py
    harness check finetune --architecture resnet18
    harness check 'neg_*'
    """
    from harness import registry
    from harness.check import QUICK, check_method
    from harness.contracts import ARCHITECTURES, METHODS
    from harness.engine.device import pick_device, prepare

    prepare(pick_device("cpu"))
    where = [registry.find(ARCHITECTURES, name).name for name in architecture] or QUICK
    found: dict[str, list[Verdict]] = {}
    for spec in registry.declared_in(methods) if methods.endswith(".py") else registry.match(METHODS, methods):
        found[spec.name] = list(check_method(spec.name, where))
        if not as_json:
            say(_text(spec.name, found[spec.name]))
    if as_json:
        rows = [{"method": name, **asdict(verdict)} for name, verdicts in found.items() for verdict in verdicts]
        say(json.dumps(rows, indent=2))
    sys.exit(any(verdict.problem for verdicts in found.values() for verdict in verdicts))


def _text(name: str, verdicts: Sequence[Verdict]) -> str:
    """Return one line for each promise that is kept, and one for each case in which it is not."""
    lines = [name]
    for promise in dict.fromkeys(verdict.promise for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.promise == promise]
        broken = [f"  BROKEN  {promise}: {verdict.problem}   ({verdict.where})" for verdict in own if verdict.problem]
        lines += broken or [f"  kept    {promise}   ({plural(len(own), 'case')})"]
    return "\n".join(lines)
