"""What a process does before it times anything: the first step of training loads what all others find loaded."""

from __future__ import annotations

from dataclasses import replace

import torch

from harness.engine.data import PartSamples
from harness.engine.train import train
from harness.unit import Unit
from harness.work.bench import Workbench
from harness.work.setting import new_run, on_the_clock


def warm_up(unit: Unit, bench: Workbench) -> None:
    """Train the unit's untrained model on two batches, and drop it.

    In a fresh process the first step takes a second more, whatever is trained. The results of a unit depend on
    its seeds alone, so this changes none.
    """
    short = replace(unit, recipe=replace(unit.recipe, epochs=1))
    run, loaded = new_run(short, bench, None), bench.dataset(unit.dataset)
    few = torch.from_numpy(loaded.whole()["train"][: 2 * unit.recipe.batch_size]).to(bench.device)
    samples = PartSamples(loaded.data, few, run.generator)
    on_the_clock(short, run, lambda: train(run.initial_model(), samples, short.recipe, run))
