"""How busy workers are with short units: `python tests/bench/locality.py [--json FILE]`; 1 where a limit is missed.

Some 200 real units of the digits through Ray on two workers. Busy is the share of the workers' time that their units
took, by the tables, from when both had ended their first until the last one began. What a worker has already, of data
sets, splits and weights, it does not load again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import polars as pl
import yaml
from table import Line, publish

from harness import drive
from harness.schedule import Cluster
from harness.store import Store
from harness.study import load_study

WORKERS = 2
STUDY = {
    "name": "locality",
    "question": "How busy are workers with short units?",
    "datasets": ["digits"],
    "architectures": ["cnn_small"],
    "scenarios": ["random:0.1", "random:0.2", "class:3"],
    "methods": [
        *("finetune", "gradient_ascent", "neg_grad_plus", "successive_random_labels", "msg", "scrub", "salun"),
        *("bad_teacher", "ct", "fisher_forgetting", "cf_k"),
    ],
    "seeds": 5,
    "measures": ["accuracy", "population_mia"],
    "recipe": {"epochs": 20},
}


def busy(units: pl.DataFrame) -> float:
    """Return the share of the workers' time that units took once all workers had ended one."""
    spans = units.sort("started").select(
        begin=pl.col("started").dt.timestamp("us") / 1e6,
        end=pl.col("started").dt.timestamp("us") / 1e6 + pl.col("seconds"),
    )
    warm, over = spans["end"].sort()[WORKERS - 1], spans["begin"][-1]
    inside = spans.select(pl.min_horizontal("end", pl.lit(over)) - pl.max_horizontal("begin", pl.lit(warm)))
    return float(inside.to_series().clip(lower_bound=0).sum()) / (WORKERS * (over - warm))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file, root = Path(folder) / "locality.yaml", f"{folder}/runs"
        file.write_text(yaml.safe_dump(STUDY), "utf-8")
        place = drive.Where(cluster=Cluster())
        summary = drive.run(load_study(str(file)), root, where=place, views=lambda plan, store: None)
        units = Store.open(root).scan("units").collect()
    lines = [
        Line(f"{len(units)} units, the mean", float(units["seconds"].mean()), "s", float("inf")),  # type: ignore[arg-type]
        Line("workers busy after warm-up", busy(units), "", 0.9, at_least=True),
        Line("data sets, splits, weights reused", summary.reused, "", 3.0 * len(units) * 0.9, at_least=True),
        Line("  loaded", summary.loaded, "", 3.0 * len(units) * 0.1),
    ]
    return publish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
