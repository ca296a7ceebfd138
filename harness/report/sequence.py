"""Requests one after the other: how each method fares from request to request, and over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from harness.errors import printable
from harness.metrics import FORGOTTEN_BEFORE, OVER_REQUESTS, SEQUENCE_METRICS, chains, over_requests
from harness.report.blocks import Column, Group, Row, Section, Table, TableCell, slug
from harness.report.context import Context
from harness.report.data import in_panels
from harness.report.forest import estimates
from harness.report.meanings import arrow, sentence
from harness.report.numbers import several
from harness.report.summary import dots, summarise
from harness.report.values import Found, digits_of, number_cells, value_table

READING = (
    "Each request is a cell of its own: a method starts from its own model of the request before, and does not see "
    "what that one and earlier ones were for; retrain is trained without all of it. What had been forgotten may come "
    "back with the next request: rebound is how much more accurate than retrain a method is on it."
)
BY_REQUEST = {
    "accuracy_forget": "Accuracy on what the request itself asks to forget",
    f"accuracy_{FORGOTTEN_BEFORE}": "Accuracy on what all earlier requests asked to forget",
}


def sequence_sections(context: Context) -> list[Section]:
    """Return the section, nothing where no request follows another."""
    found = chains(context.data.follows)
    tables = [table for chain in found for table in _tables(context, chain)]
    return [Section("One request after the other", "sequences", [READING], tables)] if tables else []


def sequence_metrics(context: Context) -> set[str]:
    """Return the metrics that the section shows beside those of trials."""
    present = context.data.trials.filter(pl.col("metric").is_in(SEQUENCE_METRICS), pl.col("value").is_not_null())
    return set(OVER_REQUESTS) if chains(context.data.follows) and present.height else set()


def _tables(context: Context, chain: tuple[str, ...]) -> Iterator[Table]:
    rows = context.data.trials.filter(pl.col("scenario").is_in(chain))
    for place, _, own in in_panels(rows.sort("dataset", "architecture")):
        seeds = own["seed"].n_unique()
        basis = f"mean over {several(seeds, 'seed')}{', 95 % interval in brackets' if seeds > 1 else ''}"
        whole = over_requests(own, chain)
        found = estimates(summarise(whole, OVER_REQUESTS), dots(whole))
        named = f"{place}{printable(chain[-1])}"
        if found:
            yield value_table(context, found, OVER_REQUESTS, f"{named}: over {len(chain)} requests, {basis}")
        for metric, what in BY_REQUEST.items():
            table = _by_request(context, own, chain, metric, f"{what}, {named}: {basis}")
            yield from [] if table is None else [table]


def _by_request(
    context: Context, trials: pl.DataFrame, chain: Sequence[str], metric: str, caption: str
) -> Table | None:
    """Return one metric by method and request; None where it has no value or nobody defined it."""
    each = {one: trials.filter(pl.col("scenario") == one) for one in chain}
    estimated = {one: estimates(summarise(own, [metric]), dots(own)) for one, own in each.items()}
    found: Found = {one: by_metric[metric] for one, by_metric in estimated.items() if metric in by_metric}
    if not found or metric not in context.meanings:
        return None
    digits, meaning = digits_of(found, list(found)), context.meanings[metric]
    rows = [
        Row([TableCell(context.name(entry)), *number_cells(entry, found, digits)], reference=entry.is_reference)
        for entry in context.roster
        if any(entry.competitor in own for own in found.values())
    ]
    columns = [
        Column(f"request {chain.index(scenario) + 1}", arrow(meaning), sentence(meaning), slug(metric))
        for scenario in found
    ]
    return Table(caption, [Column("method", numeric=False), *columns], [Group(rows)])
