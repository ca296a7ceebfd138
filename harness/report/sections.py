"""The sections of the page, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
from markupsafe import Markup

from harness.errors import printable
from harness.metrics import IN_SD, idle
from harness.report.answer import Answer, Note, answer, audit_note, idle_note, test_note, validation_note
from harness.report.audit import HEADLINE, audit_panels, headline_estimates, headline_meanings, strongest, verdicts
from harness.report.audit_table import audit_table
from harness.report.blocks import Behind, Picture, Section, Text, slug
from harness.report.causes import causes
from harness.report.cells import cell_metrics
from harness.report.challenge import challenge_sections
from harness.report.context import Context
from harness.report.costs import cost_sections
from harness.report.coverage import Coverage, coverage, coverage_note, farm_sentence
from harness.report.data import Cell
from harness.report.dmap import effect_panels
from harness.report.drawn import (
    auc_table,
    defined,
    effect_table,
    growth_table,
    mean_rank_table,
    roc_table,
    world_table,
)
from harness.report.farm import farm_notes
from harness.report.glossary import glossary
from harness.report.growth import growth_panels
from harness.report.likeness import likeness_sections
from harness.report.lines import MOST_LINES, accuracies, movers, reversals
from harness.report.meanings import undefined
from harness.report.nemenyi import CAPTION, headline_tests, mean_ranks, nemenyi_panels, refusals
from harness.report.numbers import several
from harness.report.probes import probe_sections
from harness.report.provenance import provenance
from harness.report.ranks import ranked_metrics, ranking_panels
from harness.report.roc import roc_panels
from harness.report.sequence import sequence_metrics, sequence_sections
from harness.report.statements import of_attacks, of_ranks, of_signals, of_values
from harness.report.synthesis import of_images
from harness.report.values import rank_tables, ranking_table
from harness.report.views import CURVES, LINES, REVERSED, SYNTHESIS, View
from harness.report.words import links
from harness.report.worlds import world_panels

SEEDS = "As above, for each cell by itself: a small dot is one seed here."
NO_AUDIT = "No audit was made. The only attack on this page is the population attack: passing it proves little."
AUDIT = (
    "Each mark is the AUC of the strongest attacker that was tried, the bar its 95 % interval; the dashed "
    "line is what guessing gives. Null O: against images that were never in; null R: against models that "
    "were retrained without them."
)
ROC = (
    "True-positive rate against false-positive rate of U-LiRA (level L2), both on logarithmic scales: the upper left "
    "corner is a perfect attack; on the dashed diagonal the attack guesses; the band is the 95 % jackknife interval. "
    "A line begins at the lowest rate at which one false positive is expected; rates below 0.001 lie on the edge."
)

EFFECTS = (
    "Each dot is one image at its effect size d: how much surer of it the releases are that had to forget it than "
    "those that never had it (null O), in standard deviations of phi, the log-odds of its label. Best at 0 (dashed); a "
    "negative d tells an image, too. Coloured dots are flagged (false discovery rate 5 % within a row), counted at the "
    "right. An effect within the shaded band is missed more than one time in five with this many shadows, and may be "
    "flagged all the same. Dots beyond the scale lie on its edge; of more than 300 to a row, the grey ones are thinned."
)
WORLDS = (
    "How phi, the log-odds of an image's label, is spread over the releases, for the images of largest, middle and "
    "smallest effect. Filled: the image was unlearned (U); thin line: never in (O); dashed: retrained without it (R). "
    "Where the filled shape lies on the others, nothing is left of the image; each shape has its shares on one scale."
)
GROWTH = (
    "AUC of U-LiRA (level L2) against the number of shadows that the attacker has, with 95 % intervals. Dashed: what "
    "the power curve expects if every image has the effect that all shadows together see. Within the region with "
    "dotted edges so many shadows cannot tell an AUC from 0.5 (power 80 %): what lies there is not shown to be safe."
)
SO_FAR = Markup("The study is not done. So far: ")
UTILITY = {"accuracy_test", "gap_to_retrain", "retention_deviation"}
"""An audit stands beside one of these or not at all: a model that answers nothing leaks nothing."""


def make_answer(context: Context, whole: View) -> Answer:
    """Return the answer in words, with that of the audit if there was one."""
    audited = audit_note(verdicts(context.attacks, context.roster))
    found = answer(context.data.rankings, context.roster, whole.found, context.meanings, audited)
    seeing = [entry for entry in context.roster if entry.method in context.data.sees_validation]
    warned = [Note("Careful", validation_note(seeing))] if seeing else []
    chosen = [entry for entry in context.roster if entry.method in context.data.chosen_on_test]
    warned += [Note("Careful", test_note(chosen))] if chosen else []
    still = idle(context.data.trials)
    unchanged = [entry for entry in context.roster if entry.competitor in still]
    warned += [Note("Careful", idle_note(unchanged))] if unchanged else []
    warned += [Note("Careful", Markup("{}").format(printable(caution))) for caution in context.data.cautions]
    whole_plan = _coverage(context)
    told = [] if whole_plan is None else [Note("Coverage", coverage_note(whole_plan, context.roster))]
    so_far = SO_FAR if whole_plan is not None and not whole_plan.final else ""
    return replace(found, lead=so_far + found.lead, notes=[*told, *found.notes, *warned])


def _coverage(context: Context) -> Coverage | None:
    return coverage(context.data.planned, context.data.units)


def make_sections(context: Context, whole: View) -> list[Section]:
    """Return all sections of the page; several cells get a section each, a single one needs none."""
    return [
        _ranking(context, whole),
        _ranks(context),
        *_trials(context, whole),
        *likeness_sections(context, whole.found, whole.basis),
        *probe_sections(context, whole.found, whole.basis),
        *cost_sections(context, whole.found, whole.basis),
        *sequence_sections(context),
        _audit(context),
        *challenge_sections(context),
        _failures(context),
        _glossary(context, whole),
        provenance(context.data.units, context.data.planned, context.roster),
    ]


def _trials(context: Context, whole: View) -> Iterator[Section]:
    if not context.cells:
        yield Section("Values", "values", ["No trial of this study has been evaluated."])
        return
    yield whole.tradeoff()
    yield whole.values()
    if len(context.cells) == 1:
        only = View(context, context.cells[0])
        yield only.curves()
        return
    views = [_of_cell(context, cell, number) for number, cell in enumerate(context.cells, 1)]
    yield Section("Cell by cell", "cells", _how_to_read(context), (), [_cell(view) for view in views])


def _how_to_read(context: Context) -> list[str]:
    """What is said once of the figures that every cell has."""
    data, traces = context.data, context.data.traces
    lines = [LINES] if 0 < len(movers(accuracies(data.epochs), context.roster)) <= MOST_LINES else []
    reversal = [] if reversals(traces).is_empty() else [REVERSED]
    return [SEEDS, CURVES, *lines, *reversal, *([] if of_images(traces).is_empty() else [SYNTHESIS])]


def _ranking(context: Context, whole: View) -> Section:
    if not whole.found:
        return Section("Ranking", "ranking", ["Nothing to rank: the study has no value yet."])
    headline, _ = context.metrics
    audits = headline_estimates(context.attacks) if UTILITY & set(headline) else {}
    table = ranking_table(context, {**whole.found, **audits}, [*headline, *audits], whole.basis)
    return Section("Ranking", "ranking", (), [table])


def _ranks(context: Context) -> Section:
    panels = ranking_panels(context.data.rankings, context.meanings, context.roster)
    if not panels:
        return Section("Ranks by metric", "ranks", ["No method has a rank."])
    caption = (
        "The mark is the rank, the bar its 95 % interval. Ties are in the table above: bars may overlap without one."
    )
    by_metric, by_group = rank_tables(context)
    metrics = ranked_metrics(context.data.rankings, context.meanings)
    rows = of_ranks(context.data.study, metrics)
    behind = Behind([by_metric], [*links("rank"), *defined(context, metrics)], rows)
    pictures = [context.picture(panels, caption, behind), *_nemenyi(context)]
    sentences = refusals(context.data.friedman, context.meanings)
    return Section("Ranks by metric", "ranks", sentences, [*pictures, *by_group])


def _nemenyi(context: Context) -> list[Picture]:
    tests = headline_tests(context.data.friedman, context.meanings)
    panels = nemenyi_panels(tests, context.meanings, context.roster)
    if not panels:
        return []
    ranks = mean_ranks(tests)
    rows = of_values(context.data.study, context.data.trials, ranks)
    behind = Behind([mean_rank_table(context, ranks)], [*links("mean rank"), *defined(context, list(ranks))], rows)
    return [context.picture(panels, CAPTION.format(blocks=tests[0].blocks), behind)]


def _of_cell(context: Context, cell: Cell, number: int) -> View:
    return View(context, cell, f"{slug(f'cell {number} ' + ' '.join(cell))}-")


def _cell(view: View) -> Section:
    assert view.cell is not None
    inner = [view.tradeoff(), view.values(), view.curves()]
    return Section(printable(" · ".join(view.cell)), view.prefix.removesuffix("-"), (), (), inner)


def _audit(context: Context) -> Section:
    attacks, whole_plan = context.attacks, _coverage(context)
    incomplete = whole_plan is not None and not whole_plan.farm.complete
    missing: list[Text] = [farm_sentence(whole_plan)] if whole_plan is not None and incomplete else []
    if attacks.is_empty():
        return Section("Audit", "audit", missing or [NO_AUDIT])
    note = audit_note(verdicts(attacks, context.roster))
    sentences = [*([note] if note else []), *farm_notes(attacks, context.roster), *missing]
    table = audit_table(attacks, context.meanings, context.roster)
    return Section("Audit", "audit", sentences, [*_audit_pictures(context), table])


def _audit_pictures(context: Context) -> list[Picture]:
    attacks, roster = context.attacks, context.roster
    examples, left_out = world_panels(context.worlds, context.effects, roster)
    missing = f" Left out: {', '.join(entry.label for entry in left_out)}." if left_out else ""
    signals = of_signals(attacks)
    pictures = []
    if panels := audit_panels(attacks, context.meanings, roster):
        rows = strongest(attacks.filter(pl.col("metric") == HEADLINE)).drop_nulls("value")
        given = of_attacks(context.data.study, HEADLINE, rows["level"])
        behind = Behind([auc_table(context, rows, HEADLINE)], defined(context, [HEADLINE]), given)
        pictures.append(context.picture(panels, AUDIT, behind))
    if panels := roc_panels(context.roc, attacks, roster):
        behind = Behind([roc_table(context)], links("ROC"), signals)
        pictures.append(context.picture(panels, ROC, behind, "pairs"))
    if panels := effect_panels(context.effects, attacks, roster):
        behind = Behind([effect_table(context)], links("effect size", "flagged", "phi"), signals)
        pictures.append(context.picture(panels, EFFECTS, behind, "pairs"))
    if examples:
        behind = Behind([world_table(context)], links("phi", "effect size"), signals)
        pictures.append(context.picture(examples, WORLDS + missing, behind, "pairs"))
    if panels := growth_panels(context.growth, roster):
        words = links("AUC by shadows", "expected AUC", "detectable AUC")
        pictures.append(context.picture(panels, GROWTH, Behind([growth_table(context)], words, signals), "pairs"))
    return pictures


def _failures(context: Context) -> Section:
    data = context.data
    table, more = causes(data.failures, data.units, data.trials, context.roster)
    if table is None:
        return Section("Failures", "failures", ["Nothing failed."])
    sentences = [f"{several(more, 'more row')} did not fit here."] if more else []
    return Section("Failures", "failures", sentences, [table])


def _glossary(context: Context, whole: View) -> Section:
    data = context.data
    used = {*whole.found, *data.rankings["metric"], *context.attacks["metric"], *context.challenge["metric"]}
    used |= {metric for cell in context.cells for metric in cell_metrics(context, cell)}
    used |= sequence_metrics(context)
    used |= {IN_SD} if data.spread["value"].is_not_null().any() else set()
    used |= headline_meanings(context.attacks, context.meanings).keys()
    left_out = {
        one for frame in (data.trials, data.rankings, data.attacks) for one in undefined(frame, context.meanings)
    }
    return glossary(used, context.meanings, sorted(left_out))
