"""JIT: an independent loop in float64, closed forms on linear models, what it reads, and where it does nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, InvalidHyperparameter
from harness.contracts.space import Value
from harness.engine.data import DeviceData
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from tasks.methods.jit import NoNoise, neighbour

PARTS = tiny.uneven_parts()
FORGOTTEN = len(PARTS[FORGET])
PIXELS = 3 * 8 * 8


def smoothed(
    values: Mapping[str, Value],
    model: nn.Module | None = None,
    source: DeviceData | None = None,
    run: TrainingRun | None = None,
) -> nn.Module:
    return tiny.unlearn(
        "jit",
        run or tiny.new_run(),
        PARTS,
        values,
        model=model or tiny.own_copy("cnn_small", torch.float64),
        source=source or tiny.data(torch.float64),
    )


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def linear(weight: Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, len(weight), bias=False)).double()
    model[1].weight = nn.Parameter(weight.double())
    return model


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("gradient", ["clean", "both"])
def test_is_plain_descent_on_the_ratio_of_output_to_input_distance(gradient: str, mode: str) -> None:
    """Written out image by image, on a model with BatchNorm, for two batches and three neighbours."""
    lr, sigma, count = 0.01, 0.3, 3
    model, source = tiny.own_copy("cnn_small", torch.float64).train(mode == "train"), tiny.data(torch.float64)
    draws = generator("order", 0)
    for positions in PARTS[FORGET].tensor_split(2):
        images = source.batch(positions)
        low, high = float(images.min()), float(images.max())
        clean, total = model(images), torch.zeros(()).double()
        for _ in range(count):
            noise = torch.randn(images.shape, generator=draws, dtype=torch.float64)
            near = (images + sigma * noise).clip(low, high)
            other = model(near) if gradient == "both" else model(near).detach()
            for i in range(len(images)):
                apart = (clean[i] - other[i]).square().sum().sqrt()
                total = total + apart / (images[i] - near[i]).square().sum().sqrt() / count
        slopes = torch.autograd.grad(total, list(model.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter.sub_(lr * slope)
    run = tiny.new_run()
    values: dict[str, Value] = {"lr": lr, "sigma": sigma, "neighbours": count, "batch_size": 7}
    found = smoothed({**values, "gradient": gradient, "mode": mode}, run=run)
    assert run.steps == 2
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(flat(found), flat(tiny.original("cnn_small")).double(), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 2.0])
def test_a_multiple_of_the_identity_has_its_factor_as_ratio_for_every_sigma(sigma: float) -> None:
    run = tiny.new_run(observe=lambda _: {})
    smoothed({"sigma": sigma, "lr": 1e-9}, linear(-3 * torch.eye(PIXELS)), run=run)
    assert float(run.curves[-1].recorded["roughness"]) == pytest.approx(3, rel=1e-5)
    assert run.curves[-1].loss == pytest.approx(3 * FORGOTTEN, rel=1e-5)  # a sum over the batch, a mean over neighbours


def test_the_gradient_grows_as_one_over_sigma_when_only_the_clean_image_carries_it() -> None:
    """Tiny deviations, so that little is clamped; with both branches differentiated, sigma cancels."""
    before = 2 * torch.eye(PIXELS)
    moved = {}
    for gradient in ("clean", "both"):
        for sigma in (1e-4, 1e-2):
            found = smoothed({"sigma": sigma, "lr": 1e-8, "gradient": gradient}, linear(before))
            moved[gradient, sigma] = float((flat(found) - before.double().flatten()).norm())
    assert moved["clean", 1e-4] / moved["clean", 1e-2] == pytest.approx(100, rel=0.1)
    assert moved["both", 1e-4] / moved["both", 1e-2] == pytest.approx(1, rel=0.1)


def test_noise_stays_inside_the_range_of_the_whole_batch() -> None:
    images = torch.tensor([-1.0, 0.0, 0.5, 2.0]).view(4, 1, 1, 1).repeat(1, 3, 4, 4)
    near = neighbour(images, 5.0, torch.Generator().manual_seed(0))
    assert (float(near.min()), float(near.max())) == (-1, 2)
    assert float(near[0].max()) == 2  # not within the range of an image of its own


def test_labels_and_the_retain_part_do_not_matter() -> None:
    plain = tiny.data(torch.float64)
    assert METHODS["jit"].reads == {FORGET}
    found = [
        digest(smoothed({"lr": 0.01}, source=s).state_dict())
        for s in (plain, replace(plain, labels=plain.labels.roll(1)))
    ]
    assert found[0] == found[1]


def test_in_eval_mode_no_statistic_of_batch_norm_moves() -> None:
    before = dict(tiny.own_copy("cnn_small", torch.float64).named_buffers())
    found = smoothed({"lr": 0.01}, tiny.own_copy("cnn_small", torch.float64).train())
    assert digest(dict(found.named_buffers())) == digest(before)


def test_a_constant_network_stays_and_says_so() -> None:
    run = tiny.new_run(observe=lambda _: {})
    with pytest.warns(UserWarning, match="^jit: the model is the original: no weight moved"):
        found = smoothed({"lr": 1.0}, linear(torch.zeros(tiny.CLASSES, PIXELS)), run=run)
    assert not flat(found).any()
    assert run.curves[-1].loss == 0


def test_images_without_any_range_have_no_neighbour_and_change_nothing() -> None:
    source = replace(tiny.data(torch.float64), scale=torch.zeros(3).double().view(1, 3, 1, 1))
    source = replace(source, shift=torch.ones(3).double().view(1, 3, 1, 1))
    with pytest.warns(UserWarning, match="^jit: the model is the original"):
        found = smoothed({"lr": 1.0}, source=source)
    assert torch.equal(flat(found), flat(tiny.own_copy("cnn_small", torch.float64)))


def test_the_record_says_how_far_the_weights_have_moved() -> None:
    run = tiny.new_run(observe=lambda _: {})
    found, before = flat(smoothed({"lr": 0.01}, run=run)), flat(tiny.own_copy("cnn_small", torch.float64))
    moved = float(run.curves[-1].recorded["moved"])
    assert moved == pytest.approx(float((found - before).norm() / before.norm()), rel=1e-5)
    assert 0 < moved < math.inf


def test_a_deviation_of_0_and_unknown_options_are_refused() -> None:
    with pytest.raises(NoNoise, match=r"^jit\.sigma is 0; it must be above 0"):
        smoothed({"sigma": 0.0})
    for name in ("mode", "gradient"):
        with pytest.raises(InvalidHyperparameter, match=f"jit.{name} is 'none'; it must be one of"):
            METHODS["jit"].checked({name: "none"})
