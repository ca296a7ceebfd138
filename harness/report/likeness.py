"""How alike each method's models and their retrains are: a table, the floor at its place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from harness.metrics import LIKENESS_METRICS, RETRAIN
from harness.report.blocks import Column, Group, Row, Section, Table, TableCell
from harness.report.context import Context
from harness.report.numbers import fixed
from harness.report.roster import Entry
from harness.report.values import Found, digits_of, metric_columns, number_cells

FIRST = "js_divergence_forget"
"""The table is in the order of this one."""
SHOWN = (
    *(FIRST, "js_divergence_test", "activation_distance_forget"),
    *("completeness_forget", "completeness_test", "churn_retain", "zrf_gap_forget", "layer_distance"),
    *("cka_forget", "cka_test"),
)
"""What the table shows; the others are in a folded one."""

FLOOR = "retrain: the floor"
READING = (
    "How alike a method's model and the retrain of its seed are, image by image and weight by weight. None of it is "
    "ranked: two models may be unlike and have both forgotten. In the order of the divergence on the forget set."
)
WITH_FLOOR = (
    "The row in between is the floor: a retrain held against that of the next seed (churn and ZRF are its own). More "
    "likeness than that cannot be asked for; a model may still have it, even one that has forgotten nothing, since it "
    "began with the weights that its own retrain began with. Each retrain is in two pairs, so that the interval of the "
    "floor is too narrow; with two seeds there is one pair, and none."
)
NO_FLOOR = "There is no floor: that is a retrain held against the retrain of another seed, and takes two seeds."
FEW_IMAGES = "CKA on {} is of {} images a feature: unrelated features would reach about {}, so read it by the floor."
ENOUGH = 10.0


def likeness_sections(context: Context, found: Found, basis: str) -> list[Section]:
    """Return the section, nothing where no trial was compared; `basis` says what the numbers are means of."""
    present = [metric for metric in LIKENESS_METRICS if metric in found and metric in context.meanings]
    if not present:
        return []
    shown = [metric for metric in SHOWN if metric in present]
    others = [metric for metric in present if metric not in shown]
    has_floor = any(method == RETRAIN for metric in present for method, _ in found[metric])
    sentences = [READING, WITH_FLOOR if has_floor else NO_FLOOR, *_few_images(found)]
    tables = [_table(context, found, shown, f"Likeness to retrain: {basis}")] if shown else []
    tables += [_table(context, found, others, f"Likeness in other numbers: {basis}", folded=True)] if others else []
    return [Section("Likeness to retrain", "likeness", sentences, tables)]


def _few_images(found: Found) -> Iterable[str]:
    for part in ("forget", "test"):
        ratios = [one.value for one in found.get(f"images_per_feature_{part}", {}).values()]
        if ratios and min(ratios) < ENOUGH:
            yield FEW_IMAGES.format(part, fixed(min(ratios), 1), fixed(min(1.0, 1 / min(ratios)), 2))


def _table(context: Context, found: Found, metrics: list[str], caption: str, folded: bool = False) -> Table:
    digits = digits_of(found, metrics)
    present = [one for one in context.roster if any(one.competitor in found[metric] for metric in metrics)]

    def row(entry: Entry) -> Row:
        named = replace(entry, label=FLOOR) if entry.method == RETRAIN else entry
        return Row([TableCell(context.name(named)), *number_cells(entry, found, digits)], reference=entry.is_reference)

    def place(entry: Entry) -> float:
        own = found.get(FIRST, {}).get(entry.competitor)
        return math.inf if own is None else own.value

    groups = []
    for label, is_failed in (("", False), ("failed", True)):
        entries = sorted((one for one in present if (one.status == "failed") == is_failed), key=place)
        groups += [Group([row(entry) for entry in entries], label, muted=is_failed)] if entries else []
    return Table(
        caption, [Column("method", numeric=False), *metric_columns(metrics, context.meanings)], groups, 0, folded
    )
