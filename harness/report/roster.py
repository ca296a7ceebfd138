"""Who is in the study: each competitor's label, place, colour and marker, the same everywhere on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from harness.errors import printable
from harness.labels import labels
from harness.ranking import OVERALL, REFERENCES, merge_searches
from harness.report.palette import INK, METHODS

Competitor = tuple[str, str]
"""Method and config."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Entry:
    """A competitor as the report shows it.

    `label` is the method, with what is its own of its config if the method is there with several. `status` is that of
    the ranking, or `missing` where it has none.
    """

    method: str
    config: str
    label: str
    status: str
    colour: str
    marker: str

    @property
    def competitor(self) -> Competitor:
        """The key in the frames."""
        return self.method, self.config

    @property
    def is_reference(self) -> bool:
        """Whether this is retrain or original: valued, never ranked."""
        return self.method in REFERENCES


@dataclass(frozen=True)
class Roster:
    """All competitors, best first: ranked, without value, failed, then the references."""

    entries: tuple[Entry, ...]

    @cached_property
    def _by_competitor(self) -> dict[Competitor, Entry]:
        return {entry.competitor: entry for entry in self.entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __getitem__(self, competitor: Competitor) -> Entry:
        return self._by_competitor[competitor]

    def of_status(self, *status: str) -> list[Entry]:
        """Return the entries with one of these statuses, in order."""
        return [entry for entry in self.entries if entry.status in status]

    def label(self, method: str, config: str) -> str:
        """Return the label of a competitor, also of one that is not in the roster."""
        entry = self._by_competitor.get((method, config))
        return entry.label if entry else printable(method)

    def among(self, frame: pl.DataFrame) -> list[Entry]:
        """Return the entries that have a row in the frame, in order."""
        present = set(competitors(frame))
        return [entry for entry in self.entries if entry.competitor in present]


def make_roster(*frames: pl.DataFrame) -> Roster:
    """Return the roster of frames with columns method and config, in the order of the ranking among them.

    Colour and marker follow the alphabet and not the rank, so that they stay when results are added.
    """
    present = sorted({one for frame in frames for one in competitors(frame) if one[0]})
    status = {one: "reference" if one[0] in REFERENCES else "missing" for one in present}
    ranking = next((frame for frame in frames if "rank" in frame.columns), None)
    order: dict[Competitor, float] = {}
    if ranking is not None:
        rows = ranking.filter(pl.col("group") == OVERALL, pl.col("metric") == OVERALL)
        status |= {(r["method"], r["config"]): r["status"] for r in rows.iter_rows(named=True)}
        order = {(r["method"], r["config"]): r["rank"] for r in rows.iter_rows(named=True) if r["rank"]}
    methods = [one for one in present if one[0] not in REFERENCES]
    looks = {one: _look(place) for place, one in enumerate(methods)}
    names = labels(present)
    entries = (
        Entry(*one, printable(names[one]), status[one], *looks.get(one, _reference_look(one[0]))) for one in present
    )
    return Roster(tuple(sorted(entries, key=lambda entry: _place(entry, order))))


def competitors(frame: pl.DataFrame) -> list[Competitor]:
    """Return the competitors of a frame, sorted."""
    rows = merge_searches(frame).select("method", "config").drop_nulls().unique().sort("method", "config")
    return [(method, config) for method, config in rows.rows()]


def _look(place: int) -> tuple[str, str]:
    """Return colour and marker; no two of the first 49 places have both in common."""
    turn = place // len(METHODS)
    return METHODS[place % len(METHODS)].light, MARKERS[(place + turn) % len(MARKERS)]


def _reference_look(method: str) -> tuple[str, str]:
    return INK.light, "d" if method == REFERENCES[0] else "*"


def _place(entry: Entry, order: Mapping[Competitor, float]) -> tuple[int, float, str, str]:
    stage = {"ranked": 0, "missing": 1, "failed": 2, "reference": 3}.get(entry.status, 1)
    if entry.is_reference:
        stage = 3 + REFERENCES.index(entry.method)
    return stage, order.get(entry.competitor, 0.0), entry.method, entry.config
