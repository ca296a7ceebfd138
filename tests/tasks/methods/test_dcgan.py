"""The GAN that methods share: its networks, what it learns, what it notes, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, Diverged, ImageFormat, Part
from harness.contracts.artifact import named
from harness.engine.data import PartSamples
from harness.engine.run import TrainingRun
from tasks.methods import _dcgan
from tasks.methods._dcgan import NOISE, Dcgan, UnsuitableImages, discriminator, generator, sampled

CLASS = 2


def image_format(*shape: int) -> ImageFormat:
    """Return a format without normalisation."""
    channels, height, width = shape
    return ImageFormat((channels, height, width), (0.0,) * channels, (1.0,) * channels)


def made(one: Dcgan, index: dict[Part, Tensor], seed: int = 0) -> tuple[torch.nn.Module, TrainingRun]:
    """Make a GAN of the tiny problem, judged by its original."""
    run = tiny.new_run(seed=seed, observe=lambda network: {})
    view = tiny.view(named(one)[0], run, index, tiny.data())
    torch.manual_seed(seed)
    network = one.network(tiny.SPEC.format)
    return one.make(network, tiny.own_copy("cnn_small").eval(), view, run), run


def of_class(label: int) -> Tensor:
    """Return the training images of one class."""
    index = torch.cat([tiny.parts("random:0.1")[part] for part in (RETAIN, FORGET)])
    return index[torch.from_numpy(tiny.images().labels)[index] == label]


def test_both_networks_have_the_size_of_the_specification() -> None:
    size = [sum(p.numel() for p in net(image_format(3, 32, 32)).parameters()) for net in (generator, discriminator)]
    assert size == [1_068_928, 663_296]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_any_square_of_a_data_set_is_made_and_judged(shape: tuple[int, int, int]) -> None:
    images = generator(image_format(*shape), 8)(torch.randn(2, NOISE))
    assert images.shape == (2, *shape)
    assert discriminator(image_format(*shape), 8)(images).shape == (2,)


@pytest.mark.parametrize("shape", [(3, 33, 33), (3, 32, 16), (3, 7, 7)])
def test_other_shapes_are_refused_with_their_size(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UnsuitableImages, match=f"{shape[1]} x {shape[2]}"):
        generator(image_format(*shape))


def test_what_is_made_is_like_the_part_it_was_fitted_to_and_like_no_other() -> None:
    """The class of an image is its bright band: nearly all samples of a GAN of one class have that of its class."""
    index = {RETAIN: of_class(0), FORGET: of_class(CLASS)}
    network, run = made(Dcgan(of="forget", steps=300, batch_size=16, width=16), index)
    images = sampled(network, torch.randn(200, NOISE, generator=torch.Generator().manual_seed(1)))
    bands = images.view(200, 3, tiny.CLASSES, -1).mean((1, 3))
    assert (bands.argmax(1) == CLASS).float().mean() > 0.95
    first, last = (run.curves[epoch].recorded["teacher_answers"] for epoch in (1, -1))
    assert last.argmax() == CLASS
    assert last[CLASS] > first[CLASS]


@pytest.mark.parametrize(("of", "parts"), [("retain", [RETAIN]), ("forget", [FORGET]), ("both", [RETAIN, FORGET])])
def test_it_sees_the_images_of_its_part_alone(of: str, parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    batches = PartSamples.batches

    def noted(self: PartSamples, size: int, **options: bool) -> object:
        seen.update(self.index.tolist())
        return batches(self, size, **options)

    monkeypatch.setattr(PartSamples, "batches", noted)
    index = {RETAIN: of_class(0), FORGET: of_class(CLASS)}
    made(Dcgan(of=of, steps=2, width=4), index)
    assert seen == {position for part in parts for position in index[part].tolist()}


def test_its_curves_have_twenty_points_and_every_step_of_both_networks_is_counted() -> None:
    _, run = made(Dcgan(of="retain", steps=45, batch_size=8, width=4), dict(tiny.uneven_parts()))
    assert [len(run.curves), run.steps, run.steps_aside] == [21, 45, 45]
    for record in run.curves[1:]:
        assert record.recorded["teacher_answers"].sum() == pytest.approx(1)
        assert 1 / tiny.CLASSES <= record.recorded["confidence"] <= 1
        assert {"discriminator_loss"} < record.recorded.keys()
    (name,) = run.sheets
    images = run.sheets[name]
    assert name == "samples of retain"
    assert images.shape == (64, *tiny.SPEC.shape)
    assert 0 <= images.min() <= images.max() <= 1


def test_samples_are_those_of_the_kept_statistics_and_leave_the_network_as_it_was() -> None:
    network, _ = made(Dcgan(steps=5, batch_size=8, width=4), dict(tiny.uneven_parts()))
    noise = torch.randn(6, NOISE)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    together, alone = sampled(network, noise), sampled(network, noise[:1])
    assert torch.allclose(together[:1], alone, atol=1e-6)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UnsuitableImages, match="a GAN needs 4 images at least; forget has 3"):
        made(Dcgan(of="forget", steps=1), {**tiny.uneven_parts(), FORGET: of_class(0)[:3]})


def test_a_collapse_and_a_loss_that_is_not_finite_are_seen() -> None:
    with pytest.raises(Diverged, match="not finite"):
        made(Dcgan(steps=20, batch_size=8, width=4, lr=1e30), dict(tiny.uneven_parts()))
    reals = torch.rand(32, 3, 8, 8)
    one = reals[:1].expand(32, -1, -1, -1)
    with pytest.raises(Diverged, match="collapsed"):
        _dcgan._check(one + 1e-4 * torch.randn(one.shape), reals)
    _dcgan._check(reals.flip(0) * 0.1, reals)
