"""Successive random labels: which labels the loss is computed with, image by image and epoch by epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN
from tasks.methods import successive_random_labels

EPOCHS = 200

Epoch = dict[int, int]


@pytest.fixture(scope="module")
def epochs() -> list[Epoch]:
    """The label that each image (by position) was trained with, for each epoch of a long run."""
    return list(trained_labels(EPOCHS))


def trained_labels(count: int, variant: str = "default") -> Iterator[Epoch]:
    """Yield the labels of each epoch, in the order in which the images came."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, tiny.CLASSES))
    labels: list[Tensor] = []

    def note(logits: Tensor, targets: Tensor) -> Tensor:
        labels.append(targets)
        return cross_entropy(logits, targets)

    with pytest.MonkeyPatch.context() as patch, tiny.seen_by(model) as batches:
        patch.setattr(successive_random_labels, "cross_entropy", note)
        values = {"epochs": count, "batch_size": 16, "lr": 1e-4, "variant": variant}
        tiny.unlearn("successive_random_labels", tiny.new_run(), tiny.uneven_parts(), values, model=model)
    per_epoch = len(batches) // count
    for start in range(0, len(batches), per_epoch):
        pairs = [
            pair
            for batch, targets in zip(batches[start : start + per_epoch], labels[start:], strict=False)
            for pair in zip(tiny.positions_of(batch, tiny.data()), targets.tolist(), strict=True)
        ]
        assert len(dict(pairs)) == len(pairs)  # every image once
        yield dict(pairs)


def test_every_epoch_holds_every_training_image(epochs: list[Epoch]) -> None:
    everything = torch.cat([tiny.uneven_parts()[RETAIN], tiny.uneven_parts()[FORGET]]).tolist()
    assert len(epochs) == EPOCHS
    assert all(sorted(epoch) == sorted(everything) for epoch in epochs)


def test_retain_labels_are_never_touched(epochs: list[Epoch]) -> None:
    truth = tiny.images().labels
    assert all(epoch[i] == truth[i] for epoch in epochs for i in tiny.uneven_parts()[RETAIN].tolist())


def test_forget_labels_are_uniform_whatever_the_true_class(epochs: list[Epoch]) -> None:
    truth = tiny.images().labels
    drawn = Counter((int(truth[i]), epoch[i]) for epoch in epochs for i in tiny.uneven_parts()[FORGET].tolist())
    for label in range(tiny.CLASSES):
        row = np.array([drawn[label, other] for other in range(tiny.CLASSES)])
        assert chisquare(row).pvalue > 1e-3, row


def test_forget_labels_change_between_epochs(epochs: list[Epoch]) -> None:
    forget = tiny.uneven_parts()[FORGET].tolist()
    stayed = [one[i] == two[i] for one, two in pairwise(epochs) for i in forget]
    assert np.mean(stayed) == pytest.approx(1 / tiny.CLASSES, abs=0.03)


def test_the_images_come_in_a_new_order_every_epoch(epochs: list[Epoch]) -> None:
    orders = {tuple(epoch) for epoch in epochs}
    assert len(orders) == EPOCHS


@pytest.fixture(scope="module")
def released() -> list[Epoch]:
    """The same for three epochs of the released algorithm."""
    return list(trained_labels(3, "reference"))


def test_reference_gives_forget_images_the_labels_of_seed_123_in_the_order_in_which_they_come(
    released: list[Epoch],
) -> None:
    forget = set(tiny.uneven_parts()[FORGET].tolist())
    orders = set()
    for epoch in released:
        order = [i for i in epoch if i in forget]
        rng = np.random.default_rng(123)
        assert [epoch[i] for i in order] == [rng.integers(0, tiny.CLASSES) for _ in order]
        orders.add(tuple(order))
    assert len(orders) == len(released)


def test_reference_keeps_the_labels_of_retain(released: list[Epoch]) -> None:
    retain = tiny.uneven_parts()[RETAIN].tolist()
    assert all(epoch[i] == tiny.images().labels[i] for epoch in released for i in retain)
