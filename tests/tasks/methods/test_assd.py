"""ASSD: the published percentiles, how many weights they select, and that it is SSD at the alpha that follows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN, InvalidHyperparameter
from harness.engine.data import PartSamples
from tasks.methods._dampening import percentile, quantile
from tasks.methods._importance import FISHER, Importances, of_batches
from tasks.methods.assd import adaptive_alpha

PARTS = tiny.uneven_parts()
SHARE = 14 / 40


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def unlearned(method: str, values: dict[str, float | int | str], index: tiny.Parts = PARTS) -> Tensor:
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    return flat(tiny.unlearn(method, tiny.new_run(), index, values, model=model, source=source))


def importances(index: Tensor, size: int) -> Importances:
    run = tiny.new_run()
    samples = PartSamples(tiny.data(torch.float64), index, run.generator)
    return of_batches(tiny.own_copy("cnn_small", torch.float64), samples, FISHER, size, run)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.001, 99.9047), (0.01, 99.3069), (0.05, 98.2082), (0.1, 97.6021), (0.5, 96.0682)]
)
def test_percentiles_are_the_published_ones(share: float, expected: float) -> None:
    assert percentile(share) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.976021, 1.0])
def test_quantile_is_that_of_numpy(count: int, share: float) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    assert float(quantile(values, share)) == pytest.approx(float(np.quantile(values.numpy(), share)), rel=1e-12)


def test_alpha_is_one_number_over_all_tensors_without_ratios_that_are_not_finite() -> None:
    forget = {"a": torch.tensor([[0.0, 8.0], [3.0, 0.0]]).double(), "b": torch.tensor([5.0, 2.0]).double()}
    kept = {"a": torch.tensor([[0.0, 2.0], [0.0, 1.0]]).double(), "b": torch.tensor([5.0, 1.0]).double()}
    assert adaptive_alpha(forget, kept, 90) == pytest.approx(2 + 0.7 * (4 - 2))  # of 0, 1, 2, 4: place 2.7
    assert adaptive_alpha({"a": torch.ones(2)}, {"a": torch.zeros(2)}, 90) == math.inf


@pytest.mark.parametrize("variant", ["default", "retain"])
def test_is_ssd_at_the_percentile_of_the_ratios(variant: str) -> None:
    rest = PARTS[RETAIN] if variant == "retain" else torch.cat([PARTS[RETAIN], PARTS[FORGET]])
    forget, kept = importances(PARTS[FORGET], 7), importances(rest, 7)
    ratios = np.concatenate([(forget[name] / kept[name]).numpy().ravel() for name in forget])
    unbounded = int(np.isinf(ratios).sum())  # of weights that matter to forget alone: selected, but not counted
    ratios = ratios[np.isfinite(ratios)]
    alpha = float(np.percentile(ratios, 100 - math.log(1 + 100 * SHARE)))
    found = unlearned("assd", {"batch_size": 7, "variant": variant})
    torch.testing.assert_close(
        found, unlearned("ssd", {"alpha": alpha, "batch_size": 7, "variant": variant}), rtol=1e-9, atol=0
    )
    selected = (found != flat(tiny.own_copy("cnn_small", torch.float64))).sum()  # alpha > 1: each of them shrinks
    assert alpha > 1
    assert int(selected) - unbounded == pytest.approx(len(ratios) * math.log(1 + 100 * SHARE) / 100, abs=2)


def test_a_copy_of_all_images_is_a_ratio_of_1_everywhere_and_the_original_is_announced() -> None:
    with pytest.warns(UserWarning, match="^assd: the model is the original.*no ratio of importances is above"):
        found = unlearned("assd", {"variant": "retain"}, {**PARTS, RETAIN: PARTS[FORGET]})
    assert torch.equal(found, flat(tiny.own_copy("cnn_small", torch.float64)))


def test_only_the_batch_of_the_importances_can_be_set_and_no_search_draws_it() -> None:
    spec = METHODS["assd"]
    assert not any(range_.searched for range_ in spec.space.values())
    with pytest.raises(InvalidHyperparameter, match=r"assd\.batch_size is 0; it must be finite and at least 1"):
        spec.checked({"batch_size": 0})
    with pytest.raises(InvalidHyperparameter, match="method 'assd' has no hyperparameter 'alpha'"):
        spec.checked({"alpha": 1.0})
