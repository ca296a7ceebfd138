"""CF-k: what is trained and what is not, the pull towards the original, and the steps of the rate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.schedules import step_decay
from harness.engine.seeding import generator
from tasks.methods.cf_k import NoBlocks

PARTS = tiny.uneven_parts()
VALUES: dict[str, Value] = {"lr": 0.05, "l2": 0.3, "batch_size": 8, "epochs": 5, "decay": 0.5, "k": 1}


def cf_k(model: nn.Module | None = None, **values: Value) -> nn.Module:
    return tiny.unlearn("cf_k", tiny.new_run(), PARTS, {**VALUES, **values}, model=model)


@pytest.mark.parametrize(("k", "trained"), [(1, {"2", "5"}), (2, {"1", "2", "5"}), (7, {"1", "2", "5"})])
def test_moves_every_weight_of_the_last_k_blocks_and_the_head_and_no_bit_elsewhere(k: int, trained: set[str]) -> None:
    before, after = tiny.original("cnn_small"), cf_k(k=k)
    parameters = {name for name, _ in before.named_parameters()}
    for name, tensor in after.state_dict().items():
        moves = name in parameters and name.split(".")[0] in trained
        assert torch.equal(tensor, before.state_dict()[name]) != moves, name


def test_ends_in_the_weights_of_a_plain_loop() -> None:
    model, source, order = (
        tiny.own_copy("cnn_small", torch.float64).eval(),
        tiny.data(torch.float64),
        generator("order", 0),
    )
    weights = [*model.get_submodule("2").parameters(), *model.get_submodule("5").parameters()]
    start = [w.detach().clone() for w in weights]
    for factor in (1, 1, 1, 0.5, 0.5):
        for batch in PARTS[RETAIN][torch.randperm(26, generator=order)].tensor_split(4):
            loss = cross_entropy(model(source.batch(batch)), source.labels[batch])
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for w, origin, g in zip(weights, start, gradients, strict=True):
                    w.sub_(0.05 * factor * (g + 0.3 * (w - origin)))
    found = tiny.unlearn(
        "cf_k", tiny.new_run(), PARTS, VALUES, model=tiny.own_copy("cnn_small", torch.float64), source=source
    )
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=1e-9, msg=name)


def distance(model: nn.Module) -> float:
    pairs = zip(model.parameters(), tiny.original("cnn_small").parameters(), strict=True)
    return float(sum((a - b).detach().square().sum() for a, b in pairs)) ** 0.5


def test_a_huge_l2_holds_the_weights_where_the_original_has_them() -> None:
    assert distance(cf_k(lr=1e-3, l2=900.0, epochs=20)) < 0.2 * distance(cf_k(lr=1e-3, l2=0.0, epochs=20))


RATES = {1: [1], 2: [1, 1], 3: [1, 1, 0.1], 5: [1, 1, 1, 0.1, 0.1], 10: [1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01]}


@pytest.mark.parametrize("epochs", RATES)
def test_the_rate_falls_after_50_80_and_90_percent_of_the_epochs(epochs: int) -> None:
    assert [step_decay(epoch, epochs, 0.1) for epoch in range(epochs)] == pytest.approx(RATES[epochs])
    with tiny.optimizer_steps() as rates:
        cf_k(lr=0.02, decay=0.1, epochs=epochs, batch_size=64)
    assert rates == pytest.approx([0.02 * factor for factor in RATES[epochs]])


def test_sees_the_images_as_they_are() -> None:
    model = tiny.own_copy("cnn_small")
    with tiny.seen_by(model) as batches:
        cf_k(model, epochs=1)
    seen = [position for batch in batches for position in tiny.positions_of(batch, tiny.data())]
    assert sorted(seen) == sorted(PARTS[RETAIN].tolist())


def test_gives_the_model_back_with_every_weight_trainable() -> None:
    assert all(weight.requires_grad for weight in cf_k().parameters())


def test_an_architecture_without_blocks_is_refused_in_one_line() -> None:
    run = tiny.new_run()
    run.architecture = replace(run.architecture, blocks=())
    with pytest.raises(NoBlocks, match="'cnn_small' declares no blocks") as refused:
        tiny.unlearn("cf_k", run, PARTS, VALUES)
    assert "\n" not in str(refused.value)


class Biased(nn.Module):
    """Adds a learned bias, as windowed attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_biases = nn.Parameter(torch.zeros(192))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) + self.attention_biases


@pytest.mark.parametrize("variant", ["default", "reference"])
@pytest.mark.parametrize("method", ["cf_k", "eu_k"])
def test_attention_biases_learn_but_for_the_reference(method: str, variant: str) -> None:
    run = tiny.new_run()
    run.architecture = replace(run.architecture, stem=(), blocks=("0",), head="1")
    model = nn.Sequential(Biased(), nn.Linear(192, tiny.CLASSES))
    before = digest(model[1].state_dict())
    values: dict[str, Value] = {**VALUES, "variant": variant}
    found = tiny.unlearn(method, run, PARTS, values, model=model)
    assert bool(found.get_parameter("0.attention_biases").any()) == (variant == "default")
    assert digest(found.get_submodule("1").state_dict()) != before
