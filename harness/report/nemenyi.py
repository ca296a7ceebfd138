"""Mean ranks with Nemenyi's critical difference, one panel per headline metric: ours, beside the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import printable
from harness.metrics import Definition
from harness.ranking import OVERALL, Friedman
from harness.report.meanings import Meanings
from harness.report.numbers import fixed
from harness.report.roster import Competitor, Roster
from harness.report.rows import WIDTH, Rows, axis, head
from harness.report.sheet import Panel, Sheet

METRICS = ("retention_deviation", "gap_to_retrain", "indiscernibility_val", "indiscernibility_test")
"""The headline metrics: of the first two the study has one, and of the others the page takes the first."""

CAPTION = (
    "Friedman's test and Nemenyi's critical difference (CD) at 5 %, ours: the paper has no test. The mark is the mean "
    "of a method's ranks over {blocks}, the bar as long as the CD around it: methods whose bars do not overlap differ. "
    "It looks at ranks alone and is adjusted for all pairs, so it tells fewer methods apart than the intervals above."
)


def headline_tests(tests: Sequence[Friedman], meanings: Meanings) -> list[Friedman]:
    """Return the tests over all cells of the two headline metrics, those that could be made."""
    whole = {test.metric: test for test in tests if test.group == OVERALL and test.metric in meanings}
    made = [whole[metric] for metric in METRICS if metric in whole and not whole[metric].reason]
    return [
        *[test for test in made if test.metric in METRICS[:2]][:1],
        *[t for t in made if t.metric in METRICS[2:]][:1],
    ]


def refusals(tests: Sequence[Friedman], meanings: Meanings) -> list[str]:
    """Return why headline metrics have no test, a sentence each."""
    refused = [test for test in tests if test.group == OVERALL and test.reason and test.metric in METRICS]
    return [
        f"No Friedman test by {printable(meanings[test.metric].label)}: {test.reason}."
        for test in refused
        if test.metric in meanings
    ]


def mean_ranks(tests: Sequence[Friedman]) -> dict[str, dict[Competitor, float]]:
    """Return the mean rank of each competitor by metric."""
    return {test.metric: dict(zip(test.methods, test.mean_ranks, strict=True)) for test in tests}


def nemenyi_panels(tests: Sequence[Friedman], meanings: Meanings, roster: Roster) -> list[Panel]:
    """Return one panel for each test, methods from the best mean rank down."""
    known = {entry.competitor for entry in roster}
    drawn = [test for test in tests if known.issuperset(test.methods)]
    return [_panel(test, meanings[test.metric], roster) for test in drawn]


def _panel(test: Friedman, meaning: Definition, roster: Roster) -> Panel:
    layout = Rows([roster[one] for one in test.methods])
    means = mean_ranks([test])[test.metric]
    difference = test.critical_difference or 0.0
    title = f"mean rank by {meaning.label}"
    note = f"Friedman p {_p_value(test.f_p)} over {test.n} {test.blocks}"
    listed = ", ".join(f"{entry.label} {fixed(means[entry.competitor], 2)}" for entry in layout.entries)
    words = f"{title}, critical difference {fixed(difference, 2)}, {note}: {listed}."
    return Panel(WIDTH, layout.height, words, lambda sheet: _draw(sheet, layout, means, difference, title, note))


def _p_value(p: float | None) -> str:
    return "unknown" if p is None else "< 0.0001" if p < 0.0001 else f"= {p:.2g}"


def _draw(sheet: Sheet, layout: Rows, means: dict[Competitor, float], difference: float, title: str, note: str) -> None:
    scale = layout.scale(1, max(2, len(means)))
    head(sheet, title, f"CD {fixed(difference, 2)}", note)
    layout.guides(sheet, scale)
    for entry, y in layout:
        mean = means[entry.competitor]
        layout.write(sheet, entry, y, fixed(mean, 2))
        low, high = scale.cut(mean - difference / 2), scale.cut(mean + difference / 2)
        sheet.line((scale(low), y), (scale(high), y), entry.colour, 3)
        sheet.marks([(scale(mean), y)], entry.marker, 8, entry.colour)
    axis(sheet, scale, layout.bottom, [tick for tick in scale.ticks(24) if tick == int(tick)])
