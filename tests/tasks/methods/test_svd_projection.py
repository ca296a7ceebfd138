"""SVDP: its spaces by closed forms, its rows against the layers that they belong to, and the whole as a plain loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import pad
from well_trained import accuracy, well_trained

from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.engine.seeding import generator
from tasks.methods._data_free import NotAClassRequest
from tasks.methods.svd_projection import project, rows, space

CLASSES = (0, 2)
PARTS = tiny.parts("classes:0,2")
DRAWS = generator("draws", 0)


def projected(
    parts: tiny.Parts = PARTS, classes: tuple[int, ...] = CLASSES, model: nn.Module | None = None, **values: Value
) -> nn.Module:
    model, source = model or tiny.own_copy("cnn_small", torch.float64), tiny.data(torch.float64)
    run = tiny.new_run(observe=lambda _: {})
    found = tiny.unlearn("svd_projection", run, parts, values, model=model, source=source, forget_classes=classes)
    assert run.steps == run.steps_aside == 0
    assert all(parameter.grad is None for parameter in found.parameters())
    return found


def activations(model: nn.Module, images: Tensor, draws: torch.Generator) -> list[Tensor]:
    """The columns of every layer's input: patches cut one by one from windows of 9 x 9, and what the head gets."""
    columns = []
    for block in (model.get_submodule(name) for name in "012"):
        padded = pad(images, (1, 1, 1, 1))
        side = padded.shape[2]
        tops, lefts = (torch.randint(max(side - 9, 0) + 1, (len(images), 1), generator=draws) for _ in range(2))
        patches = [
            padded[i, :, int(tops[i]) + y : int(tops[i]) + y + 3, int(lefts[i]) + x : int(lefts[i]) + x + 3].flatten()
            for i in range(len(images))
            for y in range(min(side, 9) - 2)
            for x in range(min(side, 9) - 2)
        ]
        columns.append(torch.stack(patches, dim=1))
        images = block(images)
    return [*columns, images.mean((2, 3)).T]


def scaled(columns: Tensor, alpha: float) -> Tensor:
    """U Lambda U^T by a singular value decomposition of the activations themselves."""
    vectors, sizes, _ = torch.linalg.svd(columns, full_matrices=False)
    share = sizes.square() / sizes.square().sum()
    lengths: Tensor = alpha * share / ((alpha - 1) * share + 1)
    found: Tensor = vectors @ lengths.diag() @ vectors.T
    return found


@pytest.mark.parametrize(("alpha_retain", "alpha_forget"), [(100, 3), (7, 30)])
def test_it_is_the_published_formula_on_patches_cut_one_by_one(alpha_retain: int, alpha_forget: int) -> None:
    source, model = tiny.data(torch.float64), tiny.own_copy("cnn_small", torch.float64).eval()
    draws, columns = generator("order", 0), []
    for part, labels in ((RETAIN, (1, 3)), (FORGET, (0, 2))):
        shuffled = PARTS[part][torch.randperm(len(PARTS[part]), generator=draws)]
        chosen = torch.cat([shuffled[source.labels[shuffled] == label][:4] for label in labels])
        with torch.no_grad():
            columns.append(activations(model, source.batch(chosen), draws))
    kept, gone = columns
    found = projected(alpha_retain=alpha_retain, alpha_forget=alpha_forget, images=8)
    expected = model.state_dict()
    for name, retain, forget in zip(("0.0", "1.0", "2.0", "5"), kept, gone, strict=True):
        blocked = scaled(forget, alpha_forget)
        whole = torch.eye(len(retain), dtype=torch.float64) - (blocked - blocked @ scaled(retain, alpha_retain))
        weight = expected[f"{name}.weight"]
        expected[f"{name}.weight"] = (weight.flatten(1) @ whole.T).view(weight.shape)
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize(("alpha", "lengths"), [(10, (0.9467, 0.8491)), (1, (0.64, 0.36)), (1000, (0.9994, 0.9982))])
def test_singular_values_of_4_and_3_give_the_lengths_worked_out_by_hand(
    alpha: float, lengths: tuple[float, float]
) -> None:
    found = space(torch.tensor([[[16.0, 0.0], [0.0, 9.0]]], dtype=torch.float64), alpha)
    torch.testing.assert_close(found[0], torch.tensor(lengths).double().diag(), rtol=0, atol=5e-5)


@given(st.integers(1, 6), st.integers(1, 9), st.floats(1, 1000), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_a_space_is_symmetric_between_nothing_and_everything(width: int, count: int, alpha: float, seed: int) -> None:
    torch.manual_seed(seed)
    columns = torch.randn(width, count, dtype=torch.float64)
    found = space((columns @ columns.T)[None], alpha)[0]
    torch.testing.assert_close(found, found.T)
    sizes = torch.linalg.eigvalsh(found)
    assert float(sizes.min()) > -1e-9
    assert float(sizes.max()) < 1 + 1e-9
    assert not space(torch.zeros(1, width, width, dtype=torch.float64), alpha).any()


def test_without_a_space_to_block_or_with_everything_spared_no_weight_moves() -> None:
    torch.manual_seed(0)
    before, some = torch.randn(4, 6), space(torch.eye(6, dtype=torch.float64)[None], 10)
    nothing, everything = torch.zeros(1, 6, 6).double(), torch.eye(6).double()[None]
    for spared, blocked in ((some, nothing), (everything, some)):
        weight = before.clone()
        project(weight, spared, blocked)
        assert torch.equal(weight, before)


@given(
    st.sampled_from([(1, 1), (1, 2), (2, 1), (4, 3)]),
    st.sampled_from([(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (3, 1, "same")]),
    st.integers(1, 2),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_rows_times_weights_are_what_a_convolution_gives(
    sizes: tuple[int, int], shape: tuple[int, int, int | str], dilation: int, circular: bool, seed: int
) -> None:
    """All its answers where the window holds the image; of a larger one each is one of its answers."""
    torch.manual_seed(seed)
    (groups, wide), (kernel, stride, padding) = sizes, shape
    layer = nn.Conv2d(
        groups * wide,
        groups * 2,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias=False,
        padding_mode="circular" if circular and padding else "zeros",
    ).double()
    weights = layer.weight.detach().reshape(groups, 2, -1)
    for side in (5 if kernel > 1 else 3, 12):
        images = torch.randn(2, groups * wide, side, side, dtype=torch.float64)
        answers = layer(images).detach().flatten(2).mT  # [images, places, out]
        found = rows(layer, images, 2, 10_000, torch.Generator().manual_seed(seed)) @ weights.mT
        per_image = found.view(groups, 2, -1, 2).permute(1, 2, 0, 3).flatten(2)
        apart = torch.cdist(per_image, answers, compute_mode="donot_use_mm_for_euclid_dist")
        assert float(apart.min(2).values.max()) < 1e-9
        if per_image.shape[1] == answers.shape[1]:
            torch.testing.assert_close(per_image, answers)
        else:
            assert per_image.shape[1] < answers.shape[1]


def test_a_linear_layer_has_one_row_for_each_token_of_all_windows_and_no_more_than_the_most() -> None:
    tokens = torch.arange(3 * 4 * 5.0).view(6, 2, 5)  # 3 images in 2 windows of 2 tokens
    layer = nn.Linear(5, 1)
    assert torch.equal(rows(layer, tokens, 3, 100, DRAWS), tokens.view(1, 12, 5))
    few = rows(layer, tokens, 3, 2, DRAWS)
    assert torch.equal(few, tokens.view(3, 4, 5)[:, [0, 3]].reshape(1, 6, 5))
    assert torch.equal(rows(layer, tokens[:3, 0], 3, 2, DRAWS), tokens[:3, :1].reshape(1, 3, 5))


def test_what_only_forget_images_span_goes_and_what_retain_spans_stays() -> None:
    """A linear model whose two parts have pixels of their own, with as good as hard projections."""
    source = tiny.data(torch.float64)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double()
    bands = torch.zeros(len(source.images), 1, 8, 1).double()
    bands[PARTS[FORGET], :, :4], bands[PARTS[RETAIN], :, 4:] = 1, 1
    images = source.batch(torch.arange(tiny.COUNT)) * bands
    kept, gone = images[PARTS[RETAIN]], images[PARTS[FORGET]]
    before = model(kept).detach(), model(gone).detach()
    flat_kept, flat_gone = kept.flatten(1), gone.flatten(1)
    linear = model.get_submodule("1")
    assert isinstance(linear, nn.Linear)
    project(linear.weight, space((flat_kept.T @ flat_kept)[None], 1e9), space((flat_gone.T @ flat_gone)[None], 1e9))
    torch.testing.assert_close(model(kept).detach(), before[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(model(gone).detach(), linear.bias.detach().expand(len(gone), -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("scenario", "classes"), [("class:3", (3,)), ("classes:0,2", (0, 2))])
def test_classes_go_and_the_others_stay(scenario: str, classes: tuple[int, ...]) -> None:
    parts = tiny.parts(scenario)
    assert accuracy(well_trained(), parts, FORGET) == 1
    found = projected(parts, classes, well_trained(), alpha_retain=300, alpha_forget=30)
    assert accuracy(found, parts, FORGET) < 0.2
    assert accuracy(found, parts, RETAIN) > 0.9


def test_statistics_and_biases_stay_whatever_the_mode_it_was_left_in_and_nothing_to_forget_leaves_it_all() -> None:
    before = tiny.own_copy("cnn_small", torch.float64)
    found = projected(model=tiny.own_copy("cnn_small", torch.float64).train()).state_dict()
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, found[name])}
    assert changed == {"0.0.weight", "1.0.weight", "2.0.weight", "5.weight"}
    assert digest(projected({**PARTS, FORGET: PARTS[FORGET][:0]}).state_dict()) == digest(before.state_dict())


@pytest.mark.parametrize("classes", [3, 20])
def test_any_number_of_classes_and_a_single_image_will_do(classes: int) -> None:
    model = ARCHITECTURES["cnn_small"].build(3, 8, classes).double()
    before = digest(model.state_dict())
    found = projected({**PARTS, FORGET: PARTS[FORGET][:1]}, model=model)
    assert digest(found.state_dict()) != before
    assert all(bool(value.isfinite().all()) for value in found.state_dict().values())


def test_so_many_images_are_taken_as_many_of_each_class_and_none_of_the_request_for_retain() -> None:
    model, labels = tiny.own_copy("cnn_small", torch.float64), tiny.data().labels
    with tiny.seen_by(model) as batches:
        projected(model=model, images=7)
    kept, gone = (tiny.positions_of(batch, tiny.data(torch.float64)) for batch in batches)
    assert labels[kept].bincount(minlength=4).tolist() == [0, 4, 0, 4] != labels[PARTS[RETAIN]].bincount().tolist()
    assert labels[gone].bincount(minlength=4).tolist() == [4, 0, 4, 0]


def test_it_is_for_classes_alone() -> None:
    assert METHODS["svd_projection"].reads == {RETAIN, FORGET}
    assert not METHODS["svd_projection"].supports("random")
    with pytest.raises(NotAClassRequest, match="'svd_projection' forgets whole classes; use a scenario such as"):
        projected(classes=())
