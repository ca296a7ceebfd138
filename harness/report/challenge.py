"""The score of the NeurIPS 2023 challenge: a table for each cell, the references below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import printable
from harness.metrics.challenge import SLOWEST, Score, scores
from harness.report.blocks import Column, Group, Row, Section, Table, TableCell, slug
from harness.report.context import Context
from harness.report.meanings import Meanings, arrow, sentence
from harness.report.numbers import NONE, bracket, decimals, fixed

READING = (
    "F says how well unlearned models can be told from retrained ones by what they say of the forget set. F = 1 cannot "
    "be reached: one half of the retrains against the other scores F_null{ceiling}, and so would exact unlearning. "
    "Read F / F_null, whose best is about 1."
)
SCORE = (
    f"The final score is F times how much of retrain's accuracy on retain and on test is kept; what takes more than "
    f"{SLOWEST:g} of the time of a retrain is rejected. Few models separate gross failures alone: scores of different "
    "numbers of models are not comparable."
)
METRICS = ("forgetting_quality", "forgetting_ratio", "challenge_score")

Numbers = tuple[float | None, float | None, float | None]


def challenge_sections(context: Context) -> list[Section]:
    """Return the section of the challenge's score, nothing where it was not measured."""
    found = scores(context.challenge)
    if not found or any(metric not in context.meanings for metric in METRICS):
        return []
    tables = [_table(context, cell, own, len(found) > 1) for cell, own in found.items()]
    return [Section("Challenge score", "challenge", [_reading(found), SCORE], tables)]


def _reading(found: Mapping[tuple[str, ...], Sequence[Score]]) -> str:
    nulls = [one.null for own in found.values() for one in own if one.method == "retrain" and one.null is not None]
    digits = decimals(nulls)
    ends = [fixed(one, digits) for one in (min(nulls), max(nulls))] if nulls else []
    ceiling = f", here {' to '.join(dict.fromkeys(ends))}" if ends else ""
    return READING.format(ceiling=ceiling)


def _table(context: Context, cell: tuple[str, ...], found: Sequence[Score], named: bool) -> Table:
    digits = {
        "F": decimals([n for one in found for n in (one.forgetting[0], one.null)]),
        "ratio": decimals([one.ratio[0] for one in found]),
        "time": decimals([one.time for one in found]),
        "score": decimals([one.score[0] for one in found]),
    }
    methods = [_row(context, one, digits) for one in found if not one.is_reference]
    references = [_row(context, one, digits) for one in found if one.is_reference]
    groups = [Group(methods), Group(references, "references")]
    caption = "Challenge score" + (f": {printable(' · '.join(cell))}" if named else "")
    return Table(caption, _columns(context.meanings), [group for group in groups if group.rows])


def _columns(meanings: Meanings) -> list[Column]:
    quality, ratio, score = (_column(meanings, metric) for metric in METRICS)
    null = Column("F_null", "half the models", quality.title, quality.anchor)
    time = [_column(meanings, "time_ratio")] if "time_ratio" in meanings else [Column("time / retrain")]
    models = Column("N", "models a side", "how many unlearned models F holds against as many retrained ones")
    return [Column("method", numeric=False), quality, null, ratio, *time, score, models, Column("note", numeric=False)]


def _column(meanings: Meanings, metric: str) -> Column:
    meaning = meanings[metric]
    return Column(meaning.label, f"{meaning.unit} {arrow(meaning)}", sentence(meaning), slug(metric))


def _row(context: Context, score: Score, digits: Mapping[str, int]) -> Row:
    final = TableCell("rejected") if score.rejected else _cell(score.score, digits["score"])
    cells = [
        TableCell(context.name(context.roster[score.method, score.config])),
        _cell(score.forgetting, digits["F"]),
        _cell((score.null, None, None), digits["F"]),
        _cell(score.ratio, digits["ratio"]),
        _cell((score.time, None, None), digits["time"]),
        final,
        TableCell(str(score.models), f"{score.null_models} for F_null", score.models),
        TableCell(printable("; ".join(score.remarks))),
    ]
    return Row(cells, reference=score.is_reference)


def _cell(numbers: Numbers, places: int) -> TableCell:
    value, low, high = numbers
    return TableCell(NONE) if value is None else TableCell(fixed(value, places), bracket(low, high, places), value)
