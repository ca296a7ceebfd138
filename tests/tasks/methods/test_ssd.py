"""SSD and its kin: the published vectors, a closed form on a linear model, what each of the four depends on, no-ops."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN, InvalidHyperparameter
from harness.contracts.space import Value
from harness.engine.models import digest
from tasks.methods._dampening import factor
from tasks.methods._importance import NoGradient

PARTS = tiny.uneven_parts()  # 26 to retain, 14 to forget
PIXELS = 3 * 8 * 8
ALL = ("ssd", "ssd_det", "lfssd", "lfssd_det")


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, tiny.CLASSES)).double()


def dampened(
    method: str, values: Mapping[str, Value], model: nn.Module | None = None, index: tiny.Parts = PARTS
) -> nn.Module:
    source = tiny.data(torch.float64)
    return tiny.unlearn(method, tiny.new_run(), index, values, model=model or linear(), source=source)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def importance(method: str, batches: tuple[Tensor, ...]) -> Tensor:
    """Of a linear model z = W x + b, from its slopes alone: p - e_y of CE, 2 z of ||z||^2; weights, then biases."""
    model, source, totals = linear(), tiny.data(torch.float64), []
    for positions in batches:
        images = source.batch(positions).flatten(1)
        logits = model(images).detach()
        labels = one_hot(source.labels[positions], tiny.CLASSES)
        slope = 2 * logits if method.startswith("lf") else logits.softmax(1) - labels
        mean = torch.cat([(slope.T @ images / len(images)).flatten(), slope.mean(0)])
        totals.append(mean.abs() if method.startswith("lf") else mean.square())
    return torch.stack(totals).mean(0)


@pytest.mark.parametrize(
    ("alpha", "dampening", "expected"),
    [(2, 1, (0.25, 1, 1, 0.0556, 0)), (2, 5, (1, 1, 1, 0.2778, 0)), (10, 1, (1, 1, 1, 0.0556, 0))],
)
def test_factors_are_those_of_the_worked_example(alpha: float, dampening: float, expected: tuple[float, ...]) -> None:
    forget, everything = torch.tensor([4.0, 1, 0, 9, 3]), torch.tensor([1.0, 1, 0, 0.5, 0])
    found = factor(forget, everything, alpha, dampening)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=5e-5)


@pytest.mark.parametrize("variant", ["default", "retain"])
@pytest.mark.parametrize("method", ALL)
def test_dampens_a_linear_model_as_the_closed_form_says(method: str, variant: str) -> None:
    size, alpha, dampening = 10, 1.2, 1.1
    values: dict[str, Value] = {"alpha": alpha, "dampening": dampening, "variant": variant}
    forget, rest = PARTS[FORGET], PARTS[RETAIN]
    if variant == "default":
        rest = torch.cat([rest, forget])
    if method.endswith("det"):
        batches = forget.tensor_split(len(forget)), rest.tensor_split(len(rest))
    else:
        values["batch_size"] = size
        batches = forget.tensor_split(2), rest.tensor_split(4 if variant == "default" else 3)
    important, kept = (importance(method, part) for part in batches)
    factors = torch.where(important > alpha * kept, (dampening * kept / important).clamp(max=1), 1)
    assert 10 < int((factors < 1).sum()) < len(factors) - 10
    torch.testing.assert_close(flat(dampened(method, values)), factors * flat(linear()))


@pytest.mark.parametrize("method", ALL)
def test_only_det_takes_the_images_in_any_order(method: str) -> None:
    values: dict[str, Value] = {"alpha": 1.2}
    if not method.endswith("det"):
        values["batch_size"] = 5
    turned = {**PARTS, FORGET: PARTS[FORGET][torch.randperm(14, generator=torch.Generator().manual_seed(0))]}
    first, second = (flat(dampened(method, values, index=index)) for index in (PARTS, turned))
    assert torch.allclose(first, second, rtol=1e-9) == method.endswith("det")


@pytest.mark.parametrize("method", ALL)
def test_only_the_label_free_ones_ignore_labels(method: str) -> None:
    plain = tiny.data(torch.float64)
    other = replace(plain, labels=plain.labels.roll(3))
    found = [
        flat(tiny.unlearn(method, tiny.new_run(), PARTS, {"alpha": 1.2}, model=linear(), source=source))
        for source in (plain, other)
    ]
    assert torch.equal(*found) == method.startswith("lf")


@pytest.mark.parametrize("method", ["ssd_det", "lfssd_det"])
@pytest.mark.parametrize("architecture", ["cnn_small", "tinyvit_tiny"])
def test_image_by_image_is_a_loop_over_images(method: str, architecture: str) -> None:
    """Against plain autograd, one image at a time, on layers that the engine maps over images."""
    source, alpha = tiny.data(torch.float64), 1.3
    model = tiny.own_copy(architecture, torch.float64).eval()
    means = []
    for positions in (PARTS[FORGET], torch.cat([PARTS[RETAIN], PARTS[FORGET]])):
        total = torch.zeros_like(flat(model))
        for position in positions.tensor_split(len(positions)):
            logits = model(source.batch(position))
            label = source.labels[position]
            value = logits.square().sum() if method == "lfssd_det" else logits.logsumexp(1) - logits[0, label]
            pieces = torch.autograd.grad(value.sum(), list(model.parameters()), materialize_grads=True)
            size = torch.cat([piece.flatten() for piece in pieces]).abs()
            total += size if method == "lfssd_det" else size.square()
        means.append(total / len(positions))
    wanted = torch.where(means[0] > alpha * means[1], means[1] / means[0], 1) * flat(model)
    run = tiny.new_run(architecture)
    fresh = tiny.own_copy(architecture, torch.float64).train()
    found = tiny.unlearn(method, run, PARTS, {"alpha": alpha}, model=fresh, source=source)
    torch.testing.assert_close(flat(found), wanted, rtol=1e-6, atol=1e-10)
    assert int((wanted != flat(model)).sum()) > 10
    assert digest(dict(found.named_buffers())) == digest(
        dict(tiny.own_copy(architecture, torch.float64).named_buffers())
    )
    assert run.steps == 0


@pytest.mark.parametrize("method", ["ssd_det", "lfssd_det"])
def test_from_the_bound_on_the_original_is_returned_and_the_bound_is_named(method: str) -> None:
    bound, before = 40 / 14, flat(tiny.own_copy("cnn_small", torch.float64))
    with pytest.warns(UserWarning, match=f"^{method}: the model is the original.*below n / n_forget = 2.857$"):
        assert torch.equal(flat(dampened(method, {"alpha": bound}, tiny.own_copy("cnn_small", torch.float64))), before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # ReLUs that open for the forget part alone reach the bound
        found = flat(dampened(method, {"alpha": 0.9999 * bound}, tiny.own_copy("cnn_small", torch.float64)))
    changed = found != before
    assert changed.any()
    torch.testing.assert_close(
        found[changed] / before[changed], torch.full_like(before[changed], 1 / bound), rtol=1e-3, atol=0
    )


def test_batches_that_are_the_same_in_both_passes_obey_the_bound_and_an_empty_selection_is_said() -> None:
    """Retain has 26 images, so that batches of 2 mix nothing, and I_all >= (7 of 20 batches) x I_forget."""
    with pytest.warns(UserWarning, match="^ssd: the model is the original.*alpha = 2.85714; lower it$"):
        assert torch.equal(flat(dampened("ssd", {"alpha": 20 / 7 + 1e-9, "batch_size": 2})), flat(linear()))


def test_a_dampening_above_every_ratio_is_said() -> None:
    with pytest.warns(UserWarning, match="^ssd_det: the model is the original.*makes no selected parameter smaller"):
        assert torch.equal(flat(dampened("ssd_det", {"alpha": 1.2, "dampening": 3.0})), flat(linear()))


@pytest.mark.parametrize("method", ALL)
def test_nothing_to_forget_leaves_the_original(method: str) -> None:
    with pytest.warns(UserWarning, match="the model is the original"):
        assert torch.equal(flat(dampened(method, {}, index={**PARTS, FORGET: PARTS[FORGET][:0]})), flat(linear()))


@pytest.mark.parametrize("method", ALL)
def test_weights_only_shrink_and_one_image_is_enough(method: str) -> None:
    found, before = flat(dampened(method, {}, index={**PARTS, FORGET: PARTS[FORGET][:1]})), flat(linear())
    assert (found.abs() <= before.abs()).all()
    assert (found * before >= 0).all()
    assert not torch.equal(found, before)


def test_curves_show_the_model_before_and_after_and_the_share_that_was_selected() -> None:
    run = tiny.new_run(observe=lambda model: {"size": float(flat(model).abs().sum())})
    source = tiny.data(torch.float64)
    values: dict[str, Value] = {"alpha": 1.2, "dampening": 1.5}
    found = tiny.unlearn("ssd_det", run, PARTS, values, model=linear(), source=source)
    before, after = run.curves
    assert before.measured["size"] > after.measured["size"] == float(flat(found).abs().sum())
    assert float(after.recorded["dampened"]) == pytest.approx(float((flat(found) != flat(linear())).double().mean()))
    assert float(after.recorded["selected"]) > float(after.recorded["dampened"]) > 0


def test_bad_values_are_refused_and_retain_has_a_range_of_its_own() -> None:
    spec = METHODS["ssd"]
    with pytest.raises(InvalidHyperparameter, match=r"ssd\.alpha is -1\.0; it must be finite and at least 0"):
        spec.checked({"alpha": -1.0})
    with pytest.raises(InvalidHyperparameter, match=r"ssd\.variant is 'full'; it must be one of default, retain"):
        spec.checked({"variant": "full"})
    assert (spec.space["alpha"].high, spec.space_of("retain")["alpha"].high) == (100, 1e6)


class Blocked(nn.Module):
    """Answers through which no gradient comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.inner(images).detach()
        return answers


@pytest.mark.parametrize("method", [*ALL, "assd", "potion"])
def test_a_model_without_gradients_is_refused_in_one_line(method: str) -> None:
    with pytest.raises(NoGradient, match=r"^no gradient reaches the weights of the model, .*differentiable$"):
        dampened(method, tiny.quick(METHODS[method]), Blocked())
