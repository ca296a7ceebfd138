"""What a unit measures where whole classes are forgotten, what SVC-MIA is asked, and what methods note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_lab import QUICK, Lab, unit
from torch import nn
from torch.optim import SGD

from harness.attacks import outputs, svc_efficacy
from harness.contracts import RETAIN, Diverged, Run, View
from harness.engine.evaluate import evaluate, log_probabilities
from harness.unit import Kind

Declare = Callable[..., Any]
CLASS = "class:3"
ORIGINAL = unit(Kind.ORIGINAL)
OF_CLASS = replace(unit(Kind.UNLEARN, "finetune", scenario=CLASS), values=QUICK)


def test_test_is_cut_at_the_classes_to_forget(lab: Lab) -> None:
    lab.perform(ORIGINAL, OF_CLASS)
    metrics = lab.metrics(OF_CLASS)
    test = np.arange(lab.bench.dataset(OF_CLASS.dataset).development, len(lab.images.labels))
    forgotten = lab.images.labels[test] == 3
    share = forgotten.mean()
    for metric in ("accuracy", "loss"):
        parts = [metrics[part, metric] for part in ("test_retain", "test_forget")]
        np.testing.assert_allclose(np.dot(parts, [1 - share, share]), metrics["test", metric], rtol=1e-9)


def test_curves_show_both_kinds_of_classes_where_classes_are_forgotten_only(lab: Lab) -> None:
    random = replace(unit(Kind.UNLEARN, "finetune"), values=QUICK)
    lab.perform(ORIGINAL, OF_CLASS, random)
    last = lab.rows("epochs", OF_CLASS)[-1]
    assert last["test_retain"] == lab.metrics(OF_CLASS)["test_retain", "accuracy"]
    assert last["test_forget"] == lab.metrics(OF_CLASS)["test_forget", "accuracy"]
    assert last["steps"] == lab.row(OF_CLASS)["steps"]
    assert {row["test_forget"] for row in lab.rows("epochs", random)} == {None}


def test_svc_mia_is_that_of_the_released_model(lab: Lab) -> None:
    """Fitted on retain and test, asked about forget: doing nothing has the answers of the original."""
    nothing = unit(Kind.UNLEARN, "original", scenario=CLASS)
    lab.perform(ORIGINAL, nothing)
    model = lab.bench.initial_model(ORIGINAL)
    model.load_state_dict(lab.store.load_model(ORIGINAL.id))
    loaded, index = lab.bench.dataset(ORIGINAL.dataset), lab.bench.parts(ORIGINAL.dataset, CLASS).index
    says = {
        part: outputs(part, log_probabilities(model, loaded.data, at), loaded.labels[at], log=True)
        for part, at in index.items()
    }
    metrics = lab.metrics(nothing)
    for metric, feature in (("mia_confidence", "confidence"), ("mia_entropy", "entropy")):
        share, _ = svc_efficacy(says["retain"], says["test"], says["forget"], feature, refits=0)  # type: ignore[arg-type]
        assert metrics["forget", metric] == (share if metric == "mia_confidence" else 1 - share)


def test_images_that_are_no_members_are_asked_about_where_classes_are_forgotten_only(lab: Lab) -> None:
    random = replace(unit(Kind.UNLEARN, "finetune"), values=QUICK)
    lab.perform(ORIGINAL, OF_CLASS, random)
    asked = {key for key in lab.metrics(OF_CLASS) if key[1].startswith("mia_")}
    assert asked == {(part, f"mia_{kind}") for part in ("forget", "test_forget") for kind in ("confidence", "entropy")}
    assert {part for part, metric in lab.metrics(random) if metric.startswith("mia_")} == {"forget"}


def test_log_probabilities_are_those_behind_phi(lab: Lab) -> None:
    model = lab.bench.initial_model(ORIGINAL).train()
    loaded, index = lab.bench.dataset(ORIGINAL.dataset), torch.arange(7)
    log_p = log_probabilities(model, loaded.data, index)
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1.0)
    p = np.exp(log_p[np.arange(7), loaded.labels[:7]])
    np.testing.assert_allclose(np.log(p / (1 - p)), evaluate(model, loaded.data, index).phi, atol=1e-5)
    assert model.training


def test_what_a_method_notes_is_kept_by_epoch(lab: Lab, declare: Declare) -> None:
    def note(model: nn.Module, data: View, run: Run) -> nn.Module:
        optimizer = SGD(model.parameters(), 0.01)
        for epoch in run.epochs(2, model, optimizer):
            for value in (1.0, 3.0):
                run.record("share", torch.tensor(value + epoch))
                run.record("by_class", torch.tensor([value, 0.0, epoch, -value]))
        return model

    declare("noting", {RETAIN}, note)
    noting = unit(Kind.UNLEARN, "noting")
    lab.perform(ORIGINAL, noting)
    found = {(row["epoch"], row["name"]): list(row["values"]) for row in lab.rows("traces", noting)}
    assert found == {
        (1, "share"): [2.0],
        (2, "share"): [3.0],
        (1, "by_class"): [2.0, 0.0, 0.0, -2.0],
        (2, "by_class"): [2.0, 0.0, 1.0, -2.0],
    }


def test_a_method_that_sees_itself_diverge_is_a_result_with_its_curves(lab: Lab, declare: Declare) -> None:
    def diverge(model: nn.Module, data: View, run: Run) -> nn.Module:
        for epoch in run.epochs(5, model, SGD(model.parameters(), 0.01)):
            run.record("share", torch.tensor(0.5))
            if epoch == 2:
                raise Diverged("the generator's loss is not finite")
        return model

    declare("diverging", {RETAIN}, diverge)
    diverging = unit(Kind.UNLEARN, "diverging")
    assert lab.perform(ORIGINAL, diverging) == "diverged"
    assert lab.row(diverging)["status"] == "diverged"
    assert [row["epoch"] for row in lab.rows("traces", diverging)] == [1, 2]
    assert lab.metrics(diverging)["forget", "mia_confidence"] is None


@pytest.mark.parametrize("kind", [Kind.SEARCH, Kind.TIMING])
def test_searches_and_timing_note_nothing(lab: Lab, kind: Kind) -> None:
    lab.perform(ORIGINAL, replace(unit(kind, "finetune"), values=QUICK))
    assert lab.rows("traces", unit(kind, "finetune")) == []
