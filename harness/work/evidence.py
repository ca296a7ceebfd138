"""Models by which a scenario divides the training images: what they answer, asked when the parts are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import nn

from harness import registry
from harness.contracts.dataset import DATASETS
from harness.contracts.run import TrainingArtifact
from harness.contracts.scenario import Floats, InvalidScenario, Mask, Models
from harness.engine.data import DeviceData
from harness.engine.evaluate import Evaluation, evaluate
from harness.engine.features import features_of
from harness.unit import Unit
from harness.work.bench import Parts, Workbench


@dataclass(frozen=True)
class Answering:
    """One model in front of the training images; implements `harness.contracts.scenario.Answers`."""

    evaluation: Evaluation
    look: Callable[[], torch.Tensor]

    @property
    def correct(self) -> Mask:
        """Which images it gets right, [n]."""
        return self.evaluation.correct

    @property
    def losses(self) -> Floats:
        """Cross-entropies in nats, [n]."""
        return self.evaluation.losses

    @cached_property
    def features(self) -> Floats:
        """What its head is given, [n, d]."""
        return self.look().double().cpu().numpy()


def parts_of(unit: Unit, bench: Workbench) -> Parts:
    """Return the parts of a unit's data set under its scenario."""
    models = models_of(unit, bench) if unit.evidence else None
    return bench.parts(unit.dataset, unit.scenario.name, unit.evidence, models)


def models_of(unit: Unit, bench: Workbench) -> Models:
    """Return what answers for the models of a unit's scenario, which are in the store.

    Raises `InvalidScenario` where one has diverged: its answers say nothing about an image.
    """
    ids = dict(zip(registry.evidence_of(unit.scenario.name), unit.evidence, strict=True))

    def trained(one: TrainingArtifact | None) -> nn.Module:
        model = _network(one, unit, bench)
        model.load_state_dict(bench.store.load_model(ids[one], str(bench.device)))
        return model

    def images() -> tuple[DeviceData, torch.Tensor]:
        loaded = bench.dataset(unit.dataset)
        return loaded.data, torch.from_numpy(loaded.whole()["train"]).to(bench.device)

    def ask(one: TrainingArtifact | None) -> Answering:
        found = bench.answers(ids[one], lambda: evaluate(trained(one), *images()))
        if not np.isfinite(found.phi).all():
            what = "the original of seed 0" if one is None else str(one)
            raise InvalidScenario(
                f"'{unit.scenario.name}': {what} has diverged; no image can be drawn by what it answers"
            )
        return Answering(found, lambda: features_of(trained(one), bench.architecture(unit).head, *images()))

    return ask


def _network(one: TrainingArtifact | None, unit: Unit, bench: Workbench) -> nn.Module:
    """Return an untrained network of a model, on the device."""
    build = partial(bench.initial_model, replace(unit, farm=None))
    return build("") if one is None else one.network(DATASETS[unit.dataset.name].format, build).to(bench.device)
