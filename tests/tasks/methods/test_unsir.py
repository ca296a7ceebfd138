"""UNSIR: noise that is wrong about its class, what impairs and what repairs, and the whole method as a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from harness.check import problem as tiny
from harness.contracts import METHODS, RETAIN
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods._batches import sample_of_each_class
from tasks.methods._data_free import NotAClassRequest

FORGET_CLASSES = (0, 2)
PARTS = tiny.parts("classes:0,2")
IMPAIR, REPAIR, BATCH, PER_CLASS, STEPS, REG, COPIES = 3e-3, 2e-3, 8, 5, 6, 0.01, 3
VALUES: dict[str, Value] = {"lr_impair": IMPAIR, "lr_repair": REPAIR, "batch_size": BATCH, "per_class": PER_CLASS}
VALUES |= {"noise_steps": STEPS, "reg": REG, "copies": COPIES}


def noise_of(model: nn.Module, label: int, draws: torch.Generator) -> Tensor:
    """The same noise by a loop of its own."""
    noise = torch.randn(BATCH, 3, 8, 8, generator=draws).requires_grad_()
    optimizer = Adam([noise], 0.1)
    for _ in range(STEPS):
        wrong = model(noise).log_softmax(1)[:, label].mean()  # -CE
        (slope,) = torch.autograd.grad(wrong + REG * noise.pow(2).sum() / BATCH, noise)
        noise.grad = slope
        optimizer.step()
    return noise.detach()


def plain_loop() -> nn.Module:
    """One explicit list of images and labels for impairing and one for repairing."""
    model, source, draws = tiny.own_copy("cnn_small").eval(), tiny.data(), generator("order", 0)
    noise = [noise_of(model, label, draws) for label in FORGET_CLASSES]
    shuffled = PARTS[RETAIN][torch.randperm(len(PARTS[RETAIN]), generator=draws)]
    kept = torch.cat([shuffled[source.labels[shuffled] == label][:PER_CLASS] for label in (1, 3)])
    images = torch.cat([source.batch(kept), *noise * COPIES])
    labels = torch.cat([source.labels[kept], torch.tensor([0] * BATCH + [2] * BATCH).repeat(COPIES)])
    train(model, images, labels, IMPAIR, draws)
    train(model, source.batch(kept), source.labels[kept], REPAIR, draws)
    return model


def train(model: nn.Module, images: Tensor, labels: Tensor, rate: float, draws: torch.Generator) -> None:
    model.train()
    optimizer = Adam(model.parameters(), rate)
    for chosen in torch.randperm(len(images), generator=draws).tensor_split(math.ceil(len(images) / BATCH)):
        optimizer.zero_grad()
        cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def test_it_is_the_plain_loop_with_all_noise_images_each_labelled_as_its_own_class() -> None:
    run = tiny.new_run()
    found = tiny.unlearn("unsir", run, PARTS, VALUES, forget_classes=FORGET_CLASSES).state_dict()
    for name, value in plain_loop().state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-4, msg=name)
    images = 2 * PER_CLASS + COPIES * 2 * BATCH
    assert (run.steps_aside, run.steps) == (2 * STEPS, math.ceil(images / BATCH) + math.ceil(2 * PER_CLASS / BATCH))


@pytest.mark.parametrize("label", range(tiny.CLASSES))
def test_the_model_becomes_wrong_about_the_noise_and_is_left_as_it_was(label: int) -> None:
    run, model = tiny.new_run(), tiny.own_copy("cnn_small").train()
    before, spec = digest(model.state_dict()), METHODS["unsir"]
    data = tiny.view(spec, run, PARTS, tiny.data())
    noise = spec.cls(batch_size=32, noise_steps=40, reg=0.0)._noise(model, label, data, run)
    assert digest(model.state_dict()) == before
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    labels = torch.full((32,), label)
    first = torch.randn(32, 3, 8, 8, generator=generator("order", 0))
    with torch.no_grad():
        assert float(cross_entropy(model(noise), labels)) > float(cross_entropy(model(first), labels))
        assert not (model(noise).argmax(1) == label).any()
    held = spec.cls(batch_size=32, noise_steps=40, reg=1.0)._noise(model, label, data, run)
    assert float(held.square().mean()) < 0.1 < 1 < float(noise.square().mean())


def test_what_the_model_still_takes_for_the_class_is_recorded() -> None:
    run = tiny.new_run(observe=lambda _: {})
    held = {**VALUES, "noise_steps": 60, "reg": 100.0}  # nothing but zeros is left, and one class is the answer to that
    answer = int(tiny.own_copy("cnn_small").eval()(torch.zeros(1, 3, 8, 8)).argmax())
    tiny.unlearn("unsir", run, PARTS, held, forget_classes=(answer,))
    assert float(run.curves[0].recorded["noise_taken_for_class"]) == 1


def test_the_sample_has_so_many_of_every_class_to_keep_and_none_to_forget() -> None:
    draws = generator("sample", 0)
    everything = PartSamples(tiny.data(), torch.arange(tiny.DEVELOPMENT), draws)
    sample = sample_of_each_class(everything, [0, 2], 7, draws)
    assert sample.labels.bincount(minlength=tiny.CLASSES).tolist() == [0, 7, 0, 7]
    positions = tiny.positions_of(next(sample.batches(100)).images, tiny.data())
    assert len(set(positions)) == 14
    other = sample_of_each_class(everything, [0, 2], 7, generator("sample", 1))
    assert set(positions) != set(tiny.positions_of(next(other.batches(100)).images, tiny.data()))
    everyone = sample_of_each_class(everything, [0, 2], 1000, draws)
    assert len(everyone) == int(((everything.labels == 1) | (everything.labels == 3)).sum())


def test_training_sees_noise_and_retain_images_and_never_one_to_forget() -> None:
    model = tiny.own_copy("cnn_small")
    with tiny.seen_by(model) as batches:
        tiny.unlearn("unsir", tiny.new_run(), PARTS, VALUES, model=model, forget_classes=FORGET_CLASSES)
    known = {image.numpy().tobytes(): i for i, image in enumerate(tiny.data().batch(torch.arange(tiny.COUNT)))}
    found = [known.get(image.contiguous().numpy().tobytes()) for batch in batches[2 * STEPS :] for image in batch]
    real = [position for position in found if position is not None]
    assert {int(tiny.data().labels[position]) for position in real} == {1, 3}
    assert len(real) == 2 * 2 * PER_CLASS  # once to impair, once to repair
    assert found.count(None) == COPIES * 2 * BATCH


def test_it_reads_retain_alone_and_refuses_a_request_without_classes_or_for_nearly_all() -> None:
    assert METHODS["unsir"].reads == {RETAIN}
    assert not METHODS["unsir"].supports("random")
    with pytest.raises(NotAClassRequest, match="'unsir' forgets whole classes; use a scenario such as class:3"):
        tiny.unlearn("unsir", tiny.new_run(), PARTS, VALUES, forget_classes=())
    with pytest.raises(NotAClassRequest, match="forget 3 of 4 classes; two must be left"):
        tiny.unlearn("unsir", tiny.new_run(), PARTS, VALUES, forget_classes=(0, 1, 2))
