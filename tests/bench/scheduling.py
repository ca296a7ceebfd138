"""What surrounds a unit costs, at the size of a benchmark: `python scheduling.py [--trials N] [--json FILE]`.

1 where a limit is missed. 50,410 units that do nothing go the way of all units: plan, searches, Ray Tune, workers,
commits, folds, report, MLflow; 48,600 trials of searches and 1,620 others (the counts of Cadet et al. 2024), and what
they are compared with. `--trials 2` makes it 2,800. Beside it stands the least that Tune can do, before and after: the
same loop with a trainable that returns at once and writes nothing.

Seconds of the processor are those of the driver alone; where neighbours take the processor from this machine, they say
more than those of a clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from table import Line, publish

from harness.store import Store

PLUGINS = Path(__file__).parent / "plugin"
LEAST = Path(__file__).with_name("least.py")
WINDOW = 5_000
QUERY = "select method, dataset, avg(value) from metrics group by method, dataset"
LOOK_SECONDS = 1.0
STATUS_EVERY = 60
STUDY = {
    "name": "scheduling",
    "question": "How long does nothing take?",
    "datasets": ["blank"],
    "architectures": ["cnn_small"],
    "scenarios": [f"random:{share / 100}" for share in range(10, 28, 2)],
    "methods": ["no_op*"],
    "seeds": 10,
    "search": {"trials": 100, "sampler": "nsga3", "seeds": 3, "select": "reference"},
    "measures": ["accuracy", "population_mia"],
    "keep_models": "none",
    "resources": {"cpu": 0.5},
}


def harness(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(PLUGINS), *sys.path[1:]])}


def taken(command: Sequence[str]) -> tuple[float, float]:
    """Run a command to its end; return its seconds by the clock and of the processor."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime


def quickest(command: Sequence[str]) -> float:
    return min(taken(command)[0] for _ in range(3))


@dataclass
class Driver:
    """What a driver has used so far, once a second; and what `status` took beside it."""

    pid: int
    times: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    memory: int = 0
    status: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Note time, seconds of the processor, and the most memory so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        peak = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
        self.times.append(time.time())
        self.used.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        self.memory = int(peak[0].split()[1]) * 1024

    def used_between(self, begin: float, end: float) -> float:
        """Return the seconds of the processor between two times."""
        return float(np.diff(np.interp([begin, end], self.times, self.used))[0])


@contextmanager
def watched(pid: int, root: str) -> Iterator[Driver]:
    """Look at a driver from beside until the block ends."""
    driver, over = Driver(pid), threading.Event()

    def watch() -> None:
        seconds = 0
        while not over.wait(LOOK_SECONDS):
            try:
                driver.look()
            except (OSError, IndexError):
                return
            seconds += 1
            if seconds % STATUS_EVERY == 0:
                driver.status.append(taken(harness("status", "--root", root))[1])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield driver
    finally:
        over.set()
        thread.join()


def least(units: int) -> float:
    """Return the milliseconds that a unit takes in the bare loop."""
    told = subprocess.run([sys.executable, LEAST, str(units)], env=environment(), stdout=subprocess.PIPE, check=True)
    return float(told.stdout.split()[-1])


def measure(file: str, root: str, bare_units: int) -> list[Line]:
    """Run the study and ask everything of it that has a limit."""
    more = ["--root", root, "--plugin", "no_op"]
    plan = quickest(harness("plan", file, *more))
    before = least(bare_units)
    begun = time.perf_counter()
    process = subprocess.Popen(harness("run", file, *more), env=environment(), stdout=subprocess.DEVNULL)
    with watched(process.pid, root) as driver:
        if process.wait():
            raise SystemExit(f"the run ended with exit code {process.returncode}")
    seconds = time.perf_counter() - begun
    bare = (before + least(bare_units)) / 2
    starts = Store.open(root).scan("units").select("started").collect()["started"].sort().dt.timestamp("ms") / 1000
    count = len(starts)
    window = min(WINDOW, count // 4)
    first = driver.used_between(starts[window // 10], starts[window // 10 + window])
    last = driver.used_between(starts[-1 - window], starts[-1])
    whole, each = f"{count:,} units", 1000 * seconds / count
    compacted, _ = taken(harness("compact", "--root", root))
    return [
        Line("plan", plan, "s", 5.0),
        Line(f"{whole}, each", each, "ms", 15.0),
        Line("  in the bare loop of Ray Tune", bare, "ms", float("inf")),
        Line("  times the bare loop (15 ms : 7 ms)", each / bare, "", 15 / 7),
        Line("  the driver's processor, each", 1000 * driver.used[-1] / count, "ms", 15.0),
        Line(f"  last {window:,} : first {window:,}", last / first, "", 1.3),
        Line("  memory of the driver", driver.memory / 1e9, "GB", 1.5),
        Line("status beside it, of the processor", max(driver.status, default=0.0), "s", 1.5),
        Line("compact", compacted, "s", float("inf")),
        Line("status", quickest(harness("status", "--root", root)), "s", 1.5),
        Line("rank, 10,000 draws", quickest(harness("rank", file, *more)), "s", 5.0),
        Line("query, grouped", quickest(harness("query", QUERY, "--root", root)), "s", 1.0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="suggestions of each search")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduling.yaml"
        study = STUDY | {"search": STUDY["search"] | {"trials": options.trials}}  # type: ignore[operator]
        file.write_text(yaml.safe_dump(study), "utf-8")
        return publish(measure(str(file), str(Path(folder) / "runs"), bare_units=2_000), options.json)


if __name__ == "__main__":
    sys.exit(main())
