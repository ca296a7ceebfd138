"""All benchmarks, one after the other: `python tests/bench/all.py [--device cuda] [NAME ...]`; 1 if one misses a limit.

Prints each table as it comes, and at the end whose limits were missed; `test-output/bench.json` has all of them, and
the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "test-output" / "bench.json"
BENCHES = {
    "startup": (),
    "engine": (),
    "stacked": (),
    "data_free": (),
    "attacks": ("--big",),
    "mlflow_ui": (),
    "locality": (),
    "costs": (),
    "scheduling": (),
}
ON_DEVICES = ("engine", "stacked", "data_free")


def machine() -> dict[str, object]:
    """Return what figures depend on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    names = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": gpu, "python": platform.python_version()}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def run(name: str, device: str) -> tuple[bool, list[object]]:
    """Run one benchmark; return whether its limits are kept, and its table."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.json"
        chosen = ["--device", device] if name in ON_DEVICES and device != "cpu" else []
        command = [sys.executable, str(HERE / f"{name}.py"), *BENCHES[name], *chosen, "--json", str(table)]
        code = subprocess.run(command, check=False).returncode
        return code == 0, json.loads(table.read_text()) if table.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all where none is named")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHES]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHES)}")
    found, missed = {}, []
    for name in options.names or BENCHES:
        print(f"\n{name}", flush=True)
        begun = time.perf_counter()
        kept, table = run(name, options.device)
        found[name] = {"kept": kept, "seconds": time.perf_counter() - begun, "table": table}
        missed += [] if kept else [name]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": machine(), "benchmarks": found}, indent=1) + "\n")
    verdict = f"limits missed: {', '.join(missed)}" if missed else "all limits kept"
    print(f"\n{OUTPUT}; {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
