"""What each number of the page means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from harness.errors import printable
from harness.report.blocks import Column, Group, Row, Section, Table, TableCell, slug
from harness.report.meanings import Meanings, better
from harness.report.numbers import tick
from harness.report.words import WORDS

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def glossary(metrics: Iterable[str], meanings: Meanings, left_out: Sequence[str]) -> Section:
    """Return the section that defines every number of the page; nobody defined the metrics `left_out`."""
    used = set(metrics)
    rows = [_row(meanings, metric) for metric in meanings if metric in used]
    columns = [
        Column("name", numeric=False),
        Column("what", numeric=False),
        Column("better", numeric=False),
        Column("reference", numeric=False),
        Column("unit", numeric=False),
        Column("source", numeric=False),
    ]
    sentences = []
    if left_out:
        listed = ", ".join(printable(one) for one in left_out)
        sentences.append(f"Not shown, because they have no definition: {listed}.")
    words = [Row([TableCell(name), TableCell(what)], f"def-{slug(name)}") for name, what in WORDS.items()]
    blocks = [Table("Numbers", columns, [Group(rows)])] if rows else []
    blocks.append(Table("Words", [Column("word", numeric=False), Column("what", numeric=False)], [Group(words)]))
    return Section("What each number means", "meanings", sentences, blocks)


def _row(meanings: Meanings, metric: str) -> Row:
    meaning = meanings[metric]
    fixed = meaning.reference_value
    reference = (
        meaning.reference
        if fixed is None or meaning.reference.startswith(tick(fixed))
        else (f"{tick(fixed)}: {meaning.reference}")
    )
    cells = (
        TableCell(printable(meaning.label), printable(metric)),
        TableCell(printable(meaning.what)),
        TableCell(better(meaning)),
        TableCell(printable(reference)),
        TableCell(printable(meaning.unit)),
        TableCell(_cited(printable(meaning.source))),
    )
    return Row(cells, f"def-{slug(metric)}")


def _cited(source: str) -> Markup:
    """Return a source with its arXiv numbers as links, the only ones that leave the page."""
    link = r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
    return Markup(_ARXIV.sub(link, str(escape(source))))
