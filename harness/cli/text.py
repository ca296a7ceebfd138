"""Plain text: aligned columns, counts, sizes and times as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Return rows as left-aligned columns, two spaces apart; the last column is not padded."""
    table = [list(map(str, row)) for row in ([header, *rows] if header else rows)]
    if not table:
        return ""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return `4.2 s`, `2 min 04 s` or `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


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
