"""SCRUB: passes, losses and rates against a plain loop, and which epoch it rewinds to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, VAL, Samples
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.evaluate import evaluate
from harness.engine.models import digest
from harness.engine.schedules import step_decay
from harness.engine.seeding import generator
from tasks.methods import scrub
from tasks.methods._error import error
from tasks.methods.scrub import rewinding_point

PARTS = tiny.uneven_parts()
SMALL: Mapping[str, Value] = {"retain_batch_size": 8, "forget_batch_size": 8}
FACTORS = {
    1: [1e-3],
    2: [1, 1e-3],
    5: [1, 1, 0.1, 0.1, 1e-3],
    10: [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 1e-3],
}


def pretend(monkeypatch: pytest.MonkeyPatch, errors: Sequence[str]) -> list[Samples]:
    """Let the errors be these, one after the other, and return the list of the samples that were asked for."""
    asked: list[Samples] = []

    def answer(model: nn.Module, samples: Samples, run: object) -> Fraction:
        asked.append(samples)
        return Fraction(errors[len(asked) - 1])

    monkeypatch.setattr(scrub, "error", answer)
    return asked


@pytest.mark.parametrize("epochs", FACTORS)
def test_the_rate_falls_after_50_80_and_90_percent_of_the_epochs(epochs: int) -> None:
    assert [step_decay(e, epochs, 0.1) for e in range(1, epochs + 1)] == pytest.approx(FACTORS[epochs])


def test_the_optimiser_sees_that_rate_in_both_passes() -> None:
    values: dict[str, Value] = {"lr": 0.01, "epochs": 5, "max_steps": 3}
    with tiny.optimizer_steps() as rates:
        tiny.unlearn("scrub", tiny.new_run(), PARTS, values)
    passes = [2, 2, 2, 1, 1]  # one batch each: forget and retain, then retain alone
    expected = [0.01 * factor for factor, steps in zip(FACTORS[5], passes, strict=True) for _ in range(steps)]
    assert rates == pytest.approx(expected)


def test_forget_comes_first_in_order_and_in_the_first_epochs_only_then_retain_shuffled() -> None:
    model, source, retain = tiny.own_copy("cnn_small"), tiny.data(), PARTS[RETAIN].tolist()
    seen: list[int] = []
    model.register_forward_pre_hook(
        lambda module, inputs: seen.extend(tiny.positions_of(inputs[0], source)) if module.training else None
    )
    tiny.unlearn("scrub", tiny.new_run(), PARTS, {**SMALL, "epochs": 3, "max_steps": 2}, model=model)
    orders = []
    for epoch in range(3):
        if epoch < 2:
            assert [seen.pop(0) for _ in PARTS[FORGET]] == PARTS[FORGET].tolist()
        orders.append([seen.pop(0) for _ in retain])
        assert sorted(orders[-1]) == sorted(retain)
    assert not seen
    assert len({tuple(order) for order in [retain, *orders]}) == 4


def plain_scrub(temperature: float, gamma: float, alpha: float, rates: Sequence[float]) -> nn.Module:
    """Two epochs of SGD without momentum; forget is seen in the first."""
    teacher, student = tiny.own_copy("cnn_small", torch.float64).eval(), tiny.own_copy("cnn_small", torch.float64)
    source, order = tiny.data(torch.float64), generator("order", 0)
    student.train()

    def losses(positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy, and T^2 KL(teacher || student) with softened answers."""
        images, labels = source.batch(positions), source.labels[positions]
        with torch.no_grad():
            wanted = torch.softmax(teacher(images) / temperature, 1)
        logits = student(images)
        softened = torch.softmax(logits / temperature, 1)
        divergence = (wanted * (wanted / softened).log()).sum(1).mean()
        truth = -torch.log_softmax(logits, 1)[torch.arange(len(labels)), labels].mean()
        return truth, temperature**2 * divergence

    def descend(loss: Tensor, rate: float) -> None:
        gradients = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(student.parameters(), gradients, strict=True):
                weight.sub_(rate * gradient)

    for epoch, rate in enumerate(rates):
        for positions in PARTS[FORGET].tensor_split(2) if epoch == 0 else ():
            descend(-losses(positions)[1], rate)
        for positions in PARTS[RETAIN][torch.randperm(26, generator=order)].tensor_split(4):
            truth, divergence = losses(positions)
            descend(gamma * truth + alpha * divergence, rate)
    return student


@pytest.mark.parametrize(("gamma", "alpha"), [(0.9, 0.4), (1.0, 0.0), (0.0, 1.0)])
def test_ends_in_the_weights_of_a_plain_loop(gamma: float, alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ["0", "0", "1", "1"])  # the last epoch is nearest
    values: dict[str, Value] = {"lr": 0.02, "momentum": 0.0, "weight_decay": 0.0, "epochs": 2, "max_steps": 1}
    found = tiny.unlearn(
        "scrub",
        tiny.new_run(),
        PARTS,
        {**SMALL, **values, "temperature": 3.0, "gamma": gamma, "alpha": alpha, "decay": 0.5},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )
    expected = plain_scrub(3.0, gamma, alpha, rates=[0.02, 0.02 * 0.5**3]).state_dict()
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("errors", "wanted", "index"),
    [
        (["0.1", "0.5", "0.9"], "0.6", 1),
        (["0.1", "0.5", "0.9"], "0", 0),
        (["0.1", "0.5", "0.9"], "1", 2),
        (["0.9", "0.3", "0.1", "0.3"], "0.2", 1),  # three are equally near, two from above and one from below
    ],
)
def test_rewinds_to_the_nearest_error_and_to_the_first_of_several(errors: list[str], wanted: str, index: int) -> None:
    assert rewinding_point([Fraction(e) for e in errors], Fraction(wanted)) == index


@pytest.mark.parametrize(
    ("variant", "errors", "epoch"),
    [
        ("default", ["0", "0.2", "0.7", "0.9"], 2),
        ("fixed", ["0", "0.2", "0.7", "0.9"], 2),
        ("default", ["0", "0.2", "0.4", "0.6"], 3),
        ("default", ["0.5", "0.2", "0.1", "0.9"], 3),  # the original is nearest: the final model stays
        ("reference", ["0.5", "0.2", "0.1", "0.9"], 3),
        ("fixed", ["0.5", "0.2", "0.1", "0.9"], 0),
    ],
)
def test_returns_the_model_of_the_epoch_with_the_nearest_error(
    variant: str, errors: list[str], epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [*errors, "0.65"])
    digests: list[str] = []

    def observe(model: nn.Module) -> dict[str, float]:
        digests.append(digest(model.state_dict()))
        return {}

    values: dict[str, Value] = {**SMALL, "lr": 0.05, "epochs": 3, "max_steps": 1, "variant": variant}
    found = tiny.unlearn("scrub", tiny.new_run(observe=observe), PARTS, values)
    assert len(set(digests)) == 4
    assert digests.index(digest(found.state_dict())) == epoch


def test_compares_errors_on_forget_with_the_error_on_validation_images_of_its_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = tiny.parts("class:3")
    asked = pretend(monkeypatch, ["0"] * 4)
    tiny.unlearn("scrub", tiny.new_run(), index, {"epochs": 2})
    *forget, val = (samples.index.tolist() for samples in asked if isinstance(samples, PartSamples))
    assert forget == [index[FORGET].tolist()] * 3
    assert val == [i for i in index[VAL].tolist() if tiny.images().labels[i] == 3]
    assert len(val) == 2


def test_keeps_the_final_model_where_no_validation_image_has_a_class_of_forget() -> None:
    index = tiny.parts("class:3")
    others = index[VAL][tiny.data().labels[index[VAL]] != 3]
    for variant in ("default", "fixed"):
        digests: list[str] = []

        def observe(model: nn.Module, digests: list[str] = digests) -> dict[str, float]:
            digests.append(digest(model.state_dict()))
            return {}

        values: dict[str, Value] = {"epochs": 2, "variant": variant}
        found = tiny.unlearn("scrub", tiny.new_run(observe=observe), {**index, VAL: others}, values)
        assert digest(found.state_dict()) == digests[-1]


@pytest.mark.parametrize("training", [True, False])
def test_an_error_is_the_share_of_wrong_answers_in_eval_mode(training: bool) -> None:
    model, run = tiny.own_copy("cnn_small").train(training), tiny.new_run()
    before = digest(model.state_dict())
    for part in (RETAIN, FORGET, VAL):
        found = error(model, PartSamples(tiny.data(), PARTS[part], run.generator), run)
        accuracy = evaluate(model, tiny.data(), PARTS[part]).accuracy
        assert 0 < found < 1
        assert float(found) == pytest.approx(1 - accuracy)
    assert model.training is training
    assert digest(model.state_dict()) == before
