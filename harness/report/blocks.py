"""The parts that a page is made of: tables, pictures, sections. The template escapes plain text in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Text = str | Markup


@dataclass(frozen=True)
class Column:
    """A column: its name, a note below it, and what the name means with the place where that is defined."""

    label: str
    note: str = ""
    title: str = ""
    anchor: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, in small what belongs to it, and the number that its column is sorted by."""

    text: Text
    note: Text = ""
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """A row; the cell at `Table.header` names it. `anchor` makes it a target of links; a reference is never hidden."""

    cells: Sequence[TableCell]
    anchor: str = ""
    reference: bool = False


@dataclass(frozen=True)
class Group:
    """Rows that belong together, under a name of their own if they have one."""

    rows: Sequence[Row]
    label: str = ""
    muted: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption; `folded` shows only the caption until it is opened."""

    caption: str
    columns: Sequence[Column]
    groups: Sequence[Group]
    header: int = 0
    folded: bool = False


@dataclass(frozen=True)
class Behind:
    """What is behind a picture: tables of what is drawn, what that means, the command that prints its rows.

    `defined` are anchors in the glossary with the names to show.
    """

    tables: Sequence[Table]
    defined: Sequence[tuple[str, str]]
    command: str


@dataclass(frozen=True)
class Picture:
    """Panels side by side with a caption; `kind` chooses how wide a panel may be."""

    panels: Sequence[Markup]
    caption: str
    behind: Behind
    kind: str = "panels"


@dataclass(frozen=True)
class Section:
    """A section of the page: sentences, then pictures and tables, then sections within it."""

    title: str
    anchor: str
    sentences: Sequence[Text] = ()
    blocks: Sequence[Table | Picture] = ()
    sections: Sequence[Section] = field(default_factory=tuple)


def slug(text: str) -> str:
    """Return the text as it may stand in an anchor: lower-case letters, digits and hyphens."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return "-".join(part for part in kept.split("-") if part)
