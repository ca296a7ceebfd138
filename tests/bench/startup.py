"""How long one waits before anything happens: `python tests/bench/startup.py [--json FILE]`; 1 where a limit is missed.

Each command is the quickest of three. A worker is ready when it has opened the store and loaded the tasks, and says so;
counted is from when Ray is there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import Line, publish

TIMES = 3
HEAVY = ("torch", "ray", "mlflow", "polars.testing", "sklearn")
NOT_IMPORTED = """
import sys
from harness.cli import main
sys.argv = ["harness", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


def seconds(*arguments: str) -> float:
    """Return the seconds of a command, the quickest of three."""
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "harness", *arguments], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def imported(*arguments: str) -> int:
    """Return how many large libraries a command imports that has no use for them."""
    command = [sys.executable, "-c", NOT_IMPORTED.format(heavy=HEAVY), *arguments]
    told = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return len(told.stderr.split())


def until_ready(folder: str) -> float:
    """Return the seconds from when Ray is there until a worker takes units."""
    import ray

    from harness.schedule import Cluster, connect
    from harness.schedule.performer import Job, Performer
    from harness.store import Store

    store = Store.open(f"{folder}/runs", write=True)
    with connect(Cluster(), f"{folder}/ray.log"):
        begun = time.perf_counter()
        job = Job("bench", store.uri, (), "cpu", 60.0, False, "original", {})
        ray.get(ray.remote(Performer).options(num_cpus=1).remote(job).__ray_ready__.remote())
        return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        status = ("status", "--root", f"{folder}/runs")
        lines = [
            Line("harness --help", seconds("--help"), "s", 0.5),
            Line("  large libraries imported", imported("--help"), "", 0.0),
            Line("harness status", seconds(*status), "s", 1.5),
            Line("  large libraries imported", imported(*status), "", 0.0),
            Line("harness ls methods", seconds("ls", "methods"), "s", 3.0),
            Line("a worker, once Ray is there", until_ready(folder), "s", 8.0),
        ]
        return publish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
