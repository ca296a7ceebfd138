"""ESC and ESC-T: the projector against its definition, the rank trap, and that nothing but the head is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from well_trained import accuracy, well_trained

from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN, Diverged
from harness.contracts.space import Value
from harness.engine.data import DeviceData, PartSamples
from harness.engine.features import penultimate
from harness.engine.models import digest, ruined
from harness.engine.seeding import generator
from tasks.methods.esc import directions, features_of, masked

PARTS = tiny.parts("class:3")
HEAD, WIDTH = "5", 64


def erased(
    method: str = "esc",
    parts: tiny.Parts = PARTS,
    model: nn.Module | None = None,
    source: DeviceData | None = None,
    **values: Value,
) -> nn.Module:
    model = model or tiny.own_copy("cnn_small", torch.float64)
    return tiny.unlearn(method, tiny.new_run(), parts, values, model=model, source=source or tiny.data(torch.float64))


def only(count: int) -> tiny.Parts:
    return {**PARTS, FORGET: PARTS[FORGET][:count]}


def layer(model: nn.Module) -> nn.Linear:
    found = model.get_submodule(HEAD)
    assert isinstance(found, nn.Linear)
    return found


def head(model: nn.Module) -> Tensor:
    return layer(model).weight.detach().clone()


def projection(found: nn.Module, before: Tensor) -> Tensor:
    """P of W' = W P for a head of more rows than features, so that there is a single answer."""
    solution: Tensor = torch.linalg.lstsq(before, head(found)).solution
    return solution


def wide() -> nn.Module:
    """The network with a head of 80 classes for its 64 features, of full rank."""
    torch.manual_seed(0)
    model = tiny.own_copy("cnn_small", torch.float64)
    model.add_module(HEAD, nn.Linear(WIDTH, 80).double())
    return model


@pytest.mark.parametrize("count", [1, 4, 10])
@pytest.mark.parametrize("p", [1.5, 5.0])
def test_the_projector_has_rank_d_minus_k_however_few_images_there_are_to_forget(count: int, p: float) -> None:
    """A thin basis of the rest would leave a rank of n - k: 9 of 64 here."""
    model = wide()
    before = head(model)
    found = projection(erased(model=model, parts=only(count), p=p), before)
    torch.testing.assert_close(found, found.T)
    torch.testing.assert_close(found @ found, found)
    assert int(torch.linalg.matrix_rank(found)) == WIDTH - min(count, max(1, int(WIDTH * p / 100)))


def test_what_goes_is_the_leading_eigenspace_of_the_features_second_moments_and_nothing_else() -> None:
    model = wide()
    features = penultimate(model, HEAD, tiny.data(torch.float64).batch(PARTS[FORGET]))
    _, vectors = torch.linalg.eigh(features.T @ features)
    before, top = head(model), vectors[:, -3:]  # int(64 x 5 / 100) = 3
    torch.testing.assert_close(head(erased(model=model, p=5.0)), before - before @ top @ top.T, rtol=1e-8, atol=1e-10)


def test_folding_into_the_head_is_the_same_as_projecting_the_features() -> None:
    images = tiny.data(torch.float64).batch(torch.arange(tiny.COUNT))
    original, found = tiny.own_copy("cnn_small", torch.float64).eval(), erased().eval()
    top = torch.linalg.svd(features_of_forget(original).T)[0][:, :1]
    seen = penultimate(original, HEAD, images)
    torch.testing.assert_close(found(images), layer(original)(seen - seen @ top @ top.T), rtol=0, atol=1e-6)


def features_of_forget(model: nn.Module) -> Tensor:
    return penultimate(model, HEAD, tiny.data(torch.float64).batch(PARTS[FORGET]))


@pytest.mark.parametrize("method", ["esc", "esc_t"])
def test_everything_but_the_weight_of_the_head_stays_to_the_bit_whatever_the_mode_it_was_left_in(method: str) -> None:
    before = tiny.own_copy("cnn_small", torch.float64).state_dict()
    found = erased(method, model=tiny.own_copy("cnn_small", torch.float64).train()).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, found[name])}
    assert changed == {f"{HEAD}.weight"}


def test_p_of_0_and_nothing_to_forget_leave_the_original_and_labels_do_not_matter() -> None:
    plain, original = tiny.data(torch.float64), digest(tiny.own_copy("cnn_small", torch.float64).state_dict())
    assert METHODS["esc"].reads == METHODS["esc_t"].reads == {FORGET}
    assert digest(erased(p=0.0).state_dict()) == original
    for method in ("esc", "esc_t"):
        assert digest(erased(method, only(0)).state_dict()) == original
    other = replace(plain, labels=plain.labels.roll(1))
    assert digest(erased(source=other).state_dict()) == digest(erased().state_dict()) != original


@pytest.mark.parametrize("method", ["esc", "esc_t"])
def test_a_class_goes_and_the_others_stay(method: str) -> None:
    assert accuracy(well_trained(), PARTS, FORGET) == 1
    found = erased(method, model=well_trained())
    assert accuracy(found, PARTS, FORGET) < 0.2
    assert accuracy(found, PARTS, RETAIN) > 0.9


@pytest.mark.parametrize("method", ["esc", "esc_t"])
@pytest.mark.parametrize("classes", [3, 20])
def test_any_number_of_classes_and_a_single_image_will_do(method: str, classes: int) -> None:
    model = ARCHITECTURES["cnn_small"].build(3, 8, classes).double().eval()
    one = torch.arange(tiny.COUNT)[:1]
    source = tiny.data(torch.float64)
    answer = model(source.batch(one)).argmax(1)
    source = replace(source, labels=source.labels.clone().index_fill(0, one, int(answer)))
    values: dict[str, Value] = {"lr": 100.0} if method == "esc_t" else {}
    found = erased(method, {**PARTS, FORGET: one}, model=model, source=source, **values)
    assert found(source.batch(one)).shape == (1, classes)
    assert not (method == "esc_t" and found.eval()(source.batch(one)).argmax(1) == answer)


@given(st.integers(1, 12), st.integers(2, 8), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_a_mask_of_ones_is_the_identity_and_a_column_of_zeros_removes_that_direction(
    count: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    basis = directions(torch.randn(count, width, dtype=torch.float64))
    assert basis.shape == (width, min(count, width))
    one = torch.eye(width, dtype=torch.float64)
    torch.testing.assert_close(masked(basis, torch.ones_like(basis)), one)
    mask = torch.ones_like(basis)
    mask[:, 0] = 0
    torch.testing.assert_close(masked(basis, mask), one - torch.outer(basis[:, 0], basis[:, 0]))


def test_the_rank_is_what_the_images_span_not_what_rounding_adds() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 30) * torch.tensor([[1.0], [5.0]])
    repeated = (torch.randn(20, 2) @ features).double()  # of float32 precision
    assert directions(repeated).shape == (30, 2)


def test_the_mask_is_plain_ascent_on_the_images_that_are_still_right_then_cut_at_the_threshold() -> None:
    """One batch, so that no order counts; the gradient by finite differences of the definition."""
    model, lr, threshold = tiny.own_copy("cnn_small", torch.float64).eval(), 40.0, 0.8
    features, labels = features_of_forget(model), tiny.data().labels[PARTS[FORGET]]
    basis, weight, bias = torch.linalg.svd(features.T, full_matrices=False)[0], head(model), layer(model).bias.detach()
    inside = basis @ basis.T

    def loss_of(mask: Tensor, chosen: Tensor) -> Tensor:
        kept = basis * mask
        seen = features[chosen] @ (torch.eye(WIDTH, dtype=torch.float64) - inside + kept @ kept.T)
        return nn.functional.cross_entropy(seen @ weight.T + bias, labels[chosen])

    mask = torch.ones_like(basis)
    right = model(tiny.data(torch.float64).batch(PARTS[FORGET])).argmax(1) == labels
    slope = torch.zeros(mask.numel()).double()
    for place in range(mask.numel()):
        nudge = torch.zeros(mask.numel()).double().index_fill(0, torch.tensor([place]), 1e-5).view(mask.shape)
        slope[place] = (loss_of(mask + nudge, right) - loss_of(mask - nudge, right)) / 2e-5
    cut = ((mask + lr * slope.view(mask.shape)).clamp(0, 1) > threshold).double()
    assert 0 < int((cut == 0).sum()) < cut.numel()
    kept = basis * cut
    expected = weight @ (torch.eye(WIDTH, dtype=torch.float64) - inside + kept @ kept.T)
    found = erased("esc_t", lr=lr, threshold=threshold, epochs=1, batch_size=64)
    torch.testing.assert_close(head(found), expected, rtol=1e-8, atol=1e-10)


def test_training_ends_once_no_image_is_right_and_what_does_nothing_says_so() -> None:
    run = tiny.new_run(observe=lambda _: {})
    tiny.unlearn("esc_t", run, PARTS, {"lr": 10.0}, model=tiny.own_copy("cnn_small"))
    assert 1 < run.steps_aside < 50
    assert run.steps == 0
    assert 0 < float(run.curves[-1].recorded["erased"]) < 1
    with pytest.warns(UserWarning, match="^esc_t: the model is the original, nothing was erased: no forget image was"):
        found = erased("esc_t", lr=0.0)
    assert digest(found.state_dict()) == digest(tiny.own_copy("cnn_small", torch.float64).state_dict())


def test_features_are_taken_from_images_as_they_are_in_their_own_order() -> None:
    model, source = tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    samples = PartSamples(source, PARTS[FORGET], generator("order", 0))
    torch.testing.assert_close(features_of(model.train(), samples, tiny.new_run()), features_of_forget(model))


@pytest.mark.parametrize("method", ["esc", "esc_t"])
def test_a_start_that_diverged_is_a_result_and_no_failure(method: str) -> None:
    """Singular vectors of what is not finite do not exist; a unit that raised for it would run at every resume."""
    start = ruined(tiny.own_copy("cnn_small"))
    with pytest.raises(Diverged, match="not finite"):
        tiny.unlearn(method, tiny.new_run(), tiny.uneven_parts(), tiny.quick(METHODS[method]), model=start)
