"""What a method does beside its work: no other unit feels it, and what is to blame says so."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from tiny_lab import ORIGINAL, SHADOW, Lab, unit
from torch import nn

from harness.contracts import FORGET, RETAIN, Part, Run, View
from harness.unit import Kind

MakeLab = Callable[..., Lab]
Act = Callable[[nn.Module, View, Run], Any]
Declare = Callable[[str, Collection[Part], Act], None]
FINETUNED = unit(Kind.UNLEARN, "finetune")


def failure(lab: Lab, name: str, kind: Kind = Kind.UNLEARN) -> dict[str, Any]:
    """Perform a trial of a method that has to fail; return why it did."""
    trial = unit(kind, name, pool="canary" if kind.of_farm else "")
    assert lab.perform(ORIGINAL, SHADOW, trial) == "failed"
    (row,) = lab.rows("failures", trial)
    return row


def with_another_head(model: nn.Module, data: View, run: Run) -> nn.Module:
    owner, _, name = run.architecture.head.rpartition(".")
    setattr(model.get_submodule(owner), name, nn.Linear(3, 2))
    return model


def wrapped(model: nn.Module, data: View, run: Run) -> nn.Module:
    outer = nn.Module()
    outer.forward = lambda images: model(images)
    return outer


RETURNED: dict[str, tuple[Act, str]] = {
    "nothing": (lambda model, data, run: None, "returned NoneType; it must return its model, a torch.nn.Module"),
    "words": (lambda model, data, run: "done", "returned str; it must return its model, a torch.nn.Module"),
    "another head": (with_another_head, "returned another model than it declares: its "),
    "a wrapped model": (wrapped, "returned another model than it declares: it lacks "),
    "a nested model": (lambda model, data, run: nn.Sequential(model), "returned another model than it declares: it "),
    "doubles": (lambda model, data, run: model.double(), " is float64 ["),
    "halves": (lambda model, data, run: model.bfloat16(), " is bfloat16 ["),
    "no weights": (lambda model, data, run: model.to("meta"), " is on the device 'meta', not 'cpu'"),
}


@pytest.mark.parametrize("kind", [Kind.UNLEARN, Kind.TIMING, Kind.SHADOW_UNLEARN])
@pytest.mark.parametrize("what", RETURNED)
def test_what_is_not_its_model_is_refused(lab: Lab, declare: Declare, kind: Kind, what: str) -> None:
    act, words = RETURNED[what]
    declare("wrong", (), act)
    row = failure(lab, "wrong", kind)
    assert (row["phase"], row["exception"]) == ("unlearn", "NotItsModel")
    assert words in row["message"]
    assert row["message"].startswith("method 'wrong' returned ")


def test_a_model_that_is_a_trap_fails_where_it_is_judged(lab: Lab, declare: Declare) -> None:
    def trap(model: nn.Module, data: View, run: Run) -> nn.Module:
        model.register_forward_hook(lambda *call: 1 / 0)
        return model.train()

    declare("trap", (), trap)
    assert (failure(lab, "trap")["phase"], failure(lab, "trap")["exception"]) == ("evaluate", "ZeroDivisionError")


def find(like: torch.Tensor, but: Collection[int]) -> list[torch.Tensor]:
    """Find all tensors in this process of a shape and type, other than some."""
    return [
        found
        for found in gc.get_objects()
        if isinstance(found, torch.Tensor)
        and found.shape == like.shape
        and found.dtype == like.dtype
        and found.data_ptr() not in but
    ]


def changes_weights(model: nn.Module, data: View, run: Run) -> nn.Module:
    first = next(model.parameters())
    for found in find(first, {first.data_ptr()}):
        found.data.neg_()
    return model


def changes_images(model: nn.Module, data: View, run: Run) -> nn.Module:
    data.retain.data.images.bitwise_not_()  # type: ignore[attr-defined]
    return model


def changes_labels(model: nn.Module, data: View, run: Run) -> nn.Module:
    data.forget.data.labels.data[0] += 1  # type: ignore[attr-defined]
    return model


CHANGES = {
    "the weights of a model to start from": changes_weights,
    "images or labels": changes_images,
    "images or labels, labels": changes_labels,
}


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("what", CHANGES)
def test_what_units_share_is_made_anew_where_a_method_changed_it(
    make_lab: MakeLab, declare: Declare, what: str, raises: bool
) -> None:
    def act(model: nn.Module, data: View, run: Run) -> nn.Module:
        CHANGES[what](model, data, run)
        if raises:
            raise ZeroDivisionError
        return model

    declare("tampering", (RETAIN, FORGET), act)
    lab, other = make_lab(), make_lab()
    row = failure(lab, "tampering")
    assert row["exception"] == ("ZeroDivisionError" if raises else "SharedChanged")
    assert raises or (row["phase"], what.split(",")[0] in row["message"]) == ("check", True)
    assert lab.perform(FINETUNED) == other.perform(ORIGINAL, FINETUNED) == "done"
    assert lab.row(FINETUNED)["model"] == other.row(FINETUNED)["model"]
    assert lab.metrics(FINETUNED) == other.metrics(FINETUNED)


def test_what_a_view_hands_out_is_the_methods_own(make_lab: MakeLab, declare: Declare) -> None:
    def wipes(model: nn.Module, data: View, run: Run) -> nn.Module:
        for part in (data.retain, data.forget, data.retain_and_forget):
            for batch in part.batches(8, shuffle=False):
                for tensor in batch:
                    tensor.zero_()
            part.ids.zero_()
            part.labels.zero_()
        return model

    declare("wipes", (RETAIN, FORGET), wipes)
    lab, other = make_lab(), make_lab()
    assert lab.perform(ORIGINAL, unit(Kind.UNLEARN, "wipes"), FINETUNED) == "done"
    assert other.perform(ORIGINAL, FINETUNED) == "done"
    assert lab.metrics(FINETUNED) == other.metrics(FINETUNED)
    assert lab.bench.changed() == []


def test_what_was_printed_stands_with_the_failure_alone(lab: Lab, declare: Declare) -> None:
    def prints(model: nn.Module, data: View, run: Run) -> nn.Module:
        print("the first words" + "." * 10**6)
        os.write(2, b"the last words \xff\x00")
        raise ValueError("now")

    declare("prints", (), prints)
    row = failure(lab, "prints")
    assert "the first words" not in row["traceback"]
    assert "ValueError: now\n\nit printed 1,000,033 bytes, at the end:\n......" in row["traceback"]
    assert "the last words" in row["traceback"]
    assert len(row["traceback"]) < 30_000


class Evasive(Exception):
    """Code of a method, too."""

    def __str__(self) -> str:
        raise SystemExit


class OfItsOwn(str):
    def encode(self, *arguments: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError


class Odd(Exception):
    def __str__(self) -> str:
        return OfItsOwn("what it says")


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (Evasive(), "Evasive", "the exception cannot say what is wrong: SystemExit in its own class"),
        (Odd(), "Odd", "what it says"),
        (type("a\nname " * 100, (Exception,), {})("so"), ("a name " * 100)[:200], "so"),
        (StopIteration(1), "StopIteration", "1"),
    ],
    ids=["evasive", "odd", "long name", "of a generator"],
)
def test_an_exception_is_a_row_whatever_its_class_does(
    lab: Lab, declare: Declare, error: Exception, name: str, message: str
) -> None:
    def act(model: nn.Module, data: View, run: Run) -> nn.Module:
        raise error

    declare("odd", (), act)
    row = failure(lab, "odd")
    assert (row["exception"], row["message"]) == (name, message)
    assert "in act" in row["traceback"]


def test_an_interrupt_of_its_own_is_a_failure_where_somebody_else_hears_ctrl_c(lab: Lab, declare: Declare) -> None:
    def interrupts(model: nn.Module, data: View, run: Run) -> nn.Module:
        raise KeyboardInterrupt

    declare("interrupts", (), interrupts)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        assert failure(lab, "interrupts")["exception"] == "KeyboardInterrupt"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_cannot_be_put_back_says_so(lab: Lab, declare: Declare) -> None:
    over = threading.Event()

    def leaves(model: nn.Module, data: View, run: Run) -> nn.Module:
        threading.Thread(target=over.wait, name="noisy", daemon=True).start()
        return model

    declare("leaves", (), leaves)
    try:
        assert lab.perform(ORIGINAL, unit(Kind.UNLEARN, "leaves")) == "done"
        assert lab.bench.spoiled == ["the thread noisy"]
    finally:
        over.set()


def test_results_are_measured_as_all_others_are(make_lab: MakeLab, declare: Declare) -> None:
    """What a method sets is put back before its model is judged."""

    def sets(model: nn.Module, data: View, run: Run) -> nn.Module:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 2)
        sys.setrecursionlimit(150)
        return model

    declare("sets", (), sets)
    lab, trials = make_lab(), [unit(Kind.UNLEARN, name) for name in ("sets", "original")]
    assert lab.perform(ORIGINAL, *trials) == "done"
    first, second = (lab.metrics(trial) for trial in trials)
    assert first.items() <= second.items()
    assert lab.bench.spoiled == []
