"""Write the picture of a study for its README: `python -m harness.report.picture STUDY ROOT OUT.svg`."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from harness.errors import HarnessError
from harness.metrics.challenge import of_farm
from harness.report.contrast import TITLE, contrast_figure
from harness.report.svg import standalone
from harness.store import Store


def main() -> None:
    """Write what the usual attack and the audit see of each method of a study as one SVG file."""
    parser = argparse.ArgumentParser(prog="python -m harness.report.picture", description=main.__doc__)
    parser.add_argument("study", help="name of a study with a ranking and an audit")
    parser.add_argument("root", help="where its results are")
    parser.add_argument("out", type=Path, help="the SVG file to write")
    given = parser.parse_args()
    try:
        store = Store.open(given.root)
        tables = (store.scan(name).filter(pl.col("study") == given.study) for name in ("rankings", "attacks"))
        rankings, attacks = (table.collect() for table in tables)
    except HarnessError as error:
        parser.error(str(error))
    attacks = of_farm(attacks)
    if rankings.is_empty() or attacks.is_empty():
        parser.error(f"{given.root} has no ranking or no audit of {given.study!r}; run a study with a farm there first")
    given.out.write_text(standalone(contrast_figure(rankings, attacks), TITLE), encoding="utf-8")


if __name__ == "__main__":
    main()
