"""The ranks of the methods with their intervals, one panel per metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from harness.metrics import Definition
from harness.ranking import OVERALL
from harness.report.data import finite
from harness.report.meanings import HEADLINE, Meanings, in_order, named, read_meanings
from harness.report.numbers import places
from harness.report.roster import Competitor, Entry, Roster, make_roster
from harness.report.rows import WIDTH, Rows, axis, head
from harness.report.sheet import GAP, Panel, Sheet, compose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Ranks = dict[Competitor, tuple[float, float | None, float | None]]


def ranking_figure(
    rankings: pl.DataFrame, definitions: pl.DataFrame, *, group: str = OVERALL, columns: int = 4
) -> Figure:
    """Return a figure of the ranks in one group of `rankings`: one panel per metric, one row per method."""
    rankings = finite(rankings)
    panels = ranking_panels(rankings, read_meanings(definitions), make_roster(rankings), group)
    return compose(panels, columns, GAP)


def ranking_panels(rankings: pl.DataFrame, meanings: Meanings, roster: Roster, group: str = OVERALL) -> list[Panel]:
    """Return one panel for the overall ranking and each headline metric on which some method has a rank."""
    ranked = _ranked(rankings, group)
    entries = roster.among(ranked)
    metrics = ranked_metrics(rankings, meanings, group)
    return [_panel(ranked.filter(pl.col("metric") == one), meanings[one], entries) for one in metrics]


def ranked_metrics(rankings: pl.DataFrame, meanings: Meanings, group: str = OVERALL) -> list[str]:
    """Return the metrics of these panels, in their order."""
    return in_order(set(_ranked(rankings, group)["metric"]) & {OVERALL, *HEADLINE}, meanings)


def _ranked(rankings: pl.DataFrame, group: str) -> pl.DataFrame:
    return rankings.filter(pl.col("group") == group, pl.col("rank").is_not_null())


def _panel(rows: pl.DataFrame, meaning: Definition, entries: Sequence[Entry]) -> Panel:
    columns = rows.select("method", "config", "rank", "rank_low", "rank_high").rows()
    ranks: Ranks = {(method, config): (rank, low, high) for method, config, rank, low, high in columns}
    layout = Rows(entries)
    texts = {one: places(*ranks[one]) for one in ranks}
    listed = ", ".join(f"{entry.label} {texts[entry.competitor]}" for entry in entries if entry.competitor in ranks)
    overall = meaning.metric == OVERALL
    title = "rank overall" if overall else f"rank by {meaning.label}"
    note = f"by {meaning.label}" if overall else named(meaning)
    return Panel(
        WIDTH,
        layout.height,
        f"{title}: {listed}.",
        lambda sheet: _draw(sheet, layout, ranks, title, note),
    )


def _draw(sheet: Sheet, layout: Rows, ranks: Ranks, title: str, note: str) -> None:
    scale = layout.scale(1, max(2, len(ranks)))
    head(sheet, title, "1 is best", note)
    layout.guides(sheet, scale)
    for entry, y in layout:
        layout.write(sheet, entry, y, places(*ranks.get(entry.competitor, (None, None, None))))
        if entry.competitor not in ranks:
            continue
        rank, low, high = ranks[entry.competitor]
        if low is not None and high is not None:
            sheet.line((scale(low), y), (scale(high), y), entry.colour, 3)
        sheet.marks([(scale(rank), y)], entry.marker, 8, entry.colour)
    axis(sheet, scale, layout.bottom, [tick for tick in scale.ticks(24) if tick == int(tick)])
