"""What a plan costs, from the measured seconds and bytes of units that ran before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.contracts.architecture import ARCHITECTURES
from harness.contracts.dataset import DATASETS
from harness.pricing.costs import Costs, epochs_of, measured
from harness.store import Store
from harness.study import development_images
from harness.unit import KeepModels, Unit, keeps_model

ROWS_BYTES = 10_000
"""About what the rows of one unit take in the tables: the digits study with its farm leaves 9 kB a unit."""

PHI_BYTES = 4
"""What an image takes in the signals of half splits, which are of all development images: too many for the above."""


@dataclass(frozen=True)
class Price:
    """Seconds of one worker for the units that could be priced, how many could not, the hours of a whole device that
    is, bytes that stay, and the seconds of each unit by its id (0 where it has no price)."""

    seconds: float
    unpriced: int
    device_hours: float
    bytes: int
    by_unit: Mapping[str, float] = field(repr=False)


def price(units: Iterable[Unit], store: Store, keep_models: KeepModels, costs: Costs | None = None) -> Price:
    """Return what units will cost, going by what units like them took in this root, or by other costs."""
    known = Costs.of(measured(store)) if costs is None else costs
    unpriced, device_seconds, stored = 0, 0.0, 0
    seconds: dict[str, float] = {}
    prices: dict[tuple[object, ...], tuple[float | None, float]] = {}  # tens of thousands of units are of a few kinds
    sizes: dict[tuple[str, str], int] = {}
    for unit in units:
        like = (unit.kind, unit.dataset, unit.architecture, unit.method.name, epochs_of(unit))
        if like not in prices:
            prices[like] = known.price(unit), known.share(unit)
        found, share = prices[like]
        seconds[unit.id], unpriced = found or 0.0, unpriced + (found is None)
        device_seconds += (found or 0.0) * share
        stored += ROWS_BYTES + _signal_bytes(unit)
        if keeps_model(unit, keep_models):
            key = (unit.dataset.name, unit.architecture.name)
            if key not in sizes:
                sizes[key] = _model_bytes(*key)
            stored += sizes[key]
    return Price(sum(seconds.values()), unpriced, device_seconds / 3600, stored, seconds)


def _signal_bytes(unit: Unit) -> int:
    if unit.farm is None or unit.farm.design != "half_splits":
        return 0
    return PHI_BYTES * development_images(unit.dataset) * len(unit.farm.queries)


def _model_bytes(dataset: str, architecture: str) -> int:
    import torch

    spec = DATASETS[dataset]
    channels, size, _ = spec.shape
    with torch.device("meta"):
        model = ARCHITECTURES[architecture].build(channels, size, spec.classes)
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
