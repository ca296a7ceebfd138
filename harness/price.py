"""What a plan costs, from the measured seconds and bytes of units that ran before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from harness.contracts.architecture import ARCHITECTURES
from harness.contracts.dataset import DATASETS
from harness.store import Store
from harness.study import development_images
from harness.unit import KeepModels, Unit, keeps_model

ROWS_BYTES = 10_000
"""About what the rows of one unit take in the tables: the digits study with its farm leaves 9 kB a unit."""

PHI_BYTES = 4
"""What an image takes in the signals of half splits, which are of all development images: too many for the above."""

COARSER = (
    ("kind", "dataset", "architecture", "method"),
    ("kind", "dataset", "architecture"),
)
"""A unit is priced by the mean of done units that agree in these columns, the first that has any."""


@dataclass(frozen=True)
class Price:
    """Seconds of one worker for the units that could be priced, how many could not, and bytes that stay."""

    seconds: float
    unpriced: int
    bytes: int


def price(units: Iterable[Unit], store: Store, keep_models: KeepModels) -> Price:
    """Return what units will cost, going by what the same kinds of units took in this root."""
    known = [_means(store, columns) for columns in COARSER]
    seconds, unpriced, stored = 0.0, 0, 0
    sizes: dict[tuple[str, str], int] = {}
    for unit in units:
        row = unit.columns()
        found = (means.get(tuple(row[c] for c in columns)) for columns, means in zip(COARSER, known, strict=True))
        mean = next((value for value in found if value is not None), None)
        seconds, unpriced = seconds + (mean or 0.0), unpriced + (mean is None)
        stored += ROWS_BYTES + _signal_bytes(unit)
        if keeps_model(unit, keep_models):
            key = (unit.dataset.name, unit.architecture.name)
            if key not in sizes:
                sizes[key] = _model_bytes(*key)
            stored += sizes[key]
    return Price(seconds, unpriced, stored)


def _signal_bytes(unit: Unit) -> int:
    if unit.farm is None or unit.farm.design != "half_splits":
        return 0
    return PHI_BYTES * development_images(unit.dataset) * len(unit.farm.queries)


def _means(store: Store, columns: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    done = store.scan("units").filter(pl.col("status") != "failed")
    frame = done.group_by(columns).agg(pl.col("seconds").mean()).collect()
    return {row[:-1]: row[-1] for row in frame.iter_rows()}


def _model_bytes(dataset: str, architecture: str) -> int:
    import torch

    spec = DATASETS[dataset]
    channels, size, _ = spec.shape
    with torch.device("meta"):
        model = ARCHITECTURES[architecture].build(channels, size, spec.classes)
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
