"""The data sets of Cadet et al. 2024, arXiv 2410.01276: sizes, recipes, and transforms as torchvision does them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import on_disk
import pytest
import torch
from numpy.typing import NDArray

from harness import registry
from harness.contracts import DATASETS, Augmentation, Images, Part, Recipe
from harness.contracts.scenario import Training
from harness.engine.data import DeviceData
from harness.engine.split import split
from harness.engine.vision import torchvision

registry.load()

SIZES = """
mnist         10  45900 5100 9000 10000  50 256
fashion_mnist 10  45900 5100 9000 10000  50 256
cifar10       10  38250 4250 7500 10000 182 256
cifar100      100 38250 4250 7500 10000 182 256
utkface       5   14508 1613 2846  4741  50 128
"""
"""Name, classes, images to retain, to forget (10 %), to validate, to test; epochs and batch size of the recipe."""
ROWS = {row[0]: [int(number) for number in row[1:]] for row in map(str.split, SIZES.strip().splitlines())}

CONSTANTS = {
    "mnist": ((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
    "fashion_mnist": ((0.2860, 0.2860, 0.2860), (0.3530, 0.3530, 0.3530)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "utkface": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of the published code."""
COUNT = 6
Picture = Any

every = pytest.mark.parametrize("name", ROWS)


@every
def test_parts_have_the_published_sizes(name: str) -> None:
    spec = DATASETS[name]
    labels = np.zeros(spec.development + spec.test, dtype=np.int64)
    parts = split(Training(labels), spec.development, registry.parse_scenario("random:0.1"))
    sizes = [len(parts.of(part)) for part in (Part.RETAIN, Part.FORGET, Part.VAL, Part.TEST)]
    assert [spec.classes, *sizes] == ROWS[name][:5]


@every
def test_recipes_are_the_published_ones(name: str) -> None:
    epochs, batch_size = ROWS[name][5:]
    expected = Recipe(epochs, batch_size, lr=0.1, momentum=0.9, weight_decay=5e-4, schedule="cosine")
    assert {DATASETS[name].recipe_for(architecture) for architecture in ("resnet18", "tiny_vit")} == {expected}


@every
def test_eval_images_are_those_of_torchvision(name: str) -> None:
    pictures, images = originals(name)
    found = on_device(name, images).batch(torch.arange(COUNT))
    resized = [*colour(name), transforms().Resize(DATASETS[name].shape[1:])]
    compare(name, found, [pipeline(name, resized)(picture) for picture in pictures])


@every
def test_training_images_are_those_of_torchvision_with_the_same_windows_and_flips(name: str) -> None:
    pictures, images = originals(name)
    rng = np.random.default_rng(2)
    cropped, flipped = name.startswith("cifar"), name != "utkface"
    flips, offsets = np.array([True, False] * 3), rng.integers(0, 9, (COUNT, 2))
    assert DATASETS[name].augmentation == Augmentation(crop_padding=4 * cropped, flip=flipped)
    found = on_device(name, images).batch(
        torch.arange(COUNT),
        torch.from_numpy(flips) if flipped else None,
        torch.from_numpy(offsets) if cropped else None,
    )
    expected = []
    for picture, flip, offset in zip(pictures, flips, offsets.tolist(), strict=True):
        size = window_at(offset) if cropped else transforms().Resize(DATASETS[name].shape[1:])
        mirror = [transforms().RandomHorizontalFlip(p=float(flip))] if flipped else []
        expected.append(pipeline(name, [*colour(name), size, *mirror])(picture))
    compare(name, found, expected)


def compare(name: str, found: torch.Tensor, expected: Sequence[torch.Tensor]) -> None:
    """Exact but for rounding; where the engine resizes, within one level of a pixel."""
    levels = 1 if "mnist" in name else 0
    tolerance = 1e-6 + levels / 255 / min(CONSTANTS[name][1])
    torch.testing.assert_close(found, torch.stack(list(expected)), rtol=0, atol=tolerance)


def transforms() -> Any:
    torchvision()
    from torchvision import transforms

    return transforms


def colour(name: str) -> list[Callable[[Picture], Picture]]:
    return [transforms().Grayscale(num_output_channels=3)] if "mnist" in name else []


def window_at(offset: Sequence[int]) -> Callable[[Picture], Picture]:
    """torchvision's random crop, made to draw the given window."""
    crop = transforms().RandomCrop(32, padding=4)
    crop.get_params = lambda image, size: (*offset, *size)
    drawn: Callable[[Picture], Picture] = crop
    return drawn


def pipeline(name: str, steps: Sequence[Callable[[Picture], Picture]]) -> Callable[[Picture], torch.Tensor]:
    composed: Callable[[Picture], torch.Tensor] = transforms().Compose(
        [*steps, transforms().ToTensor(), transforms().Normalize(*CONSTANTS[name])]
    )
    return composed


def on_device(name: str, images: Images) -> DeviceData:
    return DeviceData.put(images, DATASETS[name], torch.device("cpu"))


def originals(name: str) -> tuple[list[Picture], Images]:
    """Six random pictures, and what the data set reads from the official files that hold them."""
    from PIL import Image

    rng = np.random.default_rng(1)
    if "mnist" in name:
        grey = rng.integers(0, 256, (COUNT, 28, 28)).astype(np.uint8)
        labels = np.zeros(COUNT, dtype=np.uint8)
        files = on_disk.idx_files((grey[:4], labels[:4]), (grey[4:], labels[4:]))
        return [Image.fromarray(pixels) for pixels in grey], DATASETS[name].read(files)
    if name == "utkface":
        faces = [on_disk.jpeg(rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)) for _ in range(COUNT)]
        order = np.random.default_rng(123).permutation(COUNT)  # the first one is test, which comes last
        files = {f"{i}_0_0.jpg": face for i, face in enumerate(faces)}
        return [Image.open(io.BytesIO(faces[i])) for i in (*order[1:], order[0])], DATASETS[name].read(files)
    pixels = rng.integers(0, 256, (COUNT, 32, 32, 3)).astype(np.uint8)
    return [Image.fromarray(image) for image in pixels], DATASETS[name].read(cifar_files(name, pixels))


def cifar_files(name: str, pixels: NDArray[np.uint8]) -> dict[str, bytes]:
    rows = pixels.transpose(0, 3, 1, 2).reshape(COUNT, 3072)
    parts = np.array_split(rows, len(DATASETS[name].files))
    key = {"cifar10": b"labels", "cifar100": b"fine_labels"}[name]
    return {
        file: on_disk.cifar(part, [0] * len(part), key) for file, part in zip(DATASETS[name].files, parts, strict=True)
    }
