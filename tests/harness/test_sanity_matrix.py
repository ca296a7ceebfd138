"""A real farm, of digits and a small network that memorises them, on which methods with known answers are audited.

32 shadows with 100 mislabelled canaries and 100 clean images; every method runs as a study's method does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny_farm
import torch
from tiny_farm import farm_of, plan_of
from tiny_registry import restored
from torch import nn

from harness.attacks import VARIANCES, auc, audit, holm, lira
from harness.audit import attack_rows
from harness.audit.releases import Audited, audited_cells
from harness.audit.utility import release_accuracy
from harness.contracts import DATASETS, RETAIN, Images, Run, View, architecture, dataset, method, ranges
from harness.planner import Plan

pytestmark = pytest.mark.slow

SHADOWS, SIZE = 32, 100
RECIPE = "{epochs: 60, batch_size: 64, lr: 0.1}"
FINETUNE, LONGER = (f"batch_size=64,epochs={epochs},lr=0.05" for epochs in (5, 20))
SIGMAS = (0.0, 0.3, 1.0, 5.0)
METHODS = (
    "{finetune: {lr: 0.05, batch_size: 64, epochs: 5}}",
    "{finetune: {lr: 0.05, batch_size: 64, epochs: 20}}",
    "{successive_random_labels: {lr: 0.05, batch_size: 64, epochs: 5}}",
    "constant",
    *(f"{{noise: {{sigma: {sigma}}}}}" for sigma in SIGMAS),
)


class Constant:
    """Give every image the same logits: nothing leaks, and nothing is left of the model."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with a head of zeros."""
        for parameter in model.get_submodule("3").parameters():
            nn.init.zeros_(parameter)
        return model


class Noise:
    """Add normal noise to every weight, in units of the spread of its tensor."""

    sigma: float = ranges.fixed(0.0)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model under noise."""
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * self.sigma * parameter.std())
        return model


@pytest.fixture(scope="module")
def declared() -> Iterator[None]:
    def mlp(channels: int, size: int, classes: int) -> nn.Module:
        """64 hidden units."""
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, 64), nn.ReLU(), nn.Linear(64, classes))

    with restored():
        digits = DATASETS["digits"]

        def doubles(files: Mapping[str, bytes]) -> Images:
            """The digits, every development image twice."""
            images, first = digits.read(files), digits.development
            index = np.concatenate([np.arange(first), np.arange(len(images.labels))])
            return Images(images.images[index], images.labels[index])

        known: dict[str, Any] = {"classes": 10, "shape": digits.shape, "test": digits.test, "source": "tests"}
        known |= {"mean": digits.mean, "std": digits.std, "files": digits.files, "folders": digits.folders}
        dataset(**known, development=2 * digits.development)(doubles)
        architecture(stem=("1",), blocks=(), head="3", source="tests")(mlp)
        method(reads={RETAIN}, source="tests")(Constant)
        method(reads={RETAIN}, source="tests")(Noise)
        yield


@dataclass(frozen=True)
class Matrix:
    """The attacks table of a finished study, its releases by method, config and pool, and their test accuracy."""

    attacks: pl.DataFrame
    releases: Mapping[tuple[str, str, str], Audited]
    accuracy: Mapping[tuple[str, str, str], float]

    def row(self, method: str, pool: str = "canary", null: str = "O", config: str = "default") -> dict[str, Any]:
        """Return the headline row of a cell."""
        about = {"method": method, "pool": pool, "null": null, "config": config}
        (row,) = self.attacks.filter(level="L2", metric="auc", **about).rows(named=True)
        return row


def run(plan: Plan, root: Path) -> Matrix:
    store = tiny_farm.run(plan, root)
    releases = {audited.key: audited for _, cell in audited_cells(plan.units, store) for audited in cell}
    accuracy = {place[2:]: value for place, value in release_accuracy(plan.units, store).items()}
    return Matrix(attack_rows(plan.units, farm_of(plan), "matrix", store), releases, accuracy)


@pytest.fixture(scope="module")
def matrix(declared: None, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    folder = tmp_path_factory.mktemp("matrix")
    pools = {"canary": SIZE, "clean": SIZE}
    about = {"architectures": "[mlp]", "recipe": RECIPE, "measures": "[accuracy, ulira]"}
    found = run(plan_of(folder, SHADOWS, SHADOWS, pools, METHODS, **about), folder / "runs")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=40):
        wanted = pl.col("level").is_in(["L2"]) & pl.col("metric").is_in(["auc", "tpr@0.01"])
        print(found.attacks.filter(wanted).select("method", "config", "pool", "null", "metric", "value", "low", "high"))
        print(found.accuracy)
    return found


def test_doing_nothing_leaves_the_canaries_open(matrix: Matrix) -> None:
    original = matrix.row("original")
    assert original["low"] > 0.95
    assert matrix.row("original", "clean")["value"] < original["low"]
    columns = pl.exclude("level", "p_adjusted")
    rows = matrix.attacks.filter(
        pl.col("method") == "original", pl.col("null") == "O", ~pl.col("metric").str.starts_with("eps_")
    )
    fitted_on_shadows, on_releases = (rows.filter(level=level).select(columns) for level in ("L1", "L2"))
    assert fitted_on_shadows.equals(on_releases)  # what nothing was done to is its own shadow


def test_a_retrain_is_never_accused(matrix: Matrix) -> None:
    """Whatever estimates the variances, and however many shadows there are; of 30 intervals of 95 %, one may err."""
    found = []
    for pool, variance, count in product(["canary", "clean"], VARIANCES, [8, 16, SHADOWS]):
        releases = matrix.releases["retrain", "default", pool].releases
        some = releases.only(releases.shadow < count)
        result = audit(some.phi, some.unlearned, some.never_in, some.cluster, variance=variance)[0]
        assert count < SHADOWS or result.low < 0.5 < result.high
        found.append(result.p_value)
    assert min(holm(found)) > 0.05


def test_training_on_longer_leaks_less(matrix: Matrix) -> None:
    leaks = [matrix.row("original"), *(matrix.row("finetune", config=config) for config in (FINETUNE, LONGER))]
    assert leaks[0]["value"] >= leaks[1]["value"] >= leaks[2]["value"] > 0.7


def test_with_membership_drawn_anew_nothing_is_found(matrix: Matrix) -> None:
    releases = matrix.releases["original", "default", "canary"].releases
    swapped = np.random.default_rng(0).random((SHADOWS // 2, SIZE)) < 0.5
    inside = releases.unlearned ^ np.repeat(swapped, 2, axis=0)  # still complementary within a pair
    found = audit(releases.phi, inside, ~inside, releases.cluster)[0]
    assert found.low < 0.5 < found.high


def test_a_constant_leaks_nothing_is_no_retrain_and_is_worth_nothing(matrix: Matrix) -> None:
    assert matrix.row("constant")["value"] == 0.5
    assert matrix.row("constant", null="R")["value"] > 0.95
    assert (
        matrix.accuracy["constant", "default", "canary"] < 0.2 < 0.85 < matrix.accuracy["original", "default", "canary"]
    )


def test_noise_takes_the_leak_from_all_to_nothing(matrix: Matrix) -> None:
    leaks = [matrix.row("noise", config=f"sigma={sigma:g}") for sigma in SIGMAS]
    assert leaks[0]["value"] == matrix.row("original")["value"]
    assert [leak["value"] for leak in leaks] == sorted((leak["value"] for leak in leaks), reverse=True)
    assert leaks[-1]["low"] < 0.5 < leaks[-1]["high"]


def test_scores_of_what_was_fitted_accuse_a_retrain(matrix: Matrix) -> None:
    """What leaving the pair out of the fit is for."""
    releases = matrix.releases["retrain", "default", "clean"].releases
    in_sample = lira(releases.phi, releases.phi, releases.unlearned)
    assert auc(in_sample[releases.unlearned], in_sample[releases.never_in]) > 0.53


def test_a_copy_that_stays_is_no_leak(declared: None, tmp_path: Path) -> None:
    """Forgotten images of which a copy is retained are still classified right, in both worlds alike."""
    about = {"architectures": "[mlp]", "recipe": RECIPE, "measures": "[accuracy, ulira]", "datasets": "[doubles]"}
    found = run(plan_of(tmp_path, SHADOWS, SHADOWS, {"clean": SIZE}, ["retrain"], **about), tmp_path / "runs")
    retrain = found.row("retrain", "clean")
    assert retrain["low"] < 0.5 < retrain["high"]
    assert np.mean(found.releases["retrain", "default", "clean"].releases.phi > 0) > 0.85
