"""KDE: what is reset, what each phase sees and minimises, and what the validation part may be used for."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, TEST, VAL
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.seeding import generator
from harness.engine.weights import reset_parameters
from tasks.methods.kde import retain_loss

PARTS = tiny.uneven_parts()
SMALL: dict[str, Value] = {"batch_size": 8, "epochs": 2, "retain_epochs": 2}
STILL: dict[str, Value] = {"lr": 0.0, "retain_lr": 0.0, "epochs": 1, "retain_epochs": 1}


def test_retain_loss_of_one_image() -> None:
    """At T = 2 the teacher says (1/2, 1/2), the student (3/4, 1/4); at T = 1 the student says (9/10, 1/10)."""
    student, teacher = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    soft = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    expected = soft - math.log(1 / 10) + (soft - math.log(2))
    assert float(retain_loss(student, teacher, torch.tensor([1]), 2.0)) == pytest.approx(expected)


def test_retain_loss_is_a_mean_over_images() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher, labels = torch.randn(3, 4, generator=draw), torch.randn(3, 4, generator=draw), torch.arange(3)
    alone = [retain_loss(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1], 3.0) for i in range(3)]
    torch.testing.assert_close(retain_loss(student, teacher, labels, 3.0), torch.stack(alone).mean())


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    now = after.state_dict()
    return {name for name, weight in before.named_parameters() if not torch.equal(weight, now[name])}


@pytest.mark.parametrize("variant", ["default", "holdout"])
def test_stem_and_head_are_drawn_anew_as_pytorch_does_and_nothing_else(variant: str) -> None:
    found = tiny.unlearn("kde", tiny.new_run(), PARTS, {**STILL, "variant": variant}).state_dict()
    before = tiny.original("cnn_small")
    for name, weight in before.named_parameters():
        assert torch.equal(found[name], weight) == (not name.startswith(("0.", "5."))), name
    for name in ("0.0.weight", "5.weight"):  # uniform within 1 / sqrt(fan in)
        bound = found[name][0].numel() ** -0.5
        assert 0.9 * bound < float(found[name].abs().max()) <= bound
    assert found["0.2.weight"].eq(1).all()
    assert found["0.2.bias"].eq(0).all()


def test_reference_resets_a_module_called_conv1_in_place_of_the_stem() -> None:
    values: dict[str, Value] = {**STILL, "variant": "reference"}
    small = tiny.unlearn("kde", tiny.new_run(), PARTS, values)
    assert changed(tiny.original("cnn_small"), small) == {"5.weight", "5.bias"}
    few = {**PARTS, RETAIN: PARTS[RETAIN][:4], VAL: PARTS[VAL][:4]}
    start = tiny.initial("resnet18_cifar")
    resnet = tiny.unlearn("kde", tiny.new_run("resnet18_cifar"), few, values, model=deepcopy(start))
    assert changed(start, resnet) == {"conv1.weight", "fc.weight", "fc.bias"}
    assert float(resnet.get_parameter("conv1.weight").detach().abs().max()) <= 27**-0.5


def plain_kde(temperature: float) -> nn.Module:
    teacher, model = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.own_copy("cnn_small", torch.float64)
    source, order = tiny.data(torch.float64), generator("order", 0)
    for name in ("0", "5"):
        reset_parameters(model.get_submodule(name), order)
    model.train()

    def answers(positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Softened answers of the teacher, logs of the student's, and the student's logits."""
        with torch.no_grad():
            wanted = torch.softmax(teacher(source.batch(positions)) / temperature, 1)
        logits = model(source.batch(positions))
        return wanted, torch.log_softmax(logits / temperature, 1), logits

    def descend(loss: Tensor, rate: float, decay: float, velocity: list[Tensor]) -> None:
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for w, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                v.mul_(0.8).add_(g + decay * w)
                w.sub_(rate * v)

    velocity = [torch.zeros_like(w) for w in model.parameters()]
    for _ in range(2):
        for positions in PARTS[VAL].tensor_split(2):
            wanted, found, _ = answers(positions)
            descend((wanted * (wanted.log() - found)).sum(1).mean(), 0.02, 1e-3, velocity)
    velocity = [torch.zeros_like(w) for w in model.parameters()]
    for epoch in range(2):
        rate = 0.03 * (1 + math.cos(math.pi * epoch / 2)) / 2
        for positions in PARTS[RETAIN][torch.randperm(26, generator=order)].tensor_split(6):
            wanted, found, logits = answers(positions)
            soft = -(wanted * found).sum(1).mean()
            truth = nn.functional.cross_entropy(logits, source.labels[positions])
            divergence = (wanted * (wanted.log() - found)).sum(1).mean()
            descend(soft + truth + divergence, rate, 2e-3, velocity)
    return model


def test_ends_in_the_weights_of_a_plain_loop() -> None:
    values: dict[str, Value] = {"lr": 0.02, "weight_decay": 1e-3, "retain_lr": 0.03, "retain_weight_decay": 2e-3}
    found = tiny.unlearn(
        "kde",
        tiny.new_run(),
        PARTS,
        {**SMALL, **values, "momentum": 0.8, "temperature": 3.0, "batch_size": 5},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )
    expected = plain_kde(3.0).state_dict()
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6, msg=name)


def test_the_rate_is_constant_on_validation_images_and_falls_on_a_cosine_over_the_epochs_on_retain() -> None:
    values: dict[str, Value] = {"lr": 0.02, "retain_lr": 0.04, "epochs": 3, "retain_epochs": 2}
    with tiny.optimizer_steps() as rates:
        tiny.unlearn("kde", tiny.new_run(), PARTS, values)
    assert rates == pytest.approx([0.02, 0.02, 0.02, 0.04, 0.02])


def batches_seen(variant: str, index: tiny.Parts = PARTS, **values: Value) -> list[list[int]]:
    """Every batch that the model was trained with, in order."""
    model, seen = tiny.own_copy("cnn_small"), list[list[int]]()
    model.register_forward_pre_hook(  # the teacher's copy of the hook is silent: it is in eval mode
        lambda module, inputs: seen.append(tiny.positions_of(inputs[0], tiny.data())) if module.training else None
    )
    tiny.unlearn("kde", tiny.new_run(), index, {**SMALL, **values, "variant": variant}, model=model)
    return seen


def images_seen(variant: str) -> list[int]:
    return [i for batch in batches_seen(variant) for i in batch]


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_validation_images_are_seen_in_order_in_the_first_phase_and_retain_shuffled_in_the_second(
    variant: str,
) -> None:
    images, val, retain = images_seen(variant), PARTS[VAL].tolist(), PARTS[RETAIN].tolist()
    assert images[:16] == val + val
    first, second = images[16:42], images[42:]
    assert sorted(first) == sorted(second) == sorted(retain)
    assert first != second


def after_scrambling(variant: str, *, pixels: bool) -> str:
    """Run with other labels (and other pixels, if so) everywhere but in retain; return the digest of the model."""
    hidden = torch.cat([PARTS[part] for part in (FORGET, VAL, TEST)])
    images, labels = tiny.data().images.clone(), tiny.data().labels.clone()
    labels[hidden] = (labels[hidden] + 1) % tiny.CLASSES
    if pixels:
        images[hidden] = 255 - images[hidden]
    source = replace(tiny.data(), images=images, labels=labels)
    values = {**SMALL, "variant": variant}
    return digest(tiny.unlearn("kde", tiny.new_run(), PARTS, values, source=source).state_dict())


@pytest.mark.parametrize("variant", ["default", "reference", "holdout"])
def test_labels_of_validation_images_are_never_read_and_holdout_reads_no_pixel_of_them_either(variant: str) -> None:
    usual = digest(tiny.unlearn("kde", tiny.new_run(), PARTS, {**SMALL, "variant": variant}).state_dict())
    assert after_scrambling(variant, pixels=False) == usual
    assert (after_scrambling(variant, pixels=True) == usual) == (variant == "holdout")


def test_holdout_divides_retain_at_random_and_each_phase_sees_its_own_piece() -> None:
    images, retain = images_seen("holdout"), PARTS[RETAIN].tolist()
    piece, rest = images[:8], images[16:]
    assert len(set(piece)) == len(PARTS[VAL]) == 8
    assert images[8:16] == piece
    assert sorted(rest[:18]) == sorted(rest[18:]) == sorted(set(retain) - set(piece))
    assert piece != retain[:8]


def test_holdout_takes_at_most_half_of_retain() -> None:
    few = {**PARTS, RETAIN: PARTS[RETAIN][:12]}
    batches = batches_seen("holdout", few, batch_size=64, epochs=1, retain_epochs=1)
    assert [len(batch) for batch in batches] == [6, 6]
