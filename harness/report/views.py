"""The sections that look at some trials: all of them, or those of one cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from harness.metrics import CELL, LIKENESS_METRICS, ORIGINAL
from harness.ranking import OVERALL
from harness.report.blocks import Behind, Picture, Section, Table
from harness.report.cells import cell_metrics, cell_table
from harness.report.context import Context
from harness.report.costs import COMPOSITES, COSTS
from harness.report.curves import curve_panels, has_curves
from harness.report.data import Cell, in_cell
from harness.report.drawn import (
    FEW_EPOCHS,
    MOST_EPOCHS,
    curve_table,
    defined,
    line_table,
    reversal_table,
    single_table,
    synthesis_table,
)
from harness.report.forest import LEFT, RIGHT, estimates, forest_panel
from harness.report.lines import (
    ACCURACIES,
    MOST_LINES,
    REVERSAL,
    accuracies,
    ended,
    line_panel,
    movers,
    reversals,
)
from harness.report.noise import noise_table
from harness.report.numbers import several
from harness.report.probes import PROBES
from harness.report.samples import SAMPLES, gans, sample_table
from harness.report.statements import of_epochs, of_sheets, of_traces, of_values
from harness.report.summary import dots, prefer, single, summarise
from harness.report.synthesis import ANSWERS, KEPT, SEEN, synthesis_panels, traced
from harness.report.tradeoff import AXES, MOST_TOLD, TIME, can_draw, out_of_sight, tradeoff_panel, untold
from harness.report.values import Found, value_table
from harness.report.words import links, word_column

DOTS = "The large mark is the mean, the bar its 95 % interval, and each small dot below it is one {}."
GOAL = "Retrain is the goal: at the left as useful, at the top as private. Lines are 95 % intervals, cut at the frame."
TIMED = "The area of a mark is the time relative to retrain, given behind the name too if there is room."
UNTIMED = "Run time was not measured, so all marks have one size."
GREY = "Grey methods failed in some trial of the study and do not stretch the scale."
CURVES = (
    "Each thin line is one seed, the thick one their mean. Forget is in the method's colour, retain in the "
    "text's, test in grey; dashed lines are the levels at which retrain ended, measured on the same images. "
    "The scale is stretched towards 1 (square root of the error)."
)
SYNTHESIS = (
    "What data-free methods generate: the original's mean probability of the classes to forget before any filter (the "
    "method's colour), and the share of images that the filter lets through (grey). Over-filtering is a coloured line "
    "that stays up while the grey one falls. Below: the share of the original's answers by class, over all epochs; "
    "classes to forget are coloured."
)
LINES = (
    "All methods in one picture, means over seeds, each to its last epoch: the accuracy on forget, on retain, how far "
    "the second is ahead of the first, and the accuracy on val. Best is where retrain ended (dashed), measured on the "
    "same images: the lowest forget accuracy is not the goal."
)
REVERSED = (
    "What the loss on forget is multiplied with in each epoch, of methods that reverse its gradient: the further below "
    "0, the harder a step climbs. Retrain (dashed) reverses nothing."
)
TOO_MANY = "{} methods have curves: too many for one picture with a line each, which has {} at most."
LEFT_OUT = "Left out, since they failed: {}."
LINE = "The dashed line is retrain, the band its interval."
EDGE = f"Methods that failed do not stretch the scale: {LEFT} and {RIGHT} mark those beyond it."


@dataclass(frozen=True, eq=False)
class View:
    """Some trials of the study: all, or those of one cell.

    With a `prefix` it is one of several: the prefix keeps its anchors apart, and how to read it is said
    elsewhere.
    """

    context: Context
    cell: Cell | None = None
    prefix: str = ""

    @cached_property
    def trials(self) -> pl.DataFrame:
        """The trials in view."""
        trials = self.context.data.trials
        return trials if self.cell is None else in_cell(trials, self.cell)

    @cached_property
    def found(self) -> Found:
        """All numbers in view; those that the ranking reports are the ranking's own."""
        headline, others = self.context.metrics
        values = summarise(self.trials, [*headline, *others])
        if self.cell is None:
            values = prefer(values, self.context.data.rankings.filter(pl.col("group") == OVERALL))
        return estimates(values, dots(self.trials))

    @property
    def _only(self) -> Cell | None:
        """The cell in view, also where it is the only one of the study; None if there are several."""
        cells = self.context.cells if self.cell is None else [self.cell]
        return cells[0] if len(cells) == 1 else None

    @property
    def basis(self) -> str:
        """What the numbers in view are means of."""
        cells, seeds = self.trials.select(CELL).n_unique(), self.trials["seed"].n_unique()
        over = several(seeds, "seed") if cells == 1 else f"{several(cells, 'cell')} with {several(seeds, 'seed')}"
        return f"mean over {over}" + (", 95 % interval in brackets" if seeds > 1 else ", so without intervals")

    def tradeoff(self) -> Section:
        """Privacy against usefulness against time."""
        context, title = self.context, "Privacy, usefulness, time"
        if not can_draw(self.found, context.meanings, context.roster):
            missing = "Nothing to draw: no method has both a retention deviation and a population attack."
            return Section(title, f"{self.prefix}tradeoff", [missing])
        sentences = [] if self.prefix else self._how_to_read_tradeoff()
        if hidden := [entry.label for entry in out_of_sight(self.found, context.roster)]:
            sentences.append(f"Beyond the scale: {', '.join(hidden)}.")
        if nameless := untold(self.found, context.roster):
            sentences.append(
                f"The first {MOST_TOLD} methods have their names and intervals, {nameless} more are marks."
            )
        panel = tradeoff_panel(self.found, context.meanings, context.roster)
        drawn = [metric for metric in AXES if metric in self.found and metric in context.meanings]
        behind = self._behind([self._table(drawn, f"What is drawn: {self.basis}", folded=False)], drawn)
        picture = context.picture([panel], " ".join(sentences), behind, "single")
        return Section(title, f"{self.prefix}tradeoff", (), [picture])

    def values(self) -> Section:
        """Every headline number of every method, with every seed."""
        context, (headline, others) = self.context, self.context.metrics
        drawn = [metric for metric in headline if metric in self.found]
        if not drawn:
            return Section("Values and seeds", f"{self.prefix}values", ["No trial has a value."])
        panels = [forest_panel(self.found[one], context.meanings[one], context.roster) for one in drawn]
        one = "cell" if self.trials.select(CELL).n_unique() > 1 else "seed"
        parts = [DOTS.format(one), LINE] + [EDGE] * bool(context.roster.of_status("failed"))
        found = {metric: self.found[metric] for metric in drawn}
        behind = self._behind([single_table(context, found, self._dots(drawn))], drawn)
        blocks = [context.picture(panels, "" if self.prefix else " ".join(parts), behind)]
        tables = [] if self.cell is None else [self._table(drawn, f"Values: {self.basis}", folded=False)]
        paper = None if self._only is None else cell_table(context, self._only)
        tables += [] if paper is None else [paper]
        said = [] if self._only is None else cell_metrics(context, self._only)
        if self.cell is None:  # these have sections of their own
            said = [*said, *LIKENESS_METRICS, *PROBES, *COSTS, *COMPOSITES]
        rest = [metric for metric in others if metric in self.found and metric not in said]
        tables += [self._table(rest, f"The other numbers: {self.basis}", folded=True)] if rest else []
        noise = None if self._only is None else noise_table(context, self._only)
        tables += [] if noise is None else [noise]
        return Section("Values and seeds", f"{self.prefix}values", (), [*blocks, *tables])

    def curves(self) -> Section:
        """Accuracy by epoch; makes sense for one cell only."""
        context = self.context
        assert self.cell is not None
        epochs = in_cell(context.data.epochs, self.cell)
        panels = curve_panels(epochs, context.roster)
        anchor, title = f"{self.prefix}curves", "Accuracy while unlearning"
        if not panels:
            return Section(title, anchor, ["No curves: no epoch of these trials was recorded."])
        known = has_curves(epochs)
        ran = context.roster.among(self.trials)
        absent = [one.label for one in ran if one.competitor not in known and one.method != ORIGINAL]
        sentences = [] if self.prefix else [CURVES]
        if absent:
            sentences.append(f"No curve was recorded for {', '.join(absent)}.")
        if (many := len(movers(accuracies(epochs), context.roster))) > MOST_LINES:
            sentences.append(TOO_MANY.format(many, MOST_LINES))
        rows = of_epochs(context.data.study, self.trials)
        behind = Behind([curve_table(context, epochs, self._most_epochs)], links("accuracy by epoch"), rows)
        drawn = [context.picture(panels, " ".join(sentences), behind, "small"), *self._lines(epochs)]
        return Section(title, anchor, (), [*drawn, *self._reversal(), *self._synthesis(), *self._samples()])

    @property
    def _most_epochs(self) -> int:
        return FEW_EPOCHS if self.prefix else MOST_EPOCHS

    def _lines(self, epochs: pl.DataFrame) -> list[Picture]:
        """The accuracies and what retain is ahead of forget: all methods in one picture, if there are not too many."""
        context, rows = self.context, accuracies(epochs)
        drawn = movers(rows, context.roster)
        if len(drawn) > MOST_LINES:
            return []
        panels = [
            panel
            for column, title in ACCURACIES.items()
            for panel in line_panel(rows, column, title, context.roster, ended(rows, column))
        ]
        sentences = [*([] if self.prefix else [LINES]), *self._left_out(rows)]
        behind = Behind(
            [line_table(context, rows, self._most_epochs)],
            links("retain - forget", "accuracy by epoch", "retrain"),
            of_epochs(context.data.study, self.trials),
        )
        return [context.picture(panels, " ".join(sentences), behind, "pairs")] if panels else []

    def _reversal(self) -> list[Picture]:
        """The scale of gradient reversal, if some method noted it."""
        context, cell = self.context, self.cell
        assert cell is not None
        rows = reversals(in_cell(context.data.traces, cell))
        if not 0 < len(movers(rows, context.roster)) <= MOST_LINES:
            return []
        panels = line_panel(rows, REVERSAL, "reversal scale", context.roster, 0.0)
        given = of_traces(context.data.study, self.trials, [REVERSAL])
        behind = Behind([reversal_table(context, rows, self._most_epochs)], links("reversal scale"), given)
        sentences = [*([] if self.prefix else [REVERSED]), *self._left_out(rows)]
        return [context.picture(panels, " ".join(sentences), behind, "pairs")]

    def _left_out(self, rows: pl.DataFrame) -> list[str]:
        failed = [entry.label for entry in self.context.roster.among(rows) if entry.status == "failed"]
        return [LEFT_OUT.format(", ".join(failed))] if failed else []

    def _synthesis(self) -> list[Picture]:
        """What data-free methods generate, if there are any."""
        context, cell = self.context, self.cell
        assert cell is not None
        traces = in_cell(context.data.traces, cell)
        found = traced(traces, context.roster, context.data.forget_classes.get(cell[1], ()))
        if not found:
            return []
        rows = of_traces(context.data.study, self.trials, [KEPT, SEEN, ANSWERS])
        behind = Behind([synthesis_table(context, traces, self._most_epochs)], links("kept", "forgotten"), rows)
        return [context.picture(synthesis_panels(found), "" if self.prefix else SYNTHESIS, behind, "small")]

    def _samples(self) -> list[Picture]:
        """What shared generators make, if there are any."""
        context, cell = self.context, self.cell
        assert cell is not None
        data = context.data
        sheets, traces = in_cell(data.sheets, cell), in_cell(data.artifact_traces, cell)
        found = gans(sheets, traces, data.forget_classes.get(cell[1], ()))
        if not found:
            return []
        columns = word_column("confidence", "confidence"), word_column("largest share", "answers by class")
        words = links("confidence", "answers by class")
        behind = Behind([sample_table(found, *columns)], words, of_sheets(sheets["unit"].to_list()))
        return [context.sheets(found, "" if self.prefix else SAMPLES, behind)]

    def _behind(self, tables: list[Table], metrics: list[str]) -> Behind:
        context = self.context
        rows = of_values(context.data.study, self.trials, metrics)
        return Behind(tables, [*defined(context, metrics), *links("interval")], rows)

    def _dots(self, metrics: list[str]) -> pl.DataFrame:
        return single(self.trials).filter(pl.col("metric").is_in(metrics))

    def _how_to_read_tradeoff(self) -> list[str]:
        failed = self.context.roster.of_status("failed")
        return [GOAL, TIMED if TIME in self.found else UNTIMED, *([GREY] if failed else [])]

    def _table(self, metrics: list[str], caption: str, folded: bool) -> Table:
        return value_table(self.context, self.found, metrics, caption, folded)
