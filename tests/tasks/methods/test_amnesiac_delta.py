"""Amnesiac unlearning with a log: what is taken back is what the batches with a forgotten image added, and no more."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import ARTIFACTS, FORGET, METHODS, RETAIN, Augmentation
from harness.engine.data import PartSamples
from harness.engine.seeding import generator
from harness.engine.train import fit, train
from tasks.methods import _training_log
from tasks.methods._training_log import LoggedTraining, LogTooLarge, TrainingLog, flat
from tasks.methods.amnesiac_delta import AmnesiacDelta

TRAIN = torch.cat([tiny.parts("random:0.1")[RETAIN], tiny.parts("random:0.1")[FORGET]])
RECIPE = replace(tiny.SPEC.recipe, batch_size=9)
DATA = replace(tiny.data(), augmentation=Augmentation())
"""Images that can be told by their pixels in every batch."""


def logged(epochs: int = 2) -> tuple[TrainingLog, list[list[int]]]:
    """Return the log of a training, and which images each of its steps was seen to get."""
    run, training = tiny.new_run(recipe=replace(RECIPE, epochs=epochs)), LoggedTraining()
    network = training.network(tiny.SPEC.format, run.untrained_model)
    assert isinstance(network, TrainingLog)
    with tiny.seen_by(network.model) as batches:
        training.make(network, tiny.view(ARTIFACTS["logged_training"], run, {RETAIN: TRAIN}, DATA), run)
    return network, [tiny.positions_of(batch, DATA) for batch in batches]


@pytest.fixture(scope="module")
def log() -> TrainingLog:
    return logged()[0]


def forgotten(log: TrainingLog, forget: Tensor, earlier: Tensor = TRAIN[:0], **values: float) -> nn.Module:
    run = tiny.new_run(recipe=RECIPE)
    run.lend = lambda one: deepcopy(log)
    index = {RETAIN: TRAIN[~torch.isin(TRAIN, torch.cat([forget, earlier]))], FORGET: forget}
    view = tiny.view(METHODS["amnesiac_delta"], run, index, DATA)
    return AmnesiacDelta(**values).unlearn(tiny.own_copy("cnn_small"), view, run)  # type: ignore[arg-type]


def states(log: TrainingLog) -> Tensor:
    return log.steps["weights"]


def test_the_log_is_of_a_training_by_the_recipe(log: TrainingLog) -> None:
    """The same weights, bit for bit, as the engine's own loop gives; each batch as it was seen."""
    run = tiny.new_run(recipe=RECIPE)
    plain = train(run.initial_model(), PartSamples(DATA, TRAIN, run.generator), RECIPE, run)
    assert torch.equal(flat(plain), states(log)[-1])
    assert torch.equal(flat(log.model), states(log)[-1])
    assert torch.equal(flat(tiny.initial("cnn_small")), states(log)[0])
    seen = logged()[1]
    assert [[one for one in row if one >= 0] for row in log.steps["ids"].tolist()] == seen
    assert len(states(log)) == run.steps + 1 == len(seen) + 1


def test_with_nothing_to_forget_the_trained_model_is_left_bit_for_bit(log: TrainingLog) -> None:
    assert torch.equal(flat(forgotten(log, TRAIN[:0])), states(log)[-1])


def test_without_the_last_batch_it_is_the_state_before_it() -> None:
    log, seen = logged(epochs=1)
    for image in (seen[-1][0], seen[-1][-1]):
        assert torch.equal(flat(forgotten(log, torch.tensor([image]))), states(log)[-2])


def test_without_any_batch_it_is_where_the_training_began(log: TrainingLog) -> None:
    model = forgotten(log, TRAIN[::2])
    assert torch.allclose(flat(model), states(log)[0], rtol=0, atol=1e-7)
    trained = dict(log.model.named_buffers())
    assert trained
    assert all(torch.equal(one, trained[name]) for name, one in model.named_buffers())


def test_what_is_taken_back_are_the_steps_whose_batches_had_a_forgotten_image(log: TrainingLog) -> None:
    """Requests before this one count, too: their images are in neither part."""
    seen, forget, earlier = logged()[1], TRAIN[3:4], TRAIN[30:31]
    for gone, model in (([3], forgotten(log, forget)), ([3, 30], forgotten(log, forget, earlier))):
        images = set(TRAIN[gone].tolist())
        kept = [step for step, batch in enumerate(seen) if not images & set(batch)]
        assert 0 < len(kept) < len(seen)
        added = [states(log)[step + 1].double() - states(log)[step].double() for step in kept]
        expected = states(log)[0].double() + torch.stack(added).sum(0)
        assert torch.allclose(flat(model).double(), expected, rtol=0, atol=1e-7)


def test_repairing_is_fine_tuning_on_retain_from_there(log: TrainingLog) -> None:
    forget = TRAIN[5:9]
    start, run = forgotten(log, forget), tiny.new_run(recipe=RECIPE)
    values = {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.1}
    samples = PartSamples(DATA, TRAIN[~torch.isin(TRAIN, forget)], generator("order", 0))
    fit(start, samples, torch.optim.SGD(start.parameters(), **values), run, epochs=2, batch_size=8)
    repaired = forgotten(log, forget, repair_epochs=2, batch_size=8, **values)
    assert torch.equal(flat(start), flat(repaired))


def test_a_log_that_does_not_fit_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, steps = len(flat(tiny.initial("cnn_small"))), 2 * -(-len(TRAIN) // 9)
    monkeypatch.setattr(_training_log, "MOST_BYTES", 4 * (steps + 1) * weights)
    logged()
    monkeypatch.setattr(_training_log, "MOST_BYTES", 4 * (steps + 1) * weights - 1)
    with pytest.raises(LogTooLarge, match=rf"the log of {steps} steps on {weights:,} weights takes .* amnesiac_delta"):
        logged()
