"""The tables behind the figures: the numbers that were drawn, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.errors import printable
from harness.report.blocks import Column, Group, Row, Table, TableCell, slug
from harness.report.context import Context
from harness.report.curves import PARTS
from harness.report.data import PLACE
from harness.report.forest import Estimates
from harness.report.growth import GUESSING
from harness.report.lines import GAP, REVERSAL
from harness.report.numbers import bracket, decimals, fixed
from harness.report.roc import readable
from harness.report.roster import Entry
from harness.report.synthesis import KEPT, SEEN, means
from harness.report.values import metric_columns
from harness.report.words import word_column

MOST_EPOCHS, FEW_EPOCHS = 12, 4
"""Of longer curves so many epochs are in the table: the first, the last, and some between; few for one cell of many."""

FPRS = (0.001, 0.01, 0.1)
METHOD = Column("method", numeric=False)
_WORLDS = (("U", "unlearned (U)"), ("O", "never in (O)"), ("R", "retrained (R)"))


@dataclass(frozen=True)
class Number:
    """A column of numbers: what it is called in the frame, how it is headed, and the columns of its interval."""

    name: str
    head: Column
    low: str = ""
    high: str = ""


def frame_table(
    context: Context, caption: str, rows: pl.DataFrame, texts: Sequence[str], numbers: Sequence[Number]
) -> Table:
    """Return the rows of a frame with columns method and config, methods in the order of the page."""
    places = {one.name: decimals(rows[one.name]) for one in numbers}
    order = {entry.competitor: place for place, entry in enumerate(context.roster)}
    rows = rows.sort(*texts, maintain_order=True) if texts else rows
    found = [row for row in rows.iter_rows(named=True) if (row["method"], row["config"]) in order]
    found.sort(key=lambda row: order[row["method"], row["config"]])
    columns = [METHOD, *(Column(text, numeric=False) for text in texts), *(one.head for one in numbers)]
    lines = [_line(context.roster[row["method"], row["config"]], row, texts, numbers, places) for row in found]
    return Table(caption, columns, [Group(lines)])


def _line(
    entry: Entry, row: Mapping[str, Any], texts: Sequence[str], numbers: Sequence[Number], places: Mapping[str, int]
) -> Row:
    cells = [TableCell(entry.label), *(TableCell(printable(str(row[text]))) for text in texts)]
    for one in numbers:
        value, digits = row[one.name], places[one.name]
        note = bracket(row[one.low], row[one.high], digits) if one.low else ""
        text = str(value) if isinstance(value, int) else fixed(value, digits)
        cells.append(TableCell(text, note, value))
    return Row(cells, reference=entry.is_reference)


def mean_rank_table(context: Context, ranks: Mapping[str, Mapping[tuple[str, str], float]]) -> Table:
    """Return the mean ranks by metric and competitor over the blocks of a Friedman test."""
    columns = [
        Column(context.meanings[one].label, "mean rank", anchor="mean-rank", title="mean of the ranks over the blocks")
        for one in ranks
    ]
    entries = [entry for entry in context.roster if any(entry.competitor in own for own in ranks.values())]
    lines = []
    for entry in entries:
        known = [own.get(entry.competitor) for own in ranks.values()]
        cells = [TableCell(fixed(value, 2), value=value) for value in known]
        lines.append(Row([TableCell(entry.label), *cells], reference=entry.is_reference))
    return Table("Mean ranks", [METHOD, *columns], [Group(lines)])


def single_table(context: Context, found: Mapping[str, Estimates], dots: pl.DataFrame) -> Table:
    """Return what each small dot of a figure of values stands for: a seed, or of several cells the mean of one."""
    metrics = [metric for metric in found if metric in set(dots["metric"])]
    key = [name for name in dots.columns if name not in ("metric", "value")]
    texts = [name for name in key if name not in ("method", "config")]
    wide = dots.filter(pl.col("metric").is_in(metrics)).pivot("metric", index=key, values="value").sort(key)
    heads = metric_columns(metrics, context.meanings)
    numbers = [Number(metric, head) for metric, head in zip(metrics, heads, strict=True)]
    return frame_table(context, f"Every {' · '.join(texts)}", wide, texts, numbers)


def curve_table(context: Context, epochs: pl.DataFrame, most: int = MOST_EPOCHS) -> Table:
    """Return the mean accuracies by epoch, over the seeds."""
    rows = epochs.filter(pl.col("kind").is_in(["unlearn", "retrain"]))
    averages = rows.group_by("method", "config", "epoch").agg(pl.col(PARTS).mean()).sort("method", "config", "epoch")
    kept = _thinned(averages, most)
    left_out = f", {most} epochs of each method at most" if kept.height < averages.height else ""
    heads = [word_column(part, "accuracy by epoch") for part in PARTS]
    numbers = [Number(part, head) for part, head in zip(PARTS, heads, strict=True)]
    return frame_table(context, f"Accuracies, means over seeds{left_out}", kept, ["epoch"], numbers)


def synthesis_table(context: Context, traces: pl.DataFrame, most: int = MOST_EPOCHS) -> Table:
    """Return by epoch what the generated images showed and how many were kept, means over the seeds."""
    rows = _thinned(means(traces), most)
    numbers = [Number(KEPT, word_column("kept", "kept")), Number(SEEN, word_column("forgotten", "forgotten"))]
    return frame_table(context, "Generated images, means over seeds", rows, ["epoch"], numbers)


def line_table(context: Context, rows: pl.DataFrame, most: int = MOST_EPOCHS) -> Table:
    """Return by epoch what retain is ahead of forget, and the accuracy on val, means over the seeds.

    The other accuracies are in the table of the curves.
    """
    head = word_column("retain - forget", "retain - forget")
    numbers = [Number(GAP, head), Number("val", word_column("val", "accuracy by epoch"))]
    return frame_table(context, "Retain - forget, and val, means over seeds", _thinned(rows, most), ["epoch"], numbers)


def reversal_table(context: Context, rows: pl.DataFrame, most: int = MOST_EPOCHS) -> Table:
    """Return the reversal scale by epoch, means over the seeds."""
    numbers = [Number(REVERSAL, word_column("reversal scale", "reversal scale"))]
    return frame_table(context, "Reversal scale, means over seeds", _thinned(rows, most), ["epoch"], numbers)


def _thinned(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return at most so many epochs of each method: the first, the last, and some between."""
    last = pl.col("epoch").max().over("method", "config")
    every = (last / (most - 1)).ceil().clip(1).cast(pl.Int32)
    return rows.filter((pl.col("epoch") % every == 0) | (pl.col("epoch") == last))


def auc_table(context: Context, rows: pl.DataFrame, metric: str) -> Table:
    """Return the AUC of each method, place, pool and null, with what guessing gives."""
    (head,) = metric_columns([metric], context.meanings)
    numbers = [Number("value", head, "low", "high"), Number("null_floor", word_column("guessing", "guessing"))]
    return frame_table(context, "AUC of the strongest attacker", rows, [*PLACE, "pool", "null", "level"], numbers)


def roc_table(context: Context) -> Table:
    """Return the true-positive rates at some false-positive rates."""
    key = ["method", "config", *PLACE, "pool", "null"]
    rows = readable(context.roc, context.attacks)
    wide = rows.select(key).unique(maintain_order=True)
    for fpr in FPRS:
        own = rows.filter((pl.col("fpr") - fpr).abs() < 1e-6)
        names = {name: f"{name} {fpr}" for name in ("tpr", "low", "high")}
        wide = wide.join(own.select(*key, *names).rename(names), on=key, how="left", maintain_order="left")
    numbers = [
        Number(f"tpr {fpr}", word_column(f"TPR at FPR {fpr}", "ROC"), f"low {fpr}", f"high {fpr}") for fpr in FPRS
    ]
    return frame_table(context, "Points of the curves", wide, [*PLACE, "pool", "null"], numbers)


def effect_table(context: Context) -> Table:
    """Return how the effect sizes of each method and pool are spread, and how many are flagged."""
    key = ["method", "config", *PLACE, "pool"]
    d = pl.col("d")
    rows = (
        context.effects.filter(pl.col("null") == "O")
        .drop_nulls("d")
        .group_by(key)
        .agg(
            d.min().alias("least"),
            d.median().alias("median"),
            d.max().alias("most"),
            pl.col("flagged").fill_null(False).sum().cast(pl.Int64),
            pl.len().cast(pl.Int64).alias("examples"),
        )
        .sort(key)
    )
    heads = {"least": "smallest d", "median": "median d", "most": "largest d"}
    numbers = [Number(name, word_column(label, "effect size")) for name, label in heads.items()]
    numbers += [Number("flagged", word_column("flagged", "flagged")), Number("examples", Column("examples"))]
    return frame_table(context, "Effect sizes", rows, [*PLACE, "pool"], numbers)


def world_table(context: Context) -> Table:
    """Return mean and number of releases of each drawn example in each world."""
    key = ["method", "config", *PLACE, "pool", "example"]
    rows = context.worlds.drop_nulls("phi")
    own = [pl.col("phi").filter(pl.col("world") == world) for world, _ in _WORLDS]
    means = [phi.mean().alias(f"mean {world}") for phi, (world, _) in zip(own, _WORLDS, strict=True)]
    counts = [phi.len().cast(pl.Int64).alias(f"n {world}") for phi, (world, _) in zip(own, _WORLDS, strict=True)]
    wide = rows.group_by(key).agg(*means, *counts).sort(key)
    numbers = [Number(f"mean {world}", word_column(f"mean phi, {name}", "phi")) for world, name in _WORLDS]
    numbers += [Number(f"n {world}", word_column(f"releases, {world}", "phi")) for world, _ in _WORLDS]
    return frame_table(context, "Mean phi by world", wide, [*PLACE, "pool", "example"], numbers)


def growth_table(context: Context) -> Table:
    """Return the AUC by the number of shadows: found, expected, and the smallest that they can tell from guessing."""
    rows = context.growth.drop_nulls(["n", "value"]).filter(pl.col("n") > 0)
    rows = rows.sort(*PLACE, "pool", "null", "method", "config", "n")
    numbers = [
        Number("value", word_column("AUC", "AUC by shadows"), "low", "high"),
        Number("expected", word_column("expected", "expected AUC")),
        Number("detectable", word_column("detectable", "detectable AUC")),
    ]
    return frame_table(
        context, f"AUC by shadows, {GUESSING:g} is guessing", rows, [*PLACE, "pool", "null", "n"], numbers
    )


def defined(context: Context, metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Return anchors and names of defined metrics."""
    return [(slug(metric), context.meanings[metric].label) for metric in metrics if metric in context.meanings]
