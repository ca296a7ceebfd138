"""Bad teacher: whose answers the student learns, image by image, by which loss and with which optimiser."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN
from harness.engine.models import digest
from harness.engine.seeding import generator
from harness.engine.vision import torchvision
from tasks.methods import bad_teacher
from tasks.methods.bad_teacher import imitation, released_bad_teacher, targets

PARTS = tiny.uneven_parts()
TEMPERATURE = 2.0


def softened(model: nn.Module, images: Tensor) -> Tensor:
    """Softmax of logits / T in eval mode, written out."""
    with torch.no_grad():
        powers = (deepcopy(model).eval()(images) / TEMPERATURE).exp()
    return powers / powers.sum(1, keepdim=True)


@cache
def untrained_resnet18() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        resnet: nn.Module = torchvision().models.resnet18(num_classes=tiny.CLASSES)
    return resnet.eval()


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_forget_images_get_the_answer_of_the_untrained_model_and_retain_images_that_of_the_original(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[Tensor] = []

    def note(student: Tensor, target: Tensor, temperature: float) -> Tensor:
        wanted.append(target)
        return imitation(student, target, temperature)

    monkeypatch.setattr(bad_teacher, "imitation", note)
    model, source = tiny.own_copy("cnn_small"), tiny.data()
    seen: list[int] = []
    model.register_forward_pre_hook(  # a teacher's copy of the hook is silent: it is in eval mode
        lambda module, inputs: seen.extend(tiny.positions_of(inputs[0], source)) if module.training else None
    )
    bad = tiny.initial("cnn_small", 0, "bad teacher") if variant == "default" else untrained_resnet18()
    values = {"epochs": 2, "batch_size": 16, "temperature": TEMPERATURE, "variant": variant}
    tiny.unlearn("bad_teacher", tiny.new_run(), PARTS, values, model=model)
    positions = torch.tensor(seen)
    assert sorted(positions.tolist()) == sorted(2 * torch.cat([PARTS[RETAIN], PARTS[FORGET]]).tolist())
    for part, teacher in ((RETAIN, tiny.original("cnn_small")), (FORGET, bad)):
        of_part = torch.isin(positions, PARTS[part])
        expected = softened(teacher, source.batch(positions[of_part]))
        torch.testing.assert_close(torch.cat(wanted)[of_part], expected, rtol=0, atol=1e-5)


def test_targets_are_softened_and_chosen_row_by_row() -> None:
    full, bad = torch.tensor([[0.0, 2 * math.log(3)]] * 2), torch.tensor([[2 * math.log(4), 0.0]] * 2)
    found = targets(full, bad, torch.tensor([True, False]), TEMPERATURE)
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.2], [0.25, 0.75]]))


def test_the_loss_is_divided_by_images_and_classes() -> None:
    """KL of a certain answer against an even one is ln C."""
    student, wanted = torch.zeros(3, 4), torch.eye(4)[:3]
    assert float(imitation(student, wanted, TEMPERATURE)) == pytest.approx(3 * math.log(4) / (3 * 4))


def test_a_student_that_answers_as_wanted_has_nothing_to_learn() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    for shift, still in ((0.0, True), (0.1, False)):
        student = (logits + shift * torch.arange(4)).requires_grad_()
        loss = imitation(student, torch.softmax(logits / TEMPERATURE, 1), TEMPERATURE)
        (gradient,) = torch.autograd.grad(loss, student)
        assert (float(gradient.abs().max()) < 1e-7) == still
        assert (abs(float(loss.detach())) < 1e-7) == still


def test_the_first_step_is_one_of_adam_in_train_mode() -> None:
    """Adam's first step is lr * g / (|g| + 1e-8), whatever the size of the gradient g."""
    rate, source = 1e-3, tiny.data(torch.float64)
    student, run = tiny.own_copy("cnn_small", torch.float64), tiny.new_run()
    bad = tiny.initial("cnn_small", 0, "bad teacher").double()
    run.draw_model = lambda name: bad
    found = tiny.unlearn(
        "bad_teacher",
        run,
        PARTS,
        {"lr": rate, "weight_decay": 0.0, "epochs": 1, "temperature": TEMPERATURE},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=source,
    )
    retain, forget = (source.batch(PARTS[part]) for part in (RETAIN, FORGET))
    wanted = torch.cat([softened(student, retain), softened(bad, forget)])
    logits = student.train()(torch.cat([retain, forget])) / TEMPERATURE
    loss = (wanted * (wanted.log() - logits.log_softmax(1))).mean()
    names, weights = zip(*student.named_parameters(), strict=True)
    for name, old, g in zip(names, weights, torch.autograd.grad(loss, weights), strict=True):
        expected = old - rate * g / (g.abs() + 1e-8)
        torch.testing.assert_close(dict(found.named_parameters())[name], expected, rtol=0, atol=1e-6, msg=name)
    for name, statistic in student.named_buffers():
        torch.testing.assert_close(dict(found.named_buffers())[name], statistic, msg=name)


def test_the_released_bad_teacher_is_one_resnet18_for_all_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    found = released_bad_teacher(tiny.CLASSES)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert digest(found.state_dict()) == digest(untrained_resnet18().state_dict())


def test_the_released_bad_teacher_takes_grey_images() -> None:
    images = torch.rand(2, 1, 8, 8, generator=generator("grey"))
    teacher = bad_teacher.BadTeacher(variant="reference")._bad_teacher(tiny.CLASSES, tiny.new_run())
    torch.testing.assert_close(teacher(images), untrained_resnet18()(images.repeat(1, 3, 1, 1)))
