"""What a benchmark has measured: a table with limits, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """One measurement and its limit."""

    what: str
    value: float
    unit: str
    limit: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def publish(lines: Sequence[Line], json_file: Path | None) -> int:
    """Print the lines, write them to a file if there is one, and return the exit code: 1 where a limit is missed."""
    for line in lines:
        sign = ">=" if line.at_least else "<="
        verdict = "" if line.kept else "   MISSED"
        print(f"{line.what:42}{line.value:10.3f} {line.unit:3} {sign} {line.limit:g}{verdict}")
    if json_file:
        json_file.write_text(json.dumps([asdict(line) | {"kept": line.kept} for line in lines], indent=1) + "\n")
    return 0 if all(line.kept for line in lines) else 1
