"""How long MLflow's page of a study of 180 cells takes: `python tests/bench/mlflow_ui.py [--json FILE]`.

1 where a limit is missed. Needs Chromium and Playwright. Seconds are those of a clock, the best of several runs, and
count on a machine with nothing else to do. `rows visible` is from navigation in a fresh browser (nothing cached)
until the last row of the ranking's first screen has its name and its number.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "harness" / "tracking"))

from conftest import StudyRoot
from table import Line, publish

from harness.schedule.patience import free_ports
from harness.tracking import artifacts, sync

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CELLS, REPEATS, VISIBLE = 180, 3, 10
DATASETS, SCENARIOS, METHODS = ("digits", "fashion_mnist"), ("random:0.1", "class:3", "class:5"), 28
PATIENCE = 120_000  # ms

ROWS = f"""() => {{
  const rows = [...document.querySelectorAll('.ag-row:has(a)')];
  const numbers = [...document.querySelectorAll('.ag-row')].filter(row => /^[0-9.]+/.test(row.innerText.trim()));
  return rows.length >= {VISIBLE} && numbers.length >= {VISIBLE};
}}"""


def make_root(folder: Path) -> StudyRoot:
    """Write a finished study of 2 data sets x 3 scenarios x 30 methods x 2 seeds, with an audit of every method."""
    methods = dict.fromkeys(("retrain", "original", *(f"method_{at:02d}" for at in range(METHODS))), "default")
    cells = tuple((dataset, scenario, "cnn_small") for dataset in DATASETS for scenario in SCENARIOS)
    root = StudyRoot(folder / "runs", study="big", cells=cells, seeds=(0, 1), methods=methods)
    assert len(cells) * len(methods) == CELLS
    root.commit().store.fold()
    return root.audit(*methods)


@contextmanager
def served(root: StudyRoot) -> Iterator[str]:
    """Serve a root; yield the address of its ranking."""
    command = [sys.executable, "-m", "harness", "ui", "--root", root.path, "--port", free_ports(1)[0]]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[1]
        process.terminate()


def seconds_to_rows(browser: Any, page: str) -> float:
    """Return the seconds from navigation until the rows of the ranking are visible."""
    context = browser.new_context(viewport={"width": 1900, "height": 1000})
    tab = context.new_page()
    start = time.perf_counter()
    tab.goto(page, wait_until="commit")
    tab.wait_for_function(ROWS, timeout=PATIENCE, polling=50)
    found = time.perf_counter() - start
    context.close()
    return found


def seconds_to_search(page: str, plan: str) -> float:
    """Return the seconds of the request behind the page: its first 100 runs with all they hold."""
    server, experiment = page.partition("/#")[0], page.partition("/experiments/")[2].partition("/")[0]
    body = {"experiment_ids": [experiment], "filter": f"tags.`harness.plan` = '{plan}'", "max_results": 100}
    about = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}/api/2.0/mlflow/runs/search", json.dumps(body).encode(), about)
    start = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        assert len(json.load(answer)["runs"]) == 100
    return time.perf_counter() - start


def measure(folder: Path) -> list[Line]:
    from playwright.sync_api import sync_playwright

    # Figures take minutes to draw for so many cells, and the page of the ranking shows none.
    artifacts._figures = lambda results: iter(())
    root = make_root(folder)
    start = time.perf_counter()
    sync(root.document, root.store)
    writing = time.perf_counter() - start
    with served(root) as page, sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        visible = min(seconds_to_rows(browser, page) for _ in range(REPEATS))
        searching = min(seconds_to_search(page, root.plan) for _ in range(REPEATS))
        browser.close()
    return [
        Line(f"{CELLS} cells: rows visible", visible, "s", 3),
        Line("of which the search for 100 runs", searching, "s", 1),
        Line(f"{CELLS} cells written", writing, "s", 120),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(Path(folder))
    return publish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
