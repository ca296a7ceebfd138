"""LoTUS: its temperature and its targets by hand, when it ends, what it reads, and the whole as a plain loop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN, VAL
from harness.contracts.space import Value
from harness.engine.data import DeviceData
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from tasks.methods.lotus import targets, temperature

PARTS = tiny.parts("class:3")
LR, DECAY, BATCH, EPOCHS, ALPHA = 3e-3, 0.1, 7, 3, 1.5
VALUES: dict[str, Value] = {"lr": LR, "weight_decay": DECAY, "batch_size": BATCH, "epochs": EPOCHS, "alpha": ALPHA}


def distilled(
    parts: tiny.Parts = PARTS,
    classes: tuple[int, ...] = (3,),
    model: nn.Module | None = None,
    source: DeviceData | None = None,
    run: TrainingRun | None = None,
    **values: Value,
) -> nn.Module:
    model, source = model or tiny.own_copy("cnn_small", torch.float64), source or tiny.data(torch.float64)
    run = run or tiny.new_run()
    return tiny.unlearn("lotus", run, parts, {**VALUES, **values}, model=model, source=source, forget_classes=classes)


def right(model: nn.Module, index: Tensor) -> float:
    with torch.no_grad():
        answers: Tensor = model.eval()(tiny.data(torch.float64).batch(index)).argmax(1)
    return float((answers == tiny.data().labels[index]).double().mean())


def plain_loop(parts: tiny.Parts, goal: float) -> nn.Module:
    """AdamW written out; the targets of every image from its own row of noise."""
    model, source, draws = (
        tiny.own_copy("cnn_small", torch.float64).eval(),
        tiny.data(torch.float64),
        generator("order", 0),
    )
    some = parts[RETAIN][torch.randperm(len(parts[RETAIN]), generator=draws)[: round(0.3 * len(parts[RETAIN]))]]
    both = torch.cat([some, parts[FORGET]])
    logits = model(source.batch(both)).detach().float()
    first, second = ([torch.zeros_like(p) for p in model.parameters()] for _ in range(2))
    step = 0
    for _ in range(EPOCHS):
        excess = right(model, parts[FORGET]) - goal
        if excess <= -0.01:
            break
        model.train()
        for chosen in torch.randperm(len(both), generator=draws).tensor_split(math.ceil(len(both) / BATCH)):
            step += 1
            noise = -torch.empty(len(chosen), tiny.CLASSES).exponential_(generator=draws).log()
            wanted = []
            for place, row, gumbel in zip(chosen.tolist(), logits[chosen], noise, strict=True):
                if place < len(some):
                    wanted.append(torch.zeros(tiny.CLASSES).index_fill(0, (row + gumbel).argmax(), 1.0))
                else:
                    wanted.append(((row + gumbel) / math.exp(ALPHA * excess)).softmax(0))
            loss = -(torch.stack(wanted) * model(source.batch(both[chosen])).log_softmax(1)).sum() / len(chosen)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, m, v, g in zip(model.parameters(), first, second, gradients, strict=True):
                    p.mul_(1 - LR * DECAY)
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g * g)
                    p.sub_(LR * m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8))
    return model


@pytest.mark.parametrize(("scenario", "classes"), [("class:3", (3,)), ("random:0.1", ())])
def test_it_is_the_plain_loop(scenario: str, classes: tuple[int, ...]) -> None:
    parts = tiny.parts(scenario)
    goal = 0 if classes else right(tiny.own_copy("cnn_small", torch.float64), parts[VAL])
    found, expected = distilled(parts, classes).state_dict(), plain_loop(parts, goal).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_the_temperature_is_one_at_the_goal_and_grows_with_the_excess() -> None:
    assert temperature(2, 0.1) == pytest.approx(1.2214, abs=5e-5)
    assert temperature(16, 0) == 1


@pytest.mark.parametrize("warmth", [0.5, 1.0, 4.0])
def test_targets_are_draws_of_the_original_s_answer_on_retain_and_softer_ones_on_forget(warmth: float) -> None:
    count, logits = 20_000, torch.tensor([1.0, 0.0, -1.0, 0.5])
    is_retain = torch.arange(count) % 2 == 0
    found = targets(logits.expand(count, -1), is_retain, warmth, generator("targets", 0))
    torch.testing.assert_close(found.sum(1), torch.ones(count))
    drawn, soft = found[is_retain], found[~is_retain]
    assert torch.equal(drawn.max(1).values, torch.ones(len(drawn)))
    expected = logits.softmax(0).double()
    chi_square = ((drawn.double().mean(0) - expected) ** 2 / expected).sum() * len(drawn)
    assert float(chi_square) < 16.3  # 0.1 %, three degrees
    # The most likely class of a soft target is a draw, too, whatever the temperature; its probability is not.
    chi_square = ((soft.argmax(1).bincount(minlength=4) / len(soft) - expected) ** 2 / expected).sum() * len(soft)
    assert float(chi_square) < 16.3
    noisy = logits - torch.empty(count, 4).exponential_(generator=generator("targets", 0)).log()
    ratio = soft[:, 0].log() - soft[:, 1].log()
    torch.testing.assert_close(ratio * warmth, (noisy[:, 0] - noisy[:, 1])[~is_retain], rtol=1e-3, atol=1e-3)


def test_no_label_counts_but_through_the_temperature() -> None:
    plain = tiny.data(torch.float64)
    other = replace(plain, labels=plain.labels.roll(1))
    found = [digest(distilled(source=s, alpha=0.0).state_dict()) for s in (plain, other)]
    assert found[0] == found[1]
    assert digest(distilled().state_dict()) != digest(distilled(source=other).state_dict())


def test_it_ends_at_once_where_forget_is_known_no_better_than_val_and_says_so() -> None:
    plain, parts = tiny.data(torch.float64), tiny.parts("random:0.1")
    answers = tiny.own_copy("cnn_small", torch.float64).eval()(plain.batch(torch.arange(tiny.COUNT))).argmax(1)
    labels = answers.clone()  # all are right
    labels[parts[FORGET][:1]] = (answers[parts[FORGET][:1]] + 1) % tiny.CLASSES
    run = tiny.new_run()
    message = "^lotus: the model is the original: its accuracy on forget is 0.75, that to reach 1$"
    with pytest.warns(UserWarning, match=message):
        found = distilled(parts, (), source=replace(plain, labels=labels), run=run)
    assert run.steps == 0
    assert digest(found.state_dict()) == digest(tiny.own_copy("cnn_small", torch.float64).state_dict())
    equal = distilled(parts, (), source=replace(plain, labels=answers), run=run)  # 1 - 1 = 0 is no reason to stop
    assert run.steps
    assert digest(equal.state_dict()) != digest(found.state_dict())


def test_it_ends_once_forget_is_worse_than_the_goal_and_records_what_it_saw() -> None:
    parts, run = tiny.parts("random:0.1"), tiny.new_run(observe=lambda _: {})
    distilled(parts, (), run=run, lr=0.1, epochs=30)
    seen = [(float(c.recorded["excess"]), float(c.recorded["temperature"])) for c in run.curves[1:]]
    assert 0 < len(seen) < 30
    for excess, warmth in seen:
        assert excess > -0.01
        assert warmth == pytest.approx(math.exp(ALPHA * excess), rel=1e-5)


def test_the_share_of_retain_is_drawn_once_and_val_gives_a_number_alone() -> None:
    model = tiny.own_copy("cnn_small", torch.float64)
    trained: list[Tensor] = []
    model.register_forward_pre_hook(lambda module, inputs: trained.append(inputs[0]) if module.training else None)
    distilled(tiny.parts("random:0.1"), (), model=model, subset=0.3, lr=1e-5)
    parts = tiny.parts("random:0.1")
    found = tiny.positions_of(torch.cat(trained), tiny.data(torch.float64))
    seen = set(found)
    assert len(found) == EPOCHS * len(seen)
    assert len(seen & set(parts[RETAIN].tolist())) == round(0.3 * len(parts[RETAIN]))
    assert seen - set(parts[RETAIN].tolist()) == set(parts[FORGET].tolist())
    assert METHODS["lotus"].reads == {RETAIN, FORGET, VAL}


@pytest.mark.parametrize("classes", [3, 20])
def test_any_number_of_classes_and_a_single_image_will_do_and_none_leaves_the_original(classes: int) -> None:
    model = ARCHITECTURES["cnn_small"].build(3, 8, classes).double()
    before = digest(model.state_dict())
    with pytest.warns(UserWarning, match="the model is the original"):
        assert digest(distilled({**PARTS, FORGET: PARTS[FORGET][:0]}, model=model).state_dict()) == before
    assert digest(distilled({**PARTS, FORGET: PARTS[FORGET][:1]}, model=model).state_dict()) != before
