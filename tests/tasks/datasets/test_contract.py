"""What every registered data set declares, checked without its files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS
from harness.contracts.dataset import FilePattern

registry.load()
every_dataset = pytest.mark.parametrize("name", DATASETS)


@every_dataset
def test_facts_fit_together(name: str) -> None:
    spec = DATASETS[name]
    channels, height, width = spec.shape
    assert channels in (1, 3)
    assert height == width >= 8
    assert len(spec.mean) == len(spec.std) == channels
    assert all(0 < value < 1 for value in (*spec.mean, *spec.std))
    assert spec.classes >= 2
    assert spec.development > spec.test > 10 * spec.classes
    assert 0 <= spec.augmentation.crop_padding <= height // 4
    assert 0 <= spec.augmentation.rotation < 180
    assert spec.subclasses == 0 or spec.subclasses > spec.classes


@every_dataset
def test_files_have_checksums_or_are_counted(name: str) -> None:
    spec = DATASETS[name]
    assert re.fullmatch("[0-9a-f]{16}", spec.digest)
    if isinstance(spec.files, FilePattern):
        assert spec.files.count == spec.development + spec.test
        assert spec.files.glob
        assert spec.files.split
    else:
        assert spec.files
        assert all(re.fullmatch("[0-9a-f]{64}|[0-9a-f]{32}", checksum) for checksum in spec.files.values())
        assert len(set(spec.files.values())) == len(spec.files)
        assert all(file == PurePosixPath(file).name for file in spec.files)


@every_dataset
def test_recipes_can_be_trained_by(name: str) -> None:
    spec = DATASETS[name]
    assert set(spec.recipes) <= set(ARCHITECTURES)
    for architecture in ARCHITECTURES:
        recipe = spec.recipe_for(architecture)
        assert recipe.epochs >= 1
        assert 2 <= recipe.batch_size <= spec.development
        assert 0 < recipe.lr <= 1
        assert 0 <= recipe.momentum < 1
        assert 0 <= recipe.weight_decay < 0.1


@every_dataset
def test_says_what_it_is_where_it_comes_from_and_how_to_get_it(name: str) -> None:
    spec = DATASETS[name]
    assert spec.summary.endswith(".") or ";" in spec.summary
    assert spec.source
    assert spec.how_to_get


def test_no_two_data_sets_have_the_same_digest() -> None:
    assert len({DATASETS[name].digest for name in DATASETS}) == len(DATASETS)
