"""The hybrid gradient-reversal report: the sequence of steps of each of its ten methods, and what learns in each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, FORGET, METHODS, RETAIN, Diverged, Part, UndeclaredRead
from harness.contracts.space import InvalidHyperparameter, Value
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from tasks.methods._reversal import Phase, follow, let_learn, one_after_the_other, paired, retain_only, rising, woven
from tasks.methods.cf_k import NoBlocks

registry.load()
TEN = ("m1", "m2", "m3", "m4", "m5", "m6", "hybrid1", "hybrid2", "hybrid3", "hybrid4")
PARTS = tiny.uneven_parts()
LR = 0.02
SMALL: Mapping[str, Value] = {"lr": LR, "batch_size": 8}
"""26 images to retain are 4 batches of 8 at most, 14 to forget are 2."""

BLOCKS = ("layer1", "layer2", "layer3", "layer4")
ALL = frozenset({"stem", *BLOCKS, "fc"})
LAST = frozenset({"layer4", "fc"})
HALF = frozenset({"layer3", "layer4", "fc"})
BUT_STEM = ALL - {"stem"}


class Step(NamedTuple):
    """An optimiser step: the gradient is `scale` times that of the cross-entropy of a batch of `part`."""

    part: str
    scale: float
    trained: frozenset[str]
    rate: float
    optimizer: int


class Epoch(NamedTuple):
    """Expected: steps on retain (R) and forget (F), what F is scaled with, what learns, rate / lr, which optimiser."""

    order: str
    scale: float
    trained: frozenset[str]
    factor: float
    optimizer: int

    def steps(self) -> Iterator[Step]:
        for part in self.order:
            yield Step(part, self.scale if part == "F" else 1.0, self.trained, LR * self.factor, self.optimizer)


def network() -> nn.Module:
    """A linear network without BatchNorm, so that the gradient of any batch can be computed beside a step."""
    torch.manual_seed(0)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flat=nn.Flatten(), stem=nn.Linear(192, 6))
    layers |= {name: nn.Linear(6, 6) for name in BLOCKS}
    layers["fc"] = nn.Linear(6, tiny.CLASSES)
    return nn.Sequential(layers).double()


@dataclass
class Recorder:
    """Notes every optimiser step from what it finds in the model and the optimiser: it believes no method."""

    model: nn.Module
    steps: list[Step]
    optimizers: list[Optimizer]
    weights: list[dict[str, Tensor]]
    seen: list[list[int]]
    batch: Tensor | None = None

    def look(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.batch = inputs[0]

    def note(self, optimizer: Optimizer, *_: object) -> None:
        source, batch = tiny.data(torch.float64), self.batch
        assert batch is not None
        positions = tiny.positions_of(batch, source)
        of_forget = set(positions) <= set(PARTS[FORGET].tolist())
        assert of_forget or set(positions) <= set(PARTS[RETAIN].tolist())
        if optimizer not in self.optimizers:
            self.optimizers.append(optimizer)
        (group,) = optimizer.param_groups
        assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 5e-4, False)
        learning = [name for name, weight in self.model.named_parameters() if weight.requires_grad]
        weights = [self.model.get_parameter(name) for name in learning]
        assert {id(weight) for weight in group["params"]} == {id(weight) for weight in weights}
        scale = self._scale(batch, source.labels[torch.tensor(positions)], weights)
        trained = frozenset(name.split(".")[0] for name in learning)
        number = self.optimizers.index(optimizer)
        self.steps.append(Step("F" if of_forget else "R", scale, trained, float(group["lr"]), number))
        self.seen.append(positions)
        self.weights.append(snapshot(self.model))

    def _scale(self, batch: Tensor, labels: Tensor, weights: list[nn.Parameter]) -> float:
        """Return by how much the gradient that is there is longer than that of the cross-entropy."""
        found = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
        with torch.enable_grad():
            gradients = torch.autograd.grad(cross_entropy(self.model(batch), labels), weights)
        plain = torch.cat([gradient.flatten() for gradient in gradients])
        scale = float(found @ plain / (plain @ plain))
        torch.testing.assert_close(found, scale * plain, rtol=1e-9, atol=1e-12)
        return scale


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@contextmanager
def recorded(model: nn.Module) -> Iterator[Recorder]:
    recorder = Recorder(model, [], [], [], [])
    handles = [model.register_forward_pre_hook(recorder.look), register_optimizer_step_pre_hook(recorder.note)]
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def run_with_blocks(blocks: tuple[str, ...] = BLOCKS, **options: Any) -> TrainingRun:
    run = tiny.new_run(**options)
    run.architecture = replace(run.architecture, stem=("stem",), blocks=blocks, head="fc")
    return run


def record(method: str, values: Mapping[str, Value]) -> Recorder:
    model, source = network(), tiny.data(torch.float64)
    checked = METHODS[method].checked({**SMALL, **values}, str(values.get("variant", "default")))
    with recorded(model) as recorder:
        tiny.unlearn(method, run_with_blocks(), PARTS, checked, model=model, source=source)
    recorder.weights.append(snapshot(model))
    return recorder


FINE = 0.0
"""Nothing is reversed."""
SCHEDULES: Sequence[tuple[str, dict[str, Value], list[Epoch]]] = [
    (
        "m1",
        {"epochs": 3},
        [
            Epoch("RRRR", FINE, ALL, 1, 0),
            Epoch("RRRR", FINE, ALL, 0.75, 0),
            Epoch("RRRR", FINE, ALL, 0.25, 0),
        ],
    ),
    ("m2", {"epochs": 2}, [Epoch("RRRR", FINE, LAST, 1, 0), Epoch("RRRR", FINE, LAST, 0.5, 0)]),
    (
        "m3",
        {"epochs": 2},
        [Epoch("RRRR", FINE, LAST, 1, 0), Epoch("RRRR", FINE, LAST, 0.5, 0), Epoch("FF", -1, LAST, 1, 1)],
    ),
    ("m4", {"epochs": 2}, [Epoch("RRRRFF", -0.1, ALL, 1, 0)] * 2),
    (
        "m4",
        {"epochs": 5, "pre_phase": "selective"},
        [
            *(Epoch("RRRR", FINE, LAST, factor, 0) for factor in (1, 0.5)),
            *[Epoch("RRRRFF", -0.1, LAST, 1, 1)] * 2,
        ],
    ),
    ("m5", {"epochs": 3}, [Epoch("RFRF", -0.5, ALL, 1, 0)] * 3),
    (
        "m6",
        {"epochs": 2, "final_epochs": 2},
        [
            *[Epoch("RFRF", -0.5, ALL, 1, 0)] * 2,
            Epoch("RRRR", FINE, ALL, 1, 1),
            Epoch("RRRR", FINE, ALL, 0.5, 1),
        ],
    ),
    ("hybrid1", {"epochs": 4}, [Epoch("RFRF", scale, ALL, 1, 0) for scale in (0, -0.15, -0.3, -0.45)]),
    (
        "hybrid2",
        {"epochs": 4, "final_epochs": 2},
        [
            *(Epoch("RFRF", scale, ALL, 1, 0) for scale in (0, -0.05, -0.2, -0.45)),
            Epoch("RRRR", FINE, ALL, 1, 1),
            Epoch("RRRR", FINE, ALL, 0.5, 1),
        ],
    ),
    (
        "hybrid3",
        {"epochs": 5, "finetune_every": 2, "final_epochs": 2},
        [
            Epoch("RFFRRR", 0, HALF, 1, 0),
            Epoch("RFFRRR", -0.04, HALF, 1, 0),
            Epoch("RRRR", FINE, HALF, 1, 1),
            Epoch("RFFRRR", -0.16, HALF, 1, 0),
            Epoch("RFFRRR", -0.36, HALF, 1, 0),
            Epoch("RRRR", FINE, HALF, 1, 2),
            Epoch("RFFRRR", -0.64, HALF, 1, 0),
            Epoch("RRRR", FINE, HALF, 1, 3),
            Epoch("RRRR", FINE, HALF, 0.5, 3),
        ],
    ),
    (
        "hybrid4",
        {"epochs": 4, "finetune_every": 4, "final_epochs": 1},  # int(0.3 x 4) = 1
        [
            Epoch("RFFRRR", 0, HALF, 1, 0),
            Epoch("RFFRRR", -0.0625, BUT_STEM, 1, 1),
            Epoch("RFFRRR", -0.25, BUT_STEM, 1, 1),
            Epoch("RFFRRR", -0.5625, BUT_STEM, 1, 1),
            Epoch("RRRR", FINE, BUT_STEM, 1, 2),
            Epoch("RRRR", FINE, BUT_STEM, 1, 3),
        ],
    ),
    (
        "hybrid4",
        {"epochs": 4, "finetune_every": 2, "final_epochs": 1, "unfreeze_after": 0.75},
        [
            Epoch("RFFRRR", 0, HALF, 1, 0),
            Epoch("RFFRRR", -0.0625, HALF, 1, 0),
            Epoch("RRRR", FINE, HALF, 1, 1),
            Epoch("RFFRRR", -0.25, HALF, 1, 0),
            Epoch("RFFRRR", -0.5625, BUT_STEM, 1, 2),
            Epoch("RRRR", FINE, BUT_STEM, 1, 3),
            Epoch("RRRR", FINE, BUT_STEM, 1, 4),
        ],
    ),
]
IDS = [f"{method}-{index}" for index, (method, _, _) in enumerate(SCHEDULES)]


@pytest.mark.parametrize(("method", "values", "epochs"), SCHEDULES, ids=IDS)
def test_every_step_is_that_of_the_table(method: str, values: dict[str, Value], epochs: list[Epoch]) -> None:
    recorder = record(method, values)
    expected = [step for epoch in epochs for step in epoch.steps()]
    assert [(s.part, s.trained, s.optimizer) for s in recorder.steps] == [
        (s.part, s.trained, s.optimizer) for s in expected
    ]
    for name in ("scale", "rate"):
        found = [getattr(step, name) for step in recorder.steps]
        assert found == pytest.approx([getattr(step, name) for step in expected], abs=1e-12), name
    for step, before, after in zip(recorder.steps, recorder.weights[:-1], recorder.weights[1:], strict=True):
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == step.trained


@pytest.mark.parametrize(("method", "values", "epochs"), SCHEDULES, ids=IDS)
def test_the_scale_is_noted_in_every_epoch(method: str, values: dict[str, Value], epochs: list[Epoch]) -> None:
    run = run_with_blocks(observe=lambda model: {"test": 0.0})
    tiny.unlearn(method, run, PARTS, {**SMALL, **values}, model=network(), source=tiny.data(torch.float64))
    noted = [float(record.recorded["reversal_scale"]) for record in run.curves[1:]]
    assert noted == pytest.approx([epoch.scale for epoch in epochs])
    ends = torch.tensor([len(epoch.order) for epoch in epochs]).cumsum(0)
    assert [record.steps for record in run.curves] == [0, *ends.tolist()]


def test_a_pass_sees_every_image_once_in_another_order_each_time() -> None:
    recorder = record("hybrid3", {"epochs": 2, "final_epochs": 1})
    passes: dict[str, list[list[int]]] = {"R": [], "F": []}
    batches = {"R": 4, "F": 2}
    for part in passes:
        seen = [positions for step, positions in zip(recorder.steps, recorder.seen, strict=True) if step.part == part]
        groups = (seen[start : start + batches[part]] for start in range(0, len(seen), batches[part]))
        passes[part] = [[position for batch in group for position in batch] for group in groups]
    for part, name in (("R", RETAIN), ("F", FORGET)):
        assert all(sorted(one) == sorted(PARTS[name].tolist()) for one in passes[part])
        assert len({tuple(one) for one in passes[part]}) == len(passes[part])
    assert len(passes["R"]) == 3
    assert len(passes["F"]) == 2


def numbered(steps: Iterator[tuple[Part, int]]) -> str:
    return " ".join(f"{'R' if part == RETAIN else 'F'}{number}" for part, number in steps)


@pytest.mark.parametrize(
    ("order", "retain", "forget", "expected"),
    [
        (one_after_the_other, 2, 3, "R0 R1 F0 F1 F2"),
        (paired, 4, 2, "R0 F0 R1 F1"),
        (paired, 2, 4, "R0 F0 R1 F1"),
        (woven, 4, 3, "R0 F0 F1 R1 F2 R2 R3"),
        (woven, 3, 4, "R0 F0 F1 R1 F2 F3 R2"),
        (woven, 1, 4, "R0 F0 F1"),  # what is left of forget is not seen
    ],
)
def test_the_order_of_an_epoch(order: Any, retain: int, forget: int, expected: str) -> None:
    assert numbered(order(range(retain), range(forget))) == expected


@pytest.mark.parametrize(
    ("method", "values", "steps"),
    [
        ("m1", {}, 1_760),
        ("m2", {}, 1_760),
        ("m3", {}, 3_560),
        ("m4", {}, 3_920),
        ("m4", {"pre_phase": "selective"}, 3_720),
        ("m5", {}, 4_000),
        ("m6", {}, 5_760),
        ("hybrid1", {}, 4_000),
        ("hybrid2", {}, 7_520),
        ("hybrid3", {}, 24_880),
        ("hybrid4", {}, 24_880),
        ("m1", {"variant": "notebook"}, 35_200),
        ("m2", {"variant": "notebook"}, 35_200),
        ("m3", {"variant": "notebook"}, 21_160),
        ("m4", {"variant": "notebook"}, 37_200),
        ("m5", {"variant": "notebook"}, 8_000),
        ("m6", {"variant": "notebook"}, 13_280),
        ("m6", {"variant": "notebook2"}, 9_760),
        ("hybrid3", {"variant": "notebook"}, 24_880),
        ("hybrid4", {"variant": "notebook"}, 24_880),
    ],
)
def test_steps_at_the_settings_of_the_report_with_its_352_and_40_batches(
    method: str, values: dict[str, Value], steps: int
) -> None:
    phases: Sequence[Phase] = METHODS[method].cls(**METHODS[method].complete(values)).phases(blocks=4)
    assert sum(len(list(phase.order(range(352), range(40)))) * len(phase.scales) for phase in phases) == steps


def test_weaving_carries_40_forget_steps_on_the_first_20_of_352_retain_batches() -> None:
    steps = [part for part, _ in woven(range(352), range(40))]
    assert steps == [RETAIN, FORGET, FORGET] * 20 + [RETAIN] * 332


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("linear", [0, 0.25, 0.5, 0.75]),
        ("quadratic", [0, 0.0625, 0.25, 0.5625]),
        ("exponential", [0, 0.0320586, 0.1192029, 0.3560857]),  # (e^1 - 1) / (e^4 - 1) = 1.7182818 / 53.5981500, ...
    ],
)
def test_the_scale_rises_from_zero_and_does_not_reach_its_end(schedule: str, shares: list[float]) -> None:
    assert rising(-0.8, 4, schedule) == pytest.approx([-0.8 * share for share in shares], abs=2e-7)


def test_at_first_the_reversal_has_no_gradient_and_yet_the_weights_move() -> None:
    recorder = record("hybrid1", {"epochs": 1})
    reversed_ = [index for index, step in enumerate(recorder.steps) if step.part == "F"]
    assert [recorder.steps[index].scale for index in reversed_] == [0.0, 0.0]
    for index in reversed_:
        before, after = recorder.weights[index], recorder.weights[index + 1]
        assert not any(torch.equal(before[name], after[name]) for name in before)


def batches_averaged(method: str, values: Mapping[str, Value]) -> list[int]:
    """Return how many batches the BatchNorm of each of the three blocks of `cnn_small` has averaged over."""
    before = tiny.own_copy("cnn_small").state_dict()
    after = tiny.unlearn(method, tiny.new_run(), PARTS, {**SMALL, **values}).state_dict()
    return [int(after[name] - before[name]) for name in before if name.endswith("num_batches_tracked")]


@pytest.mark.parametrize(
    ("method", "values", "expected"),
    [
        ("m1", {"epochs": 2}, [8, 8, 8]),
        ("m2", {"epochs": 2}, [0, 0, 8]),
        ("m2", {"epochs": 2, "frozen_bn": "train"}, [8, 8, 8]),
        ("m3", {"epochs": 1}, [0, 0, 6]),
        ("m3", {"epochs": 1, "reverse_bn": "eval"}, [0, 0, 4]),
        ("m3", {"epochs": 1, "variant": "notebook"}, [4, 4, 4]),
        ("m4", {"epochs": 2, "pre_phase": "selective"}, [0, 0, 10]),
        ("m5", {"epochs": 1}, [4, 4, 4]),
        ("hybrid3", {"epochs": 2, "final_epochs": 1}, [0, 0, 16]),
        ("hybrid4", {"epochs": 2, "final_epochs": 1, "unfreeze_after": 0.5}, [0, 10, 16]),
        ("hybrid4", {"epochs": 2, "final_epochs": 1, "variant": "notebook"}, [16, 16, 16]),
    ],
)
def test_batch_norm_of_frozen_blocks_stands_still_but_in_the_notebook(
    method: str, values: dict[str, Value], expected: list[int]
) -> None:
    assert batches_averaged(method, values) == expected


@pytest.mark.parametrize("epochs", [1, 3])
def test_curves_do_not_thaw_batch_norm(epochs: int) -> None:
    run = tiny.new_run(observe=lambda model: {"test": float(model.training)})
    model = tiny.unlearn("m2", run, PARTS, {**SMALL, "epochs": epochs})
    assert [layer.training for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)] == [False, False, True]


@pytest.mark.parametrize(
    ("architecture", "last", "half", "later"),
    [
        ("cnn_small", "2 5", "2 5", "1 2 5"),
        ("tinyvit_tiny", "stages.3 head.fc", "stages.2 stages.3 head.fc", "stages.1 stages.2 stages.3 head.fc"),
        ("allcnn", "7 10", "4 5 6 7 10", "1 2 3 4 5 6 7 10"),
        ("resnet18", "layer4 fc", "layer3 layer4 fc", "layer1 layer2 layer3 layer4 fc"),
    ],
)
def test_what_learns_goes_by_the_position_of_the_declared_blocks(
    architecture: str, last: str, half: str, later: str
) -> None:
    model, run = tiny.initial(architecture), tiny.new_run(architecture)
    names = [name for name, _ in model.named_parameters()]

    def learning(method: str, phase: int) -> set[str]:
        spec = METHODS[method]
        let_learn(model, spec.cls(**spec.defaults()).phases(len(ARCHITECTURES[architecture].blocks))[phase], run)
        return {name for name, weight in model.named_parameters() if weight.requires_grad}

    def inside(modules: str) -> set[str]:
        return {name for name in names if any(name.startswith(f"{module}.") for module in modules.split())}

    assert learning("m2", 0) == learning("m3", -1) == inside(last)
    assert learning("hybrid3", 0) == learning("hybrid3", -1) == learning("hybrid4", 0) == inside(half)
    assert learning("hybrid4", -1) == inside(later) != set(names)
    for method in ("m1", "m4", "m5", "m6", "hybrid1", "hybrid2"):
        assert learning(method, -1) == set(names)


def weights(method: str, values: Mapping[str, Value]) -> str:
    return digest(tiny.unlearn(method, tiny.new_run(), PARTS, {**SMALL, **values}).state_dict())


def test_m1_is_fine_tuning() -> None:
    assert weights("m1", {"epochs": 3}) == weights("finetune", {"epochs": 3, "weight_decay": 5e-4})


def test_in_the_notebook_hybrids_3_and_4_are_one_algorithm() -> None:
    short: dict[str, Value] = {"epochs": 4, "final_epochs": 1}
    notebook = {**short, "variant": "notebook"}
    assert weights("hybrid3", notebook) == weights("hybrid4", notebook)
    assert weights("hybrid3", short) != weights("hybrid4", short)


@pytest.mark.parametrize("method", TEN)
def test_goes_by_the_seed_and_gives_everything_back_trainable(method: str) -> None:
    values = tiny.quick(METHODS[method], batch_size=8)
    found = [tiny.unlearn(method, tiny.new_run(seed=seed), PARTS, values) for seed in (0, 0, 1)]
    digests = [digest(model.state_dict()) for model in found]
    assert digests[0] == digests[1] != digests[2]
    assert all(weight.requires_grad for weight in found[0].parameters())


@pytest.mark.parametrize("method", ["m1", "m2"])
def test_fine_tuning_alone_does_not_see_what_is_to_be_forgotten(method: str) -> None:
    assert METHODS[method].reads == {RETAIN}
    view = tiny.view(METHODS[method], tiny.new_run(), PARTS, tiny.data())
    with pytest.raises(UndeclaredRead):
        _ = view.forget


@pytest.mark.parametrize("method", ["m5", "hybrid1", "hybrid4"])
def test_ascent_to_infinity_is_a_run_that_diverged(method: str) -> None:
    with pytest.raises(Diverged, match="the loss is not finite"):
        tiny.unlearn(method, tiny.new_run(), PARTS, {**SMALL, "epochs": 3, "lr": 1e30})


@pytest.mark.parametrize("method", ["m2", "m3", "hybrid3", "hybrid4"])
def test_an_architecture_without_blocks_is_refused_where_some_are_frozen(method: str) -> None:
    values = {**SMALL, "epochs": 1}
    with pytest.raises(NoBlocks, match="'cnn_small' declares no blocks"):
        tiny.unlearn(method, run_with_blocks(()), PARTS, values, model=network().float())
    tiny.unlearn("m5", run_with_blocks(()), PARTS, values, model=network().float())


@pytest.mark.parametrize("scale", [0.1, -1.5])
def test_a_scale_that_reverses_nothing_or_too_much_is_refused(scale: float) -> None:
    with pytest.raises(InvalidHyperparameter, match=r"m5.reverse_scale is .*; it must be between -1 and 0"):
        METHODS["m5"].checked({"reverse_scale": scale})


def test_phases_in_a_row_that_train_the_same_blocks_share_their_momentum() -> None:
    """Two phases of one epoch are one phase of two, but where each has an optimiser of its own."""

    def end(phases: Sequence[Phase]) -> str:
        run, model = tiny.new_run(), tiny.own_copy("cnn_small")
        view = tiny.view(METHODS["m5"], run, PARTS, tiny.data())
        sgd = partial(SGD, lr=LR, momentum=0.9, weight_decay=0.0)
        return digest(follow(phases, model, view, run, batch_size=8, sgd=sgd).state_dict())

    assert end([Phase(paired, (-0.5,)), Phase(paired, (-0.2,))]) == end([Phase(paired, (-0.5, -0.2))])
    once, twice = Phase(retain_only, (0.0,), cosine=True), Phase(retain_only, (0.0, 0.0), cosine=True)
    assert end([once, once]) != end([twice])
