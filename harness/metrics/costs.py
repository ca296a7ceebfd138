"""What unlearning costs whatever the machine: images drawn, steps taken, networks asked for."""

from __future__ import annotations

from harness.metrics.definitions import RETRAIN_OF_SEED, define

DRAWN_PARTS = ("retain", "forget", "val")
COST_METRICS = (*(f"images_seen_{part}" for part in DRAWN_PARTS), "optimiser_steps", "artifact_bytes")
"""What the harness counts while a trial unlearns or trains."""
IMAGES_RATIO = "images_ratio"
"""What `derive` makes of them."""

_THIS = "this harness"
_NOT_SHARED = "of what a unit of its own makes for several trials, nothing is counted here"


def define_costs() -> None:
    """Define them all; `catalogue` does."""
    for part in DRAWN_PARTS:
        _define(
            f"images_seen_{part}",
            f"{part} images drawn",
            f"images of the {part} part that were drawn in batches while unlearning (while training, for retrain), "
            f"each time anew, for a step or only to look at; {_NOT_SHARED}",
            RETRAIN_OF_SEED,
            "images",
        )
    _define(
        "optimiser_steps",
        "steps",
        f"optimiser steps, one backward pass each, those of other networks that the method trains included; "
        f"{_NOT_SHARED}",
        RETRAIN_OF_SEED,
        "steps",
    )
    _define(
        "artifact_bytes",
        "bytes asked for",
        "bytes of weights and buffers of the networks that a method asks for beside the model: generators, or states "
        "kept from training",
        "0: needs nothing but the model",
        "bytes",
        0.0,
    )
    _define(
        IMAGES_RATIO,
        "images / retrain",
        "images drawn of retain, forget and val together, divided by retrain's, same cell and seed; per seed, then "
        "averaged: a speed-up that depends on no machine, upside down",
        "1: retrain",
        "ratio",
        1.0,
    )


def _define(metric: str, label: str, what: str, reference: str, unit: str, fixed: float | None = None) -> None:
    define(
        metric,
        label=label,
        what=what,
        direction="lower",
        reference=reference,
        unit=unit,
        source=_THIS,
        reference_value=fixed,
    )
