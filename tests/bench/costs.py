"""How well a study is priced once each (kind, method) has been seen once: `python tests/bench/costs.py [--json FILE]`.

1 where the rest takes 25 % more or less than was said. Runs a study of the digits in one process: searches on two
seeds, trials, relearning, a farm and timing, of eight methods that take from 0.1 to some seconds. Prices are those of
`harness plan`, from the rows of the first unit of each (kind, method) alone; the rest is all the others. Seconds are
those of a clock, and count on a machine with nothing else to do: a neighbour that comes or goes is in no model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml
from table import Line, publish

if "--cpu" in sys.argv:
    time.perf_counter = time.process_time  # before anything takes hold of the other

from harness import drive
from harness.planner import make_plan
from harness.pricing.costs import CLASS, Costs, summed
from harness.store import Store
from harness.study import load_study
from harness.unit import Unit

OFF, WRONG = 0.25, 10.0
"""Limits of the whole, and of one kind: a few units, of which the first also paid for what the process loads."""
STUDY = {
    "name": "costs",
    "question": "What does a study cost?",
    "datasets": ["digits"],
    "architectures": ["cnn_small"],
    "scenarios": ["random:0.1"],
    "methods": [
        *("finetune", "gradient_ascent", "neg_grad_plus", "successive_random_labels", "msg", "scrub", "salun"),
        "bad_teacher",
    ],
    "seeds": 3,
    "recipe": {"epochs": 20},
    "search": {"trials": 6, "sampler": "random", "seeds": 2, "select": "reference"},
    "farm": {"shadows": 8, "pools": {"canary": {"size": 40, "labels": "random"}}},
    "measures": ["accuracy", "population_mia", "ulira", "anamnesis", "run_time"],
    "keep_models": "none",
}


def compare(units: pl.DataFrame, planned: dict[str, Unit]) -> pl.DataFrame:
    """Return, by kind, how many units came after the first of each (kind, method), what they were to take by those
    first ones, and what they took."""
    first = units.sort("started").unique(CLASS, keep="first")
    costs = Costs.of(summed(first.lazy()).collect())
    rest = units.join(first, on="unit", how="anti")
    said = pl.Series("said", [costs.price(planned[unit]) for unit in rest["unit"]], dtype=pl.Float64)
    assert said.null_count() == 0
    return (
        rest.with_columns(said)
        .group_by("kind", maintain_order=True)
        .agg(units=pl.len(), said=pl.col("said").sum(), took=pl.col("seconds").sum())
    )


def lines(found: pl.DataFrame) -> list[Line]:
    """Return what was said by what was taken: of the whole, held to 25 %, and by kind, where only what is wrong by far
    counts."""
    total = float(found["said"].sum()) / float(found["took"].sum())
    by_kind = [
        Line(f"{kind}: {units} units, {took:.1f} s, said / took", said / took, "", WRONG)
        for kind, units, said, took in found.rows()
    ]
    whole = f"the rest, {found['units'].sum()} units, {found['took'].sum():.1f} s"
    return [*by_kind, Line(f"{whole}: off by", abs(total - 1), "", OFF)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    parser.add_argument("--cpu", action="store_true", help="count the seconds of the processor, not those of a clock")
    parser.add_argument("--root", type=Path, help="where to run, or a root where it ran")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "costs.yaml"
        file.write_text(yaml.safe_dump(STUDY), "utf-8")
        plan = make_plan(load_study(file))
        root = str(options.root or Path(folder) / "runs")
        begun = time.perf_counter()
        drive.run(plan.study, root, views=lambda plan, store: None)
        print(f"{len(plan.units)} units in {time.perf_counter() - begun:.0f} s")
        units = Store.open(root).scan("units").filter(pl.col("unit").is_in([*plan.units])).collect()
    return publish(lines(compare(units, dict(plan.units))), options.json)


if __name__ == "__main__":
    sys.exit(main())
