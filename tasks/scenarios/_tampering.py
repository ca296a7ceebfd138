"""What is done to training data before anything is trained on it: poison with a trigger, swapped labels.

Source: Goel et al. 2024, corrective unlearning, arXiv 2402.14015. Ours: the patch is stamped on the stored pixels,
before any other transform; images of the target class are not counted as poison; what is swapped is drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Images
from harness.contracts.scenario import InvalidScenario, Labels, Mask, Positions, Tampered, Tampering
from harness.engine.split import drawn

PATCH = 3
"""Pixels of a side of the patch."""
TARGET = 0
"""The class that poisoned images are labelled with."""


@dataclass(frozen=True)
class Poisoning:
    """`count` training images with a bright patch in the lower right corner and the label of the target class."""

    count: int

    def __str__(self) -> str:
        return f"poison:{self.count}"

    def tamper(self, images: Images, train: Positions) -> Tampered:
        """Stamp and relabel images that are not of the target class, drawn so that more of them hold fewer."""
        chosen = _drawn(self, "not of class 0", train[images.labels[train] != TARGET], self.count)
        labels = images.labels.copy()
        labels[chosen] = TARGET
        pixels = _stamped(self, images.images, chosen, images.images.max())
        return Tampered(replace(images, images=pixels, labels=labels), _mask(len(labels), chosen))

    def exam(self, images: Images, test: Positions) -> Images:
        """Return the stamped test images of all classes but the target class, with their own labels."""
        asked = images.take(test[images.labels[test] != TARGET])
        everywhere = np.arange(len(asked.labels))
        return replace(asked, images=_stamped(self, asked.images, everywhere, images.images.max()))

    def numbers(self, labels: Labels, answers: Labels) -> Mapping[tuple[str, str], float]:
        """Return the share of right answers, and of those that are the target class."""
        return {
            ("manipulated", "accuracy"): float(np.mean(answers == labels)),
            ("all", "attack_success"): float(np.mean(answers == TARGET)),
        }


@dataclass(frozen=True)
class Swapping:
    """`count` training images of two classes, half of each, with the label of the other one."""

    count: int
    classes: tuple[int, int]

    def __str__(self) -> str:
        return f"swap:{self.count}:{self.classes[0]},{self.classes[1]}"

    def tamper(self, images: Images, train: Positions) -> Tampered:
        """Relabel half of the images in each class, drawn so that more of them hold fewer; no pixel changes."""
        labels = images.labels.copy()
        for own, other in (self.classes, self.classes[::-1]):
            eligible = train[images.labels[train] == own]
            labels[_drawn(self, f"of class {own}", eligible, self.count // 2)] = other
        return Tampered(replace(images, labels=labels), labels != images.labels)

    def exam(self, images: Images, test: Positions) -> Images:
        """Return the test images of the two classes."""
        return images.take(test[np.isin(images.labels[test], self.classes)])

    def numbers(self, labels: Labels, answers: Labels) -> Mapping[tuple[str, str], float]:
        """Return the share of right answers, and of those that are the other one of the two classes."""
        first, second = self.classes
        other = np.where(labels == first, second, first)
        return {
            ("manipulated", "accuracy"): float(np.mean(answers == labels)),
            ("all", "confusion"): float(np.mean(answers == other)),
        }


def _stamped(
    tampering: Tampering, pixels: NDArray[np.uint8], index: Positions, brightest: np.uint8
) -> NDArray[np.uint8]:
    """Return a copy of images [n, C, H, W], some with a patch as bright as the data set's brightest pixel."""
    if min(pixels.shape[2:]) < PATCH:
        size = " x ".join(map(str, pixels.shape[2:]))
        raise InvalidScenario(f"'{tampering}': no room for its trigger of {PATCH} x {PATCH} pixels in images of {size}")
    stamped = pixels.copy()
    stamped[index, :, -PATCH:, -PATCH:] = brightest
    return stamped


def _drawn(tampering: Tampering, which: str, eligible: Positions, count: int) -> Positions:
    if count > len(eligible):
        raise InvalidScenario(f"'{tampering}': it takes {count} training images {which}, there are {len(eligible)}")
    return drawn(eligible, count)


def _mask(count: int, chosen: Positions) -> Mask:
    mask = np.zeros(count, dtype=bool)
    mask[chosen] = True
    return mask
