"""What all sections of one page share: meanings, names with their marks, and the inliner of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from markupsafe import Markup

from harness.metrics.challenge import of_farm, of_trials
from harness.ranking import OVERALL, merge_searches
from harness.report.audit import defined, headline_meanings
from harness.report.blocks import Behind, Picture
from harness.report.data import Cell, ReportData, cells_of
from harness.report.meanings import Meanings, read_meanings, shown
from harness.report.palette import RULE
from harness.report.roster import Competitor, Entry, Roster, make_roster
from harness.report.samples import Gan, answer_panels, sheet
from harness.report.scales import Scale
from harness.report.sheet import Panel, Sheet, compose
from harness.report.svg import Inliner

STRIP, BADGE = 76.0, 14.0


@dataclass(frozen=True, eq=False)
class Context:
    """The data of a page with what is derived from them once."""

    data: ReportData
    inliner: Inliner

    @cached_property
    def meanings(self) -> Meanings:
        """The definitions by metric."""
        meanings = read_meanings(self.data.definitions)
        return {**meanings, **headline_meanings(self.data.attacks, meanings)}

    @cached_property
    def attacks(self) -> pl.DataFrame:
        """The defined results of the audit."""
        return defined(merge_searches(of_farm(self.data.attacks)), self.meanings)

    @cached_property
    def challenge(self) -> pl.DataFrame:
        """The defined rows of the challenge's score, which speaks of trials."""
        return defined(merge_searches(of_trials(self.data.attacks)), self.meanings)

    @cached_property
    def roc(self) -> pl.DataFrame:
        """The curves of the audit."""
        return merge_searches(self.data.roc)

    @cached_property
    def effects(self) -> pl.DataFrame:
        """The effect of every example that was audited."""
        return merge_searches(self.data.effects)

    @cached_property
    def worlds(self) -> pl.DataFrame:
        """The signal of the chosen examples."""
        return merge_searches(self.data.worlds)

    @cached_property
    def growth(self) -> pl.DataFrame:
        """The audit by the number of shadows."""
        return merge_searches(self.data.growth)

    @cached_property
    def roster(self) -> Roster:
        """Everybody in the study."""
        planned = self.data.planned.filter(pl.col("kind") == "unlearn")
        return make_roster(self.data.rankings, self.data.trials, self.attacks, self.challenge, planned)

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the study."""
        return cells_of(self.data.trials)

    @cached_property
    def metrics(self) -> tuple[list[str], list[str]]:
        """The headline metrics and the others."""
        return shown(self.data.trials, self.meanings)

    def picture(self, panels: Sequence[Panel], caption: str, behind: Behind, kind: str = "panels") -> Picture:
        """Return panels as a picture of the page, with what is behind them."""
        return Picture([self._drawn(panel) for panel in panels], caption, behind, kind)

    def sheets(self, found: Sequence[Gan], caption: str, behind: Behind) -> Picture:
        """Return the sheet of each generator beside what the original takes its samples for."""
        drawn = zip(found, answer_panels(found), strict=True)
        panels = [one for gan, panel in drawn for one in (sheet(gan), self._drawn(panel))]
        return Picture(panels, caption, behind, "small")

    def name(self, entry: Entry) -> Markup:
        """Return a method's name after its mark."""
        # Long names have underscores and may break behind them.
        parts = Markup("_<wbr>").join(entry.label.split("_"))
        return Markup('<span class="name">{}<span>{}</span></span>').format(self._badges[entry.competitor], parts)

    def strip(self, entry: Entry) -> Markup:
        """Return a strip of all places with the interval and the place of one method."""
        own = self._overall.get(entry.competitor)
        if own is None or own[0] is None:
            return Markup("")
        panel = Panel(STRIP, BADGE, "", lambda sheet: _draw_strip(sheet, own, len(self._overall), entry))
        return Markup('<span class="strip">{}</span>').format(self._drawn(panel))

    def _drawn(self, panel: Panel) -> Markup:
        return self.inliner.inline(compose([panel]), panel.words)

    @cached_property
    def _badges(self) -> dict[Competitor, Markup]:
        return {entry.competitor: self._badge(entry) for entry in self.roster}

    def _badge(self, entry: Entry) -> Markup:
        middle = (BADGE / 2, BADGE / 2)
        return self._drawn(Panel(BADGE, BADGE, "", lambda sheet: sheet.marks([middle], entry.marker, 9, entry.colour)))

    @cached_property
    def _overall(self) -> dict[Competitor, tuple[float, float | None, float | None]]:
        own = self.data.rankings.filter(
            pl.col("group") == OVERALL, pl.col("metric") == OVERALL, pl.col("rank").is_not_null()
        )
        columns = ("method", "config", "rank", "rank_low", "rank_high")
        return {(method, config): (rank, low, high) for method, config, rank, low, high in own.select(columns).rows()}


def _draw_strip(sheet: Sheet, ranks: tuple[float, float | None, float | None], count: int, entry: Entry) -> None:
    rank, low, high = ranks
    scale, y = Scale(1, max(2, count), 6, STRIP - 6), BADGE / 2
    sheet.line((scale.start, y), (scale.end, y), RULE.light)
    if low is not None and high is not None:
        sheet.line((scale(low), y), (scale(high), y), entry.colour, 3)
    sheet.marks([(scale(rank), y)], "o", 7, entry.colour)
