"""What the attacks of a trial are given, and what they say: the population attack, three attackers, SVC-MIA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.attacks import AttackError, Outputs, loss_from_phi, mia_trio, outputs, population_mia, svc_efficacy
from harness.attacks.learned import Attacker
from harness.contracts.parts import FORGET, RETAIN, TEST, Part
from harness.engine.evaluate import Evaluation, log_probabilities
from harness.work.bench import Loaded, Parts

Numbers = Mapping[tuple[str, str], float | None]
"""By part and metric; None where a number cannot be computed."""

SVC_IMAGES = 2000
"""SVC-MIA is fitted on, and asked about, at most this many images of each part: its time grows with their square."""


@dataclass(frozen=True)
class Signal:
    """phi [n] of the images of a pool, and which of them [n] the model was made to forget (or was trained on).

    Where `known` [n] is false, the image is in neither world of an audit: it was retained. None: all are in one.
    """

    phi: NDArray[np.float64]
    member: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None


def population_signals(
    evaluations: Mapping[str, Evaluation], parts: Parts, held_out: tuple[Part, ...]
) -> dict[str, Signal]:
    """Return what the population attack tells apart: forget (the members), and the images of the held-out parts.

    Where the forget set is of one class, of several or of a subclass, held-out images are of the same: else class
    difficulty would pass for membership.
    """
    forget = evaluations[FORGET].phi
    signals = {FORGET.value: Signal(forget, np.ones(len(forget), dtype=bool))}
    for part in held_out:
        phi = evaluations[part].phi
        if parts.alike is not None:
            phi = phi[parts.alike[parts.split.of(part)]]
        signals[part.value] = Signal(phi, np.zeros(len(phi), dtype=bool))
    return signals


def population_accuracy(members: Signal, others: Signal) -> float | None:
    """Return the accuracy of the population attack; None where it has no value."""
    try:
        return population_mia(loss_from_phi(members.phi), loss_from_phi(others.phi))
    except AttackError:  # diverged losses, or a class with too few held-out images
        return None


def trio_numbers(members: Signal, others: Signal) -> Numbers:
    """Return accuracy and AUC of three attackers on the losses, with their sd over splits; None where there is none."""
    try:
        found = mia_trio(loss_from_phi(members.phi), loss_from_phi(others.phi))
    except AttackError:  # diverged losses, or too few images on a side
        return {("test", f"mia_{attacker}"): None for attacker in get_args(Attacker)}
    return {
        ("test", f"mia_{attacker}{number}"): value
        for attacker, one in found.items()
        for number, value in (("", one.accuracy), ("_sd", one.accuracy_sd), ("_auc", one.auc), ("_auc_sd", one.auc_sd))
    }


def svc_mia(model: nn.Module, loaded: Loaded, parts: Parts) -> Numbers:
    """Return M-conf (share called non-members) and M-ent (share called members) of the forget set.

    The attacker is fitted on retain and test images of the same classes. Where whole classes are forgotten it has seen
    none of them, and rather tells classes apart than members: hence the same of the test images of these classes.
    """
    test = parts.index[TEST]
    index = {"forget": parts.index[FORGET], "retain": parts.index[RETAIN], "test": test}
    if parts.asked_for is not None:
        index["test_forget"] = test[torch.from_numpy(parts.asked_for[parts.split.of(TEST)]).to(test.device)]
    try:
        says = {part: _outputs(part, model, loaded, positions) for part, positions in index.items()}
        return {
            (part, metric): share
            for part in ("forget", "test_forget")
            if part in says
            for metric, share in _called(says["retain"], says["test"], says[part]).items()
        }
    except AttackError:  # a diverged model, or no image of some part
        return {("forget", "mia_confidence"): None, ("forget", "mia_entropy"): None}


def _called(retain: Outputs, test: Outputs, part: Outputs) -> dict[str, float]:
    confidence, _ = svc_efficacy(retain, test, part, "confidence", refits=0)
    entropy, _ = svc_efficacy(retain, test, part, "entropy", refits=0)
    return {"mia_confidence": confidence, "mia_entropy": 1 - entropy}


def evenly(index: torch.Tensor, most: int) -> torch.Tensor:
    """Return at most so many entries of an index [n], evenly spaced, in their order."""
    return index[:: max(1, -(-len(index) // most))]


def _outputs(part: str, model: nn.Module, loaded: Loaded, index: torch.Tensor) -> Outputs:
    """Return what a model says of at most `SVC_IMAGES` images, evenly spaced among the given ones."""
    few = evenly(index, SVC_IMAGES)
    labels = loaded.labels[few.cpu().numpy()]
    return outputs(part, log_probabilities(model, loaded.data, few), labels, log=True)
