"""The reference for no unlearning: the original itself, without reading anything."""

from __future__ import annotations

from harness.check import problem as tiny
from harness.contracts import METHODS
from harness.engine.models import digest


def test_is_the_original_and_reads_nothing() -> None:
    run = tiny.new_run()
    model = tiny.unlearn("original", run, tiny.parts("random:0.1"), {})
    assert digest(model.state_dict()) == digest(tiny.original("cnn_small").state_dict())
    assert METHODS["original"].reads == frozenset()
    assert run.steps == 0
