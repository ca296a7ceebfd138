"""How large the farm behind an audit was, and how much of it is in."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl
from markupsafe import Markup

from harness.errors import printable
from harness.metrics import audited_in_vain
from harness.report.answer import joined, names
from harness.report.audit import HEADLINE
from harness.report.numbers import NONE
from harness.report.roster import Competitor, Roster, competitors

_COVERAGE = re.compile(r"\bcoverage:(\d+)/(\d+)")


def farm_notes(attacks: pl.DataFrame, roster: Roster) -> list[Markup]:
    """Return what to know of the farm: shadows N, observations K per example and world, what has not come in yet."""
    return [
        *_size(attacks.filter(pl.col("metric") == HEADLINE)),
        *_coverage(attacks, roster),
        *_in_vain(attacks, roster),
    ]


def _size(rows: pl.DataFrame) -> list[Markup]:
    never_in, retrained = (rows.filter(pl.col("null") == null) for null in ("O", "R"))
    if never_in.is_empty():
        return []
    worlds = [
        f"{_range(never_in['k_u'])} releases in which it was unlearned (U)",
        f"{_range(never_in['k_o'])} in which it was never in (O)",
        *([f"{_range(retrained['k_o'])} retrained models (R)"] if retrained.height else []),
    ]
    pools = [
        f"{_range(own['examples'])} in {printable(str(own['pool'][0]))}"
        for own in never_in.sort("pool").partition_by("pool", maintain_order=True)
    ]
    text = "N = {} shadows; K per example: {}. Examples: {}."
    return [Markup(text).format(_range(never_in["n"]), joined(worlds), joined(pools))]


def _range(numbers: pl.Series) -> str:
    known: Sequence[int] = numbers.drop_nulls().to_list()
    if not known:
        return NONE
    low, high = min(known), max(known)
    return str(low) if low == high else f"{low}{NONE}{high}"


def _coverage(attacks: pl.DataFrame, roster: Roster) -> list[Markup]:
    parts: dict[tuple[int, int], set[Competitor]] = {}
    for method, config, flags in attacks.select("method", "config", "flags").drop_nulls().unique().rows():
        for done, of in _COVERAGE.findall(flags):
            parts.setdefault((int(done), int(of)), set()).add((method, config))
    everybody = set(competitors(attacks))
    sentences = []
    for (done, of), who in sorted(parts.items()):
        entries = [entry for entry in roster if entry.competitor in who]
        whose = Markup("") if who == everybody else Markup(" of {}").format(names(entries))
        text = "{} of {} shadows are in{}: the farm is not done, and the audit may still change."
        sentences.append(Markup(text).format(done, of, whose))
    return sentences


def _in_vain(attacks: pl.DataFrame, roster: Roster) -> list[Markup]:
    rows = audited_in_vain(attacks)
    sentences = []
    for own in rows.sort("pool").partition_by("pool", maintain_order=True):
        entries = [entry for entry in roster if entry.competitor in set(competitors(own))]
        text = "The audit says nothing of {} on pool {}: every release diverged."
        sentences.append(Markup(text).format(names(entries), printable(str(own["pool"][0]))))
    return sentences
