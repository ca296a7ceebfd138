"""Units of kind `artifact`: made once, lent to every trial that names them, made on the spot where there is none."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_lab import ORIGINAL, SHADOW, Lab, equal, gan, unit

from harness.contracts import ARTIFACTS
from harness.unit import KeepModels, Kind, Named, Unit, keeps_model
from harness.work.sheets import as_png

MakeLab = Callable[..., Lab]
GAN: Mapping[str, Any] = {"gan_steps": 6, "gan_batch_size": 8, "gan_width": 4}
VALUES: Mapping[str, Any] = {**GAN, "lr": 0.05, "batch_size": 24, "epochs": 2}


def trial(*gans: Unit, kind: Kind = Kind.UNLEARN, **values: Any) -> Unit:
    """Return a trial of `multi_gan` that starts from the original and borrows some GANs."""
    needs = (ORIGINAL.id, *(one.id for one in gans))
    return replace(unit(kind, "multi_gan"), values={**VALUES, **values}, needs=needs)


def made_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect which parts GANs are fitted to from now on."""
    cls, fitted = ARTIFACTS["dcgan"].cls, []
    make = cls.make

    def noted(self: Any, *given: Any) -> Any:
        fitted.append(self.of)
        return make(self, *given)

    monkeypatch.setattr(cls, "make", noted)
    return fitted


def test_a_trial_is_the_same_whether_its_gans_were_made_before_or_on_the_spot(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, gans = make_lab(), (gan("retain"), gan("forget"))
    fitted = made_by(monkeypatch)
    assert lab.perform(ORIGINAL, *gans) == "done"
    assert fitted == ["retain", "forget"]
    borrowing, own = trial(*gans), trial()
    assert lab.perform(borrowing) == "done"
    assert fitted == ["retain", "forget"]
    assert lab.perform(own) == "done"
    assert fitted == ["retain", "forget", "retain", "forget"]
    assert equal(lab.store.load_model(borrowing.id), lab.store.load_model(own.id))


def test_settings_of_the_method_share_a_gan_and_settings_of_the_gan_do_not(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, gans = make_lab(), (gan("retain"), gan("forget"))
    lab.perform(ORIGINAL, *gans)
    fitted = made_by(monkeypatch)
    assert lab.perform(trial(*gans, inversion="least_likely"), trial(*gans, images="synthetic")) == "done"
    assert fitted == []
    one = gan("both", steps=7)
    assert lab.perform(one, trial(one, gans="one", gan_steps=7)) == "done"
    assert fitted == ["both"]


def test_a_gan_leaves_curves_its_sheet_and_weights(make_lab: MakeLab) -> None:
    lab, one = make_lab(), gan("forget")
    lab.perform(ORIGINAL, one)
    row = lab.row(one)
    assert [row["kind"], row["method"], row["status"], row["steps"]] == ["artifact", "dcgan", "done", 6]
    traced = {(traced["name"], traced["epoch"]) for traced in lab.rows("traces", one)}
    assert {("teacher_answers", 6), ("confidence", 6)} <= traced
    (sheet,) = lab.rows("sheets", one)
    assert [sheet["name"], sheet["images"]] == ["samples of forget", 64]
    picture = Image.open(BytesIO(base64.b64decode(sheet["png"])))
    assert picture.size == (8 * 9, 8 * 9)  # 8 in a row, 8 pixels and a line each
    assert {row["metric"] for row in lab.rows("metrics", one)} == {"images_seen", "optimiser_steps", "artifact_bytes"}
    assert lab.store.has_model(one.id)


def test_a_gan_that_diverged_makes_its_trials_diverge_and_no_others(make_lab: MakeLab) -> None:
    lab, broken = make_lab(), gan("forget", lr=1e30)
    assert lab.perform(ORIGINAL, broken) == "diverged"
    assert lab.row(broken)["status"] == "diverged"
    assert lab.perform(gan("retain"), trial(gan("retain"), broken)) == "diverged"
    assert lab.perform(trial(images="real")) == "done"


def test_a_forget_set_too_small_for_a_gan_is_a_failure_that_says_so(make_lab: MakeLab) -> None:
    lab = make_lab()
    few = {"scenario": Named("random:0.05", 1)}  # 2 images of 40
    assert lab.perform(ORIGINAL, replace(gan("forget"), **few)) == "failed"
    assert lab.perform(replace(trial(), **few)) == "failed"
    for one in (replace(gan("forget"), **few), replace(trial(), **few)):
        (failure,) = lab.rows("failures", one)
        assert failure["message"] == "a GAN needs 4 images at least; forget has 2"


def test_a_farm_makes_the_gans_of_each_shadow(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, fitted = make_lab(), made_by(monkeypatch)
    lab.perform(SHADOW)
    on_shadow = replace(unit(Kind.SHADOW_UNLEARN, "multi_gan", pool="canary"), values=VALUES)
    assert lab.perform(on_shadow) == "done"
    assert fitted == ["retain", "forget"]


def test_a_timed_run_pays_for_its_gans(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, fitted = make_lab(), made_by(monkeypatch)
    lab.perform(ORIGINAL)
    assert lab.perform(trial(kind=Kind.TIMING)) == "done"
    assert "retain" in fitted


def test_a_sheet_shows_every_pixel_where_it_belongs() -> None:
    images = torch.rand(17, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    images[3, 0, 0, 0] = float("nan")
    pixels = np.array(Image.open(BytesIO(base64.b64decode(as_png(images)))))
    assert pixels.shape == (3 * 5, 8 * 6, 3)
    for number, image in enumerate(images):
        top, left = 5 * (number // 8), 6 * (number % 8)
        shown = pixels[top : top + 4, left : left + 5]
        assert np.array_equal(shown, torch.nan_to_num(image).permute(1, 2, 0).mul(255).round().numpy())
    assert (pixels[4::5] == 255).all()
    assert (pixels[10:, 6:] == 255).all()
    assert np.array(Image.open(BytesIO(base64.b64decode(as_png(images[:, :1]))))).shape == (15, 48)


@pytest.mark.parametrize(("keep", "kept"), [("original", True), ("none", False), ("all", True), ("farm", True)])
def test_weights_of_artifacts_stay_as_long_as_those_of_originals(keep: KeepModels, kept: bool) -> None:
    assert gan("retain").is_start
    assert [keeps_model(one, keep) for one in (gan("retain"), ORIGINAL)] == [kept, kept]
