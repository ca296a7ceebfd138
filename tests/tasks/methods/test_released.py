"""`variant: reference` of every method against an independent restatement of the released code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from harness import registry
from harness.check import problem as tiny
from harness.contracts import METHODS, REFERENCE, VARIANT
from harness.contracts.space import Value
from harness.engine.models import digest
from harness.errors import HarnessError

sys.path.insert(0, str(Path(__file__).parent))
released, literature, challenge = map(import_module, ("released", "released_literature", "released_challenge"))
RESTATEMENTS = {**literature.RESTATEMENTS, **challenge.RESTATEMENTS}
PARTS = tiny.uneven_parts()
registry.load()


class Case(NamedTuple):
    """One run; `tolerance` is relative and absolute."""

    method: str
    architecture: str
    values: Mapping[str, Value]
    tolerance: float = 1e-5
    precision: torch.dtype = torch.float64


STANDARD: Mapping[str, Value] = {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.01, "batch_size": 8, "epochs": 3}
ADAPTIVE: Mapping[str, Value] = {"lr": 2e-3, "weight_decay": 0.01, "batch_size": 8, "epochs": 3, "temperature": 2.5}
LAST: Mapping[str, Value] = {"lr": 0.05, "l2": 0.05, "batch_size": 8, "epochs": 4, "decay": 0.3, "k": 2}
SCRUB: Mapping[str, Value] = {
    "lr": 0.05, "momentum": 0.8, "weight_decay": 0.01, "retain_batch_size": 8, "forget_batch_size": 6, "epochs": 4,
    "max_steps": 2, "temperature": 2.5, "gamma": 0.7, "alpha": 0.4,
}  # fmt: skip
FCS: Mapping[str, Value] = {
    **STANDARD, "lr": 0.01, "retain_lr": 0.05, "retain_weight_decay": 0.02, "forget_lr": 0.01,
    "forget_weight_decay": 0.005, "temperature": 1.5, "eta_min": 1e-3,
}  # fmt: skip
KDE: Mapping[str, Value] = {
    **STANDARD, "batch_size": 6, "epochs": 2, "retain_epochs": 2, "retain_lr": 0.03, "retain_weight_decay": 0.005,
    "temperature": 2.5,
}  # fmt: skip
RNI: Mapping[str, Value] = {
    **STANDARD, "epochs": 4, "fine_lr": 0.01, "fine_weight_decay": 0.005, "fine_epochs": 1, "reset_epochs": 1,
    "noise_ratio": 0.6, "noise_std": 0.2, "layers": 6,
}  # fmt: skip

REWINDS = Case("scrub", "cnn_small", {**SCRUB, "lr": 0.1, "max_steps": 1})
KEEPS = Case("scrub", "cnn_small", SCRUB)
CASES = [
    Case("finetune", "cnn_small", STANDARD),
    Case("gradient_ascent", "cnn_small", STANDARD),
    Case("successive_random_labels", "cnn_small", STANDARD),
    Case("salun", "cnn_small", {**STANDARD, "threshold": 0.37}),
    Case("neg_grad_plus", "cnn_small", {**STANDARD, "alpha": 0.7}),
    Case("neg_grad_plus", "tinyvit_tiny", {**STANDARD, "alpha": 0.7}),
    # The released teacher comes in single precision, and so must all else.
    Case("bad_teacher", "cnn_small", ADAPTIVE, tolerance=1e-4, precision=torch.float32),
    REWINDS,
    KEEPS,
    Case("cf_k", "cnn_small", {**LAST, "k": 1}),
    Case("cf_k", "cnn_small", LAST),
    Case("cf_k", "tinyvit_tiny", {**LAST, "k": 10}),
    Case("eu_k", "cnn_small", {**LAST, "k": 1}),
    Case("eu_k", "cnn_small", LAST),
    Case("eu_k", "tinyvit_tiny", LAST),
    Case("fisher_forgetting", "cnn_small", {"alpha": 1e-3, "batch_size": 8}),
    Case("influence_unlearning", "cnn_small", {"alpha": 0.6}),
    Case("fcs", "cnn_small", FCS),
    Case("msg", "cnn_small", {**STANDARD, "epochs": 4, "init_rate": 0.4}),
    Case("cfw", "resnet18", {**STANDARD, "start_std": 0.3, "final_std": 0.1}),
    Case("cfw", "cnn_small", {**STANDARD, "start_std": 0.3, "final_std": 0.1}),
    # Weights that differ in their last bits may round to neighbouring half-precision numbers.
    Case("prmq", "cnn_small", {**STANDARD, "prune": 0.6, "epochs": 2.4}, tolerance=1e-3),
    Case("ct", "cnn_small", STANDARD),
    Case("kde", "cnn_small", KDE),
    Case("kde", "resnet18", KDE),
    Case("rni", "cnn_small", RNI),
    Case("rni", "resnet18", RNI),
]


def restated(case: Case) -> torch.nn.Module:
    model: torch.nn.Module = RESTATEMENTS[case.method](
        released.Problem(case.architecture, case.precision), SimpleNamespace(**case.values)
    )
    return model


def found(case: Case) -> torch.nn.Module:
    return tiny.unlearn(
        case.method,
        tiny.new_run(case.architecture),
        PARTS,
        {**case.values, VARIANT: REFERENCE},
        model=released.original(case.architecture, case.precision),
        source=tiny.data(case.precision),
        architecture=case.architecture,
    )


def test_every_method_with_a_reference_variant_has_a_case() -> None:
    spaces = {name: METHODS[name].space for name in METHODS}
    declared = {name for name, space in spaces.items() if VARIANT in space and REFERENCE in space[VARIANT].options}
    assert declared == set(RESTATEMENTS) == {case.method for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.method}-{case.architecture}-{i}" for i, case in enumerate(CASES)])
def test_ends_in_the_weights_and_statistics_of_the_restatement(case: Case) -> None:
    wanted = restated(case).state_dict()
    assert digest(wanted) != digest(released.original(case.architecture, case.precision).state_dict())
    after = found(case)
    assert after.state_dict().keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(
            after.state_dict()[name],
            tensor,
            rtol=case.tolerance,
            atol=case.tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )
    assert all(weight.requires_grad for weight in after.parameters())


def test_the_two_cases_of_scrub_rewind_to_a_middle_epoch_and_keep_the_last() -> None:
    for case, expected in ((REWINDS, 3), (KEEPS, 0)):
        states, picked = literature.scrub_epochs(released.Problem("cnn_small"), SimpleNamespace(**case.values))
        assert len(states) == 5
        assert picked == expected


@pytest.mark.parametrize("method", ["fisher_forgetting", "influence_unlearning"])
def test_the_released_crash_on_tinyvit_is_a_typed_error(method: str) -> None:
    with pytest.raises(HarnessError, match="attention biases"):
        found(Case(method, "tinyvit_tiny", {"alpha": 1e-3}))
