"""Fisher forgetting: the information in closed form, the bounds of the noise, and the variant that searches small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import METHODS, RETAIN
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods._released import ReleasedCodeCrashes
from tasks.methods.fisher_forgetting import noise_variance

PARTS = tiny.uneven_parts()
PIXELS = 3 * 8 * 8


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, tiny.CLASSES)).double()


def forgotten(model: nn.Module, **values: Value) -> nn.Module:
    return tiny.unlearn(
        "fisher_forgetting", tiny.new_run(), PARTS, values, model=model, source=tiny.data(torch.float64)
    )


def information(model: nn.Sequential, batches: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear model: d CE_y / d logit_c = p_c - [c = y], so no backward pass is needed."""
    weight, bias = torch.zeros(tiny.CLASSES, PIXELS).double(), torch.zeros(tiny.CLASSES).double()
    for positions in batches:
        images = tiny.data(torch.float64).batch(positions)
        p = model(images).detach().softmax(1)
        for label in range(tiny.CLASSES):
            slope = p - torch.eye(tiny.CLASSES)[label]
            weight += p[:, label].mean() * (slope.T @ images.flatten(1) / len(images)) ** 2
            bias += p[:, label].mean() * slope.mean(0) ** 2
    return weight / len(batches), bias / len(batches)


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_noise_on_a_linear_model_follows_the_closed_form(variant: str) -> None:
    model, alpha, size = linear(), 1e-4, 10
    before = [parameter.detach().clone() for parameter in model.parameters()]
    retain = PARTS[RETAIN]
    batches = retain.split(size) if variant == "reference" else retain.tensor_split(3)  # 10 10 6, or 9 9 8
    weight, bias = information(model, batches)
    variances = [
        10 * alpha * (1 / (weight + 1e-8)).clamp(max=100).mean(1, keepdim=True),
        10 * alpha * (1 / (bias + 1e-8)).clamp(max=100),
    ]
    assert len(set(variances[0].flatten().tolist())) == tiny.CLASSES  # not all at the bound
    draws = generator("order", 0)
    forgotten(model, alpha=alpha, batch_size=size, variant=variant)
    for old, new, variance in zip(before, model.parameters(), variances, strict=True):
        noise = torch.randn(old.shape, generator=draws, dtype=torch.float64)
        torch.testing.assert_close(new.detach(), old + variance.sqrt() * noise)


def test_vectors_get_ten_times_the_bounded_inverse() -> None:
    found = noise_variance(torch.tensor([0.0, 0.01, 2.0]), 0.5, classes=4)
    torch.testing.assert_close(found, torch.tensor([0.5e4, 0.5e3, 2.5]))


def test_the_inputs_of_a_layer_share_the_mean_of_their_bounded_inverses() -> None:
    kernel = torch.tensor([[[0.0, 1.0]], [[0.01, 1.0]]]).view(1, 2, 2, 1)
    found = noise_variance(kernel, 1.0, classes=4)
    torch.testing.assert_close(found, torch.tensor([(1000 + 100) / 2, 1.0]).view(1, 1, 2, 1))


def test_a_tensor_with_one_entry_per_class_has_the_lower_bound_and_ten_times_once() -> None:
    matrix = torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 1.0], [0.0, 0.0]])
    found = noise_variance(matrix, 1.0, classes=4)
    torch.testing.assert_close(found, torch.tensor([[505.0], [20.0], [10.0], [1000.0]]))
    torch.testing.assert_close(noise_variance(matrix[:, 0], 1.0, 4), torch.tensor([1e3, 20.0, 10.0, 1e3]))


def test_a_scalar_parameter_gets_the_plain_bounded_inverse() -> None:
    torch.testing.assert_close(noise_variance(torch.tensor(0.25), 0.1, classes=4), torch.tensor(0.4))


def test_a_parameter_without_gradient_holds_no_information() -> None:
    model = linear()
    model.register_parameter("attention_biases", nn.Parameter(torch.zeros(4000).double()))
    forgotten(model, alpha=0.01)
    assert float(model.attention_biases.detach().std()) == pytest.approx((0.01 * 1e3 * 10) ** 0.5, rel=0.05)


def test_reference_refuses_a_model_with_attention_biases_as_the_released_code_crashes() -> None:
    model = linear()
    model.register_parameter("attention_biases", nn.Parameter(torch.zeros(5).double()))
    before = digest(model.state_dict())
    with pytest.raises(ReleasedCodeCrashes, match="fisher_forgetting, variant reference"):
        forgotten(model, variant="reference")
    assert digest(model.state_dict()) == before


def test_batch_norm_statistics_and_the_number_of_steps_stay_as_they_were() -> None:
    run = tiny.new_run()
    found = tiny.unlearn("fisher_forgetting", run, PARTS, {}, model=tiny.own_copy("cnn_small").train())
    assert digest(dict(found.named_buffers())) == digest(dict(tiny.original("cnn_small").named_buffers()))
    assert run.steps == 0


def test_at_alpha_0_nothing_changes() -> None:
    assert digest(forgotten(linear(), alpha=0.0).state_dict()) == digest(linear().state_dict())


def test_fixed_is_the_default_with_alpha_searched_on_a_log_scale() -> None:
    spec = METHODS["fisher_forgetting"]
    found, usual = (spec.space_of(variant)["alpha"] for variant in ("fixed", "default"))
    rng = np.random.default_rng(0)
    exponents = np.log10([float(found.draw(rng, tiny.SPEC.recipe)) for _ in range(2000)])
    shares, _ = np.histogram(exponents, bins=8, range=(-9, -1))
    assert shares.sum() == 2000
    assert shares.min() > 200
    assert np.mean([float(usual.draw(rng, tiny.SPEC.recipe)) > 0.5 for _ in range(2000)]) == pytest.approx(
        0.5, abs=0.05
    )
    assert (spec.defaults("fixed")["alpha"], spec.defaults()["alpha"]) == (1e-6, 0.2)
    alike = {digest(forgotten(linear(), variant=v, alpha=1e-5).state_dict()) for v in ("fixed", "default")}
    assert len(alike) == 1
