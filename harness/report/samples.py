"""What shared generators make: a sheet of samples of each, and what the original takes them for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
from markupsafe import Markup

from harness.errors import printable
from harness.report.blocks import Column, Group, Row, Table, TableCell
from harness.report.data import SHEETS
from harness.report.numbers import fixed, several
from harness.report.roster import make_roster
from harness.report.sheet import Panel
from harness.report.synthesis import ANSWERS, CONFIDENCE, Traced, synthesis_panels, traced

SAMPLES = (
    "Samples of each GAN as it was at the end, and what the original takes them for. Line: its mean confidence in 512 "
    "samples, by epoch (a twentieth of the steps). Bars: the share of its answers by class in the last epoch; classes "
    "to forget are coloured. A GAN of a random forget set that makes one class only has lost the others."
)


@dataclass(frozen=True)
class Gan:
    """A generator: its sheet as a PNG file in base64, what it took to make it, and what was noted of it by epoch."""

    label: str
    images: int
    png: str
    status: str
    steps: int
    seconds: float
    noted: Traced

    @property
    def words(self) -> str:
        """What the sheet shows."""
        made = f"{several(self.steps, 'step')} in {fixed(self.seconds, 0)} s"
        return f"{self.images} {self.label}: {made}, {self.status}"


def gans(sheets: pl.DataFrame, traces: pl.DataFrame, forget_classes: tuple[int, ...]) -> list[Gan]:
    """Return the generators of one cell; `sheets` and `traces` are those of its artifacts."""
    last = pl.col("epoch") == pl.col("epoch").max().over("unit")
    shown = traces.filter((pl.col("name") != ANSWERS) | last)
    roster = make_roster(sheets)
    noted = {one.entry.competitor: one for one in traced(shown, roster, forget_classes)}
    found = []
    for row in sheets.select(SHEETS.names()).sort("name", "config").iter_rows(named=True):
        entry = roster[row["method"], row["config"]]
        alone = sheets.filter(pl.col("name") == row["name"]).height == 1
        entry = replace(entry, label=printable(row["name"]) if alone else f"{printable(row['name'])}, {entry.label}")
        own = noted.get(entry.competitor, Traced(entry, {}, [], forget_classes))
        about = (row["images"], row["png"], row["status"], row["steps"], row["work_seconds"])
        found.append(Gan(entry.label, *about, replace(own, entry=entry)))
    return found


def sheet(gan: Gan) -> Markup:
    """Return the sheet of a generator with what it took to make it."""
    template = '<div class="sheet"><img src="data:image/png;base64,{}" alt="{}"><small>{}</small></div>'
    return Markup(template).format(gan.png, gan.words, gan.words)


def answer_panels(found: Sequence[Gan]) -> list[Panel]:
    """Return a panel for each generator: confidence by epoch above, answers by class below."""
    return synthesis_panels([gan.noted for gan in found])


def sample_table(found: list[Gan], confidence: Column, answers: Column) -> Table:
    """Return confidence by epoch, and in the last epoch the share of the most frequent answer."""
    columns = [Column("GAN", numeric=False), Column("epoch"), confidence, answers]
    return Table("What the original takes the samples for", columns, [Group(list(_lines(found)))])


def _lines(found: list[Gan]) -> Iterator[Row]:
    for gan in found:
        line = gan.noted.lines.get(CONFIDENCE, [])
        for epoch, value in line:
            most = max(gan.noted.answers, default=0.0) if epoch == line[-1][0] else None
            numbers = [TableCell(str(int(epoch)), value=epoch), TableCell(fixed(value, 3), value=value)]
            yield Row([TableCell(gan.label), *numbers, TableCell("" if most is None else fixed(most, 3), value=most)])
