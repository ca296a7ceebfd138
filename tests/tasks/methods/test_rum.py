"""RUM: how forget is cut, that one part is the part's method bit for bit, and that each part is done in its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN, VAL, UndeclaredRead, View
from harness.contracts.space import Value
from harness.engine.data import PartSamples
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from tasks.methods import rum as module
from tasks.methods.rum import PRESETS, Stage, cut, hardness, unlearn_part

PARTS = tiny.uneven_parts()  # 26 to retain, 14 to forget
registry.load()


def rum(preset: str, run: TrainingRun | None = None, parts: tiny.Parts = PARTS) -> nn.Module:
    return tiny.unlearn("rum", run or tiny.new_run(), parts, {"preset": preset})


def with_stages(*stages: Stage, parts: tiny.Parts = PARTS) -> str:
    """The digest of the model after these stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PRESETS", {"none": stages})
        return digest(rum("none", parts=parts).state_dict())


def by_confidence() -> list[Tensor]:
    """Low, middle and high memorisation: thirds of the forget part by the original's softmax of the true class."""
    model, source, forget = tiny.own_copy("cnn_small").eval(), tiny.data(), PARTS[FORGET]
    with torch.no_grad():
        confidence = model(source.batch(forget)).softmax(1)[torch.arange(14), source.labels[forget]]
    order = confidence.argsort(descending=True)
    return [forget[chosen.sort().values] for chosen in order.split([5, 4, 5])]


def one_after_another(calls: Sequence[tuple[str, Mapping[str, Value], Tensor]]) -> str:
    """The digest of a model that the methods themselves unlearn, each its own part, in one run."""
    run, model = tiny.new_run(), tiny.own_copy("cnn_small")
    for method, values, part in calls:
        model = tiny.unlearn(method, run, {**PARTS, FORGET: part}, values, model=model)
    return digest(model.state_dict())


@pytest.mark.parametrize(
    ("images", "sizes"), [(1, [0, 1, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (5, [2, 1, 2]), (14, [5, 4, 5])]
)
def test_parts_ascend_in_hardness_hold_each_image_once_and_differ_by_one_image_at_most(
    images: int, sizes: list[int]
) -> None:
    hard = torch.rand(images, generator=torch.Generator().manual_seed(0))
    parts = cut(hard, 3)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(images))
    filled = [part for part in parts if len(part)]
    for part, harder in pairwise(filled):
        assert hard[part].max() < hard[harder].min()
    assert all(torch.equal(part, part.sort().values) for part in parts)


def test_equal_images_are_cut_by_their_place() -> None:
    assert [part.tolist() for part in cut(torch.tensor([0.5, 0.0, 0.5, 0.5, 0.5, 0.5]), 3)] == [[0, 1], [2, 3], [4, 5]]


def test_hardness_is_minus_the_log_of_the_true_class_in_eval_mode_and_draws_nothing() -> None:
    run, source, model = tiny.new_run(), tiny.data(), tiny.own_copy("cnn_small").train()
    state, before = run.generator.get_state(), digest(model.state_dict())
    found = hardness(model, PartSamples(source, PARTS[FORGET], run.generator), run)
    with torch.no_grad():
        sure = model.eval()(source.batch(PARTS[FORGET])).softmax(1)[torch.arange(14), source.labels[PARTS[FORGET]]]
    torch.testing.assert_close(found.exp().reciprocal().float(), sure)
    assert torch.equal(run.generator.get_state(), state)
    assert digest(model.state_dict()) == before
    assert len(sure.unique()) == 14  # or there would be nothing to cut


@pytest.mark.parametrize("method", ["salun", "finetune", "neg_grad_plus"])
def test_one_part_is_its_method_bit_for_bit(method: str) -> None:
    values: dict[str, Value] = {"lr": 0.02, "epochs": 2, "batch_size": 8}
    assert with_stages(Stage(method, values)) == one_after_another([(method, values, PARTS[FORGET])])


def test_without_a_cut_it_is_salun() -> None:
    assert digest(rum("none").state_dict()) == one_after_another([("salun", {}, PARTS[FORGET])])


def test_nothing_is_done_with_the_low_part() -> None:
    before = digest(tiny.own_copy("cnn_small").state_dict())
    assert with_stages(Stage(""), Stage(""), Stage("")) == before
    low = by_confidence()[0]
    alone = {**PARTS, FORGET: low}
    assert with_stages(Stage(""), parts=alone) == before != with_stages(Stage("salun"), parts=alone)


def test_presets_are_their_methods_one_after_another_with_the_published_values() -> None:
    low, middle, high = by_confidence()
    expected = one_after_another([("finetune", {}, middle), ("salun", {}, high)])
    assert digest(rum("nothing_finetune_salun").state_dict()) == expected
    published = zip((0.99, 0.97, 0.97), (0.01, 0.01, 0.001), (5, 5, 10), (low, middle, high), strict=True)
    calls = [("neg_grad_plus", {"alpha": a, "lr": rate, "epochs": e}, part) for a, rate, e, part in published]
    assert digest(rum("neg_grad_plus_x3").state_dict()) == one_after_another(calls)


def test_no_part_is_ever_in_another_parts_retain_and_finetune_cannot_read_its_own() -> None:
    seen: list[View] = []

    class Watcher:
        def unlearn(self, model: nn.Module, data: View, run: TrainingRun) -> nn.Module:
            seen.append(data)
            return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(METHODS["salun"]), "create", lambda self, values: Watcher())
        patch.setattr(type(METHODS["salun"]), "complete", lambda self, values: dict(values))
        spec, run = METHODS["rum"], tiny.new_run()
        view = tiny.view(spec, run, PARTS, tiny.data())
        for part in cut(torch.arange(14).float(), 3):
            unlearn_part(Stage("salun"), tiny.own_copy("cnn_small"), view, view.forget.take(part), run)
        unlearn_part(Stage("finetune"), tiny.own_copy("cnn_small"), view, view.forget, run)
        beyond = replace(METHODS["salun"], reads=frozenset({RETAIN, FORGET, VAL}), name="reads_val")
        patch.setattr(module, "METHODS", {"reads_val": beyond})
        unlearn_part(Stage("reads_val"), tiny.own_copy("cnn_small"), view, view.forget, run)
    *parts, finetune, beyond_view = seen
    for one, expected in zip(parts, ([0, 1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12, 13]), strict=True):
        assert torch.equal(one.retain.labels, view.retain.labels)
        assert torch.equal(one.forget.labels, view.forget.labels[expected])
    for closed, name in ((finetune, "forget"), (beyond_view, "val")):
        with pytest.raises(UndeclaredRead, match=f"read the {name} part, but it declares only"):
            getattr(closed, name)


def test_it_is_for_random_requests_every_stage_is_a_method_with_valid_values_and_nothing_to_forget_is_said() -> None:
    assert METHODS["rum"].scenarios == {"random"}
    for stages in PRESETS.values():
        for stage in stages:
            assert not stage.method or METHODS[stage.method].checked(stage.values) == stage.values
    with pytest.warns(UserWarning, match="^rum: the model is the original"):
        found = rum("none", parts={**PARTS, FORGET: PARTS[FORGET][:0]})
    assert digest(found.state_dict()) == digest(tiny.own_copy("cnn_small").state_dict())
    assert digest(rum("nothing_finetune_salun", parts={**PARTS, FORGET: PARTS[FORGET][:1]}).state_dict()) != digest(
        found.state_dict()
    )


PINNED = {1: {"finetune": 1, "neg_grad_plus": 1, "salun": 1}}
"""The versions of the methods of the parts, by that of this method: its units' ids hold its own alone."""


def test_when_the_method_of_a_part_changes_this_one_has_another_version_too() -> None:
    used = {stage.method for stages in PRESETS.values() for stage in stages if stage.method}
    assert {name: METHODS[name].version for name in used} == PINNED[METHODS["rum"].version]
