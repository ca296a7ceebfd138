"""Plain text: aligned columns, counts, sizes, times, ranks and intervals as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

import click

from harness.errors import printable


def say(text: object, err: bool = False) -> None:
    """Print a text for a person: what stands in it may come from anyone, and no terminal is to obey it."""
    click.echo(shown(str(text)), err=err)


def shown(text: str) -> str:
    """Return a text of several lines as it may be put on a terminal: without what a terminal obeys but ends of lines
    and tabs. What a file of another's says (a failure, a name) may hold anything."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Return rows as left-aligned columns, two spaces apart, each in one line; the last column is not padded."""
    table = [[_cell(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    if not table:
        return ""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    return "\n".join(lines)


def _cell(content: object) -> str:
    return printable(" ".join(str(content).splitlines()))


def duration(seconds: float) -> str:
    """Return `4.2 s`, `2 min 04 s` or `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def brief(seconds: float) -> str:
    """Return `147 ms`, or from a second on what `duration` does."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else duration(seconds)


def device_hours(hours: float) -> str:
    """Return `0.57 device-hours`, `5,017 device-hours`."""
    return f"{hours:,.0f} device-hours" if hours >= 100 else f"{hours:.3g} device-hours"


def size(count: float) -> str:
    """Return bytes as `512 B`, `3.4 MB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def plural(count: int, word: str) -> str:
    """Return `1 unit`, `2 units`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def rank_text(row: Mapping[str, Any]) -> str:
    """Return the interval of a rank such as `1-2`, or `-` for a reference or a failed method."""
    if row["rank"] is None:
        return "-"
    known = row["rank_low"] is not None
    low, high = (floor(row["rank_low"]), ceil(row["rank_high"])) if known else (row["rank"], row["rank"])
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def interval(row: Mapping[str, Any]) -> str:
    """Return `[low, high]`, or what is known instead."""
    if row["value"] is None:
        return "-"
    if row["low"] is None:
        return "unknown"
    return f"at least {row['low']:.4f}" if row["high"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]"
