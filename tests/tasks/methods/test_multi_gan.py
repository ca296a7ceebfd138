"""Multi-GAN unlearning: what it learns with which label, under every ablation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN, Diverged
from harness.contracts.artifact import artifacts_of
from harness.engine.models import ruined
from harness.engine.run import TrainingRun
from harness.errors import HarnessError
from tasks.methods._dcgan import NOISE, Dcgan
from tasks.methods.multi_gan import INVERSIONS, Lesson, MultiGan, NoInversion, mixed

PARTS = tiny.uneven_parts()
RETAINED, FORGOTTEN = len(PARTS[RETAIN]), len(PARTS[FORGET])
LABELS = torch.arange(10).repeat(40)


def random_logits(count: int = len(LABELS), classes: int = 10) -> Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(3))


def inverted(name: str, labels: Tensor = LABELS, seed: int = 0) -> Tensor:
    return INVERSIONS[name](labels, random_logits(len(labels)), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["mirror", "random_other"])
def test_no_label_stays_what_it_was(name: str) -> None:
    assert not (inverted(name) == LABELS).any()


def test_mirror_is_its_own_inverse_and_refuses_an_odd_number_of_classes() -> None:
    assert torch.equal(inverted("mirror", inverted("mirror")), LABELS)
    with pytest.raises(NoInversion, match="even number of classes, not 5: class 2 would keep its label"):
        INVERSIONS["mirror"](torch.arange(5), random_logits(5, 5), torch.Generator())


def test_random_other_is_even_over_the_other_classes_and_follows_its_generator() -> None:
    labels = torch.full((9000,), 4)
    counts = Counter(inverted("random_other", labels).tolist())
    assert counts.keys() == set(range(10)) - {4}
    assert all(abs(count - 1000) < 150 for count in counts.values())  # five standard deviations
    assert torch.equal(inverted("random_other"), inverted("random_other"))
    assert not torch.equal(inverted("random_other"), inverted("random_other", seed=1))


def test_least_likely_is_the_lowest_logit() -> None:
    logits = random_logits()
    assert torch.equal(inverted("least_likely"), (-logits).max(1).indices)


class Painter(nn.Module):
    """Stands for a generator: every image has one value, in [-1, 1]."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, noise: Tensor) -> Tensor:
        return torch.full((len(noise), *tiny.SPEC.shape), self.value)


class ByBrightness(nn.Module):
    """An original that names class 3 for bright images and class 1 for dark ones; 0 is its least likely class."""

    def forward(self, images: Tensor) -> Tensor:
        bright = (images.mean((1, 2, 3)) > 0).float()
        return torch.stack([bright - 9, 1 - bright, bright * 0, bright], dim=1)


def lessons(**options: Any) -> list[tuple[int, Counter[int], bool]]:
    """Return of each lesson: how many images, how often each label, whether they are synthetic."""
    method, run = MultiGan(**options), tiny.new_run()
    painted = {"retain": Painter(-1.0), "forget": Painter(1.0), "both": Painter(-1.0)}
    run.lend = lambda one: painted[one.of]  # type: ignore[attr-defined]
    view = tiny.view(METHODS["multi_gan"], run, PARTS, tiny.data())
    found = [*method._real(ByBrightness(), view, run), *method._synthetic(ByBrightness(), view, run)]
    return [(len(one.labels), Counter(one.labels.tolist()), isinstance(one.images, Tensor)) for one in found]


OWN = [Counter(torch.from_numpy(tiny.images().labels)[PARTS[part]].tolist()) for part in (RETAIN, FORGET)]
MIRRORED = Counter({3 - label: count for label, count in OWN[1].items()})
REAL = [(RETAINED, OWN[0], False), (FORGOTTEN, MIRRORED, False)]
SYNTHETIC = [(FORGOTTEN, Counter({1: FORGOTTEN}), True), (FORGOTTEN, Counter({0: FORGOTTEN}), True)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [*REAL, *SYNTHETIC]),
        ({"images": "real"}, REAL),
        ({"images": "synthetic"}, SYNTHETIC),
        ({"original_forget": "left_out"}, [REAL[0], *SYNTHETIC]),
        ({"original_forget": "own_labels"}, [REAL[0], (FORGOTTEN, OWN[1], False), *SYNTHETIC]),
        ({"gans": "one", "images": "synthetic"}, [SYNTHETIC[0], (FORGOTTEN, Counter({2: FORGOTTEN}), True)]),
        ({"inversion": "least_likely", "images": "synthetic"}, SYNTHETIC),
        (
            {"images": "synthetic", "syn_ratio_retain": 2.0, "syn_ratio_forget": 0.5},
            [(2 * FORGOTTEN, Counter({1: 2 * FORGOTTEN}), True), (7, Counter({0: 7}), True)],
        ),
        ({"syn_ratio_retain": 0.0, "syn_ratio_forget": 0.0}, REAL),
    ],
)
def test_every_ablation_learns_what_it_says(options: dict[str, Any], expected: list[Any]) -> None:
    """Dark synthetic images are class 1 to this original, bright ones class 3, which mirrored is 0."""
    assert lessons(**options) == expected


def test_a_pass_shows_every_image_of_every_lesson_once_with_its_label() -> None:
    run = tiny.new_run()
    view = tiny.view(METHODS["multi_gan"], run, PARTS, tiny.data())
    synthetic = torch.arange(9.0).view(9, 1, 1, 1).expand(9, *tiny.SPEC.shape) + 100
    taught = [
        Lesson(view.retain, torch.arange(RETAINED)),
        Lesson(synthetic, torch.arange(9) + 200),
        Lesson(view.forget, torch.arange(FORGOTTEN) + 100),
    ]
    batches = list(mixed(taught, 8, run))
    sizes = [len(labels) for _, labels in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 8
    seen = {int(label): image for images, labels in batches for image, label in zip(images, labels, strict=True)}
    assert len(seen) == sum(sizes) == RETAINED + FORGOTTEN + 9
    images = tiny.data().batch(torch.cat([PARTS[RETAIN], PARTS[FORGET]]))
    expected = {label: images[label] for label in range(RETAINED)}
    expected |= {100 + i: images[RETAINED + i] for i in range(FORGOTTEN)} | {200 + i: synthetic[i] for i in range(9)}
    assert all(torch.equal(seen[label], image) for label, image in expected.items())
    assert any(len({int(label) // 100 for label in labels}) > 1 for _, labels in batches)  # they are mixed


def test_forgotten_images_end_with_their_mirrored_labels() -> None:
    values = {"lr": 0.05, "epochs": 60, "batch_size": 16, "images": "real"}
    model = tiny.unlearn("multi_gan", tiny.new_run(), PARTS, values).eval()
    labels = torch.from_numpy(tiny.images().labels)
    answers = {part: model(tiny.data().batch(PARTS[part])).argmax(1) for part in (RETAIN, FORGET)}
    assert (answers[FORGET] == 3 - labels[PARTS[FORGET]]).float().mean() > 0.9
    assert (answers[RETAIN] == labels[PARTS[RETAIN]]).float().mean() > 0.9


def test_ablations_share_their_gans() -> None:
    settings: list[dict[str, Any]] = [{}, *({"inversion": name} for name in INVERSIONS)]
    settings += [{"images": "synthetic"}, {"original_forget": "left_out"}, {"lr": 0.1}]
    assert len({artifacts_of(MultiGan(**one)) for one in settings}) == 1
    assert artifacts_of(MultiGan(gans="one")) == (Dcgan(of="both"),)
    assert artifacts_of(MultiGan(images="real")) == ()


def test_a_gan_that_diverged_is_not_learned_from() -> None:
    run: TrainingRun = tiny.new_run()
    run.lend = lambda one: ruined(one.network(tiny.SPEC.format))
    view = tiny.view(METHODS["multi_gan"], run, PARTS, tiny.data())
    with pytest.raises(Diverged):
        MultiGan().unlearn(tiny.own_copy("cnn_small"), view, run)


def test_nothing_to_learn_from_is_said() -> None:
    values = {"images": "synthetic", "syn_ratio_retain": 0.0, "syn_ratio_forget": 0.0, "gan_steps": 1}
    with pytest.raises(HarnessError, match="nothing to learn from"):
        tiny.unlearn("multi_gan", tiny.new_run(), PARTS, values)


def test_what_is_sampled_follows_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is drawn from the run's generator: two seeds give other synthetic images of the same GAN."""
    drawn: list[Tensor] = []

    class Noted(Painter):
        def forward(self, noise: Tensor) -> Tensor:
            drawn.append(noise)
            return super().forward(noise)

    for seed in (0, 0, 1):
        run = replace(tiny.new_run(seed=seed), lend=lambda one: Noted(0.5))
        view = tiny.view(METHODS["multi_gan"], run, PARTS, tiny.data())
        list(MultiGan(images="synthetic", syn_ratio_forget=0.0)._synthetic(ByBrightness(), view, run))
    assert drawn[0].shape == (FORGOTTEN, NOISE)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
