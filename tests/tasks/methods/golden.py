"""The defaults of every method, and the confidence of its model on a fixed tiny problem: what `golden.json` holds.

A method whose entry changes would put new results under an old unit id. Raise its `version`, then write the file with

    python tests/tasks/methods/golden.py --write

Where every method moves at once, the engine changed: raise `RESULTS_VERSION` in `harness/unit.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]

import torch

from harness import registry
from harness.check import problem as tiny
from harness.contracts import METHODS, MethodSpec
from harness.contracts.space import Value
from harness.engine.evaluate import evaluate

FILE = Path(__file__).with_name("golden.json")
IMAGES = 16
"""Phi is kept for the first development images and for as many test images."""
LONG = 50
"""Methods whose default is more than so many epochs, iterations, or steps of a GAN, run briefly instead."""


def entry(spec: MethodSpec) -> dict[str, Any]:
    """Return the defaults of a method, and phi [32] after a run with them and after one with small batches."""
    defaults = spec.defaults()
    is_long = any(int(defaults.get(name, 0)) > LONG for name in ("epochs", "iterations", "gan_steps"))
    brief = tiny.quick(spec, batch_size=48) if is_long else defaults
    return {
        "defaults": defaults,
        "phi": phi(spec.name, brief),
        "phi_small_batches": phi(spec.name, tiny.quick(spec, batch_size=8)),
    }


def phi(method: str, values: Mapping[str, Value]) -> list[float]:
    """Return phi [32] of a method's model on the tiny problem."""
    torch.set_num_threads(1)
    model = tiny.unlearn(method, tiny.new_run(), tiny.uneven_parts(), values)
    index = torch.cat([torch.arange(IMAGES), torch.arange(tiny.COUNT - IMAGES, tiny.COUNT)])
    return [round(float(value), 5) for value in evaluate(model, tiny.data(), index).phi]


def document() -> dict[str, dict[str, Any]]:
    """Return what the file should hold, by `<method>@<version>`."""
    registry.load()
    specs = [METHODS[name] for name in METHODS if METHODS[name].module.startswith("tasks.")]
    return {f"{spec.name}@{spec.version}": entry(spec) for spec in specs}


def main() -> None:
    """Print what the file should hold, or write it."""
    parser = argparse.ArgumentParser(description="Phi of every method on the tiny problem.")
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} instead of printing it")
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document().items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if parser.parse_args().write:
        FILE.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
