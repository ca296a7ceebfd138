"""POTION: its importance in the worked example, the whole search as a plain loop, and what stops it."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from well_trained import accuracy as accuracy_on
from well_trained import well_trained

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN
from harness.contracts.space import Value
from harness.engine.data import DeviceData
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from tasks.methods._importance import NORM_SENSITIVITY, SENSITIVITY, Measure, of_batches

PARTS = tiny.parts("class:3")
SHARE = len(PARTS[FORGET]) / (len(PARTS[FORGET]) + len(PARTS[RETAIN]))
SIZE = 7
Numbers = NDArray[np.float64]


def model() -> nn.Module:
    return tiny.own_copy("cnn_small", torch.float64)


def flat(one: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in one.parameters()])


def potion(
    run: TrainingRun | None = None,
    *,
    source: DeviceData | None = None,
    parts: tiny.Parts = PARTS,
    **values: Value,
) -> nn.Module:
    source = source or tiny.data(torch.float64)
    given = {"batch_size": SIZE, **values}
    return tiny.unlearn("potion", run or tiny.new_run(), parts, given, model=model(), source=source)


def importance(part: Tensor) -> Numbers:
    """The mean over batches of |gradient of the mean norm of the logits|, by a loop of its own."""
    original, source = model().eval(), tiny.data(torch.float64)
    batches = part.tensor_split(math.ceil(len(part) / SIZE))
    total = np.zeros(len(flat(original)))
    for batch in batches:
        size = original(source.batch(batch)).pow(2).sum(1).sqrt().mean()
        slopes = torch.autograd.grad(size, list(original.parameters()))
        total += torch.cat([slope.flatten() for slope in slopes]).abs().numpy()
    return total / len(batches)


def accuracy(weights: Numbers) -> float:
    one, source = model().eval(), tiny.data(torch.float64)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), one.parameters())
    return float((one(source.batch(PARTS[FORGET])).argmax(1) == source.labels[PARTS[FORGET]]).double().mean())


def search(rho: float) -> list[Numbers]:
    """The weights of every try, up to the one that is good enough."""
    forget, kept, before = importance(PARTS[FORGET]), importance(PARTS[RETAIN]), flat(model()).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = forget / kept
    tried: list[Numbers] = []
    while not tried or accuracy(tried[-1]) > rho * accuracy(before):
        rank = 100 - math.log(1 + 100 * SHARE / 25 * 1.1 ** len(tried))
        alpha = np.percentile(ratios[np.isfinite(ratios)], rank)
        tried.append(np.where(ratios > alpha, before / np.maximum(ratios, 1), before))
    return tried


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (NORM_SENSITIVITY, [[1.6466, 0.0271], [0.0271, 1.0525]]),
        (SENSITIVITY, [[10, 1], [1, 5]]),
        (Measure(NORM_SENSITIVITY.signal, 2), [[1.6466**2, 0.0271**2], [0.0271**2, 1.0525**2]]),
    ],
)
def test_importance_is_that_of_the_worked_example(measure: Measure, expected: list[list[float]]) -> None:
    class Pair:
        def batches(self, size: int, *, shuffle: bool = True) -> list[tuple[Tensor, Tensor, Tensor]]:
            assert (size, shuffle) == (2, False)
            return [(torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([0, 1]), torch.arange(2))]

    net = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(2))
    found = of_batches(net, Pair(), measure, 2, tiny.new_run())["weight"]  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=0, atol=2e-4)


def test_an_image_without_any_logit_has_a_gradient_of_0() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(NORM_SENSITIVITY.signal(logits, torch.zeros(1)).sum(), logits)
    assert torch.equal(slope, torch.zeros(1, 3))


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.75])
def test_the_search_is_the_plain_loop_and_says_that_it_converged(rho: float) -> None:
    run = tiny.new_run(observe=lambda _: {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = potion(run, rho=rho)
    tried = search(rho)
    np.testing.assert_allclose(flat(found).numpy(), tried[-1], rtol=1e-8, atol=1e-14)
    recorded = run.curves[-1].recorded
    assert (int(recorded["tries"]), int(recorded["converged"])) == (len(tried), 1)
    assert len(tried) > 1  # or no try would have had to start from the original
    assert run.steps == 0
    assert digest(dict(found.named_buffers())) == digest(dict(model().named_buffers()))


def test_each_try_changes_all_weights_that_the_one_before_did_and_the_last_is_returned_if_all_fail() -> None:
    before, changed, needed = flat(model()), [], len(search(0.0))
    for tries in range(1, needed, 8):
        run = tiny.new_run(observe=lambda _: {})
        with pytest.warns(UserWarning, match=rf"^potion: accuracy on forget is still above rho = 0 .* {tries} tries"):
            found = potion(run, rho=0.0, tries=tries)
        assert int(run.curves[-1].recorded["converged"]) == 0
        changed.append(flat(found) != before)
    assert all(not (early & ~late).any() for early, late in pairwise(changed))
    assert int(changed[-1].sum()) > int(changed[0].sum()) > 0


def test_labels_of_retain_count_for_nothing_and_those_of_forget_only_where_to_stop() -> None:
    plain = tiny.data(torch.float64)
    kept, forgotten = plain.labels.clone(), plain.labels.clone()
    kept[PARTS[RETAIN]] += 1
    forgotten[PARTS[FORGET]] = (forgotten[PARTS[FORGET]] + 1) % tiny.CLASSES
    assert torch.equal(flat(potion()), flat(potion(source=replace(plain, labels=kept % tiny.CLASSES))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, other = (flat(potion(source=source, tries=1)) for source in (plain, replace(plain, labels=forgotten)))
    assert torch.equal(one, other)


def test_one_image_is_enough_and_none_leaves_the_original() -> None:
    assert not torch.equal(flat(potion(parts={**PARTS, FORGET: PARTS[FORGET][:1]})), flat(model()))
    with pytest.warns(UserWarning, match="^potion: the model is the original: there is no image to forget"):
        assert torch.equal(flat(potion(parts={**PARTS, FORGET: PARTS[FORGET][:0]})), flat(model()))


def test_a_class_goes_and_the_others_stay() -> None:
    given: dict[str, Value] = {"rho": 0.0, "batch_size": SIZE}
    found = tiny.unlearn("potion", tiny.new_run(), PARTS, given, model=well_trained(), source=tiny.data(torch.float64))
    assert accuracy_on(well_trained(), PARTS, FORGET) == 1
    assert accuracy_on(found, PARTS, FORGET) == 0
    assert accuracy_on(found, PARTS, RETAIN) > 0.9
