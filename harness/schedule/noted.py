"""The store as a worker of a cluster uses it: it knows the share of the device, which the work does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.schedule.packing import Memory
from harness.store import Row, Rows, Store

if TYPE_CHECKING:
    from torch import Tensor

OUT_OF_MEMORY = "OutOfMemoryError"
"""What torch raises where a GPU, or what its other users leave of it, is full."""


class NotedStore:
    """Passes everything on to a store, with the share of the device in the unit's row; for one unit.

    `out_of_memory` says whether the unit failed because the device's memory was full, `memory` what one that did not
    fail needed of it; `whole` are the bytes of the device, None where nobody counts them.
    """

    def __init__(self, store: Store, share: float, whole: int | None = None) -> None:
        self._store, self._share, self._whole = store, share, whole
        self.out_of_memory = False
        self.memory: Memory | None = None

    def commit(self, unit: str, rows: Rows) -> None:
        """Store the rows of a unit that finished."""
        peak = rows["units"][0]["peak_memory"]
        if isinstance(peak, int) and self._whole is not None:
            self.memory = Memory(peak, self._whole)
        self._store.commit(unit, self._noted(rows))

    def commit_failure(self, unit: str, attempt: int, rows: Rows) -> None:
        """Store the rows of a failed attempt."""
        self.out_of_memory = any(row["exception"] == OUT_OF_MEMORY for row in rows["failures"])
        self._store.commit_failure(unit, attempt, self._noted(rows))

    def save_model(self, unit: str, state: Mapping[str, Tensor]) -> str:
        """Store weights and return their digest."""
        return self._store.save_model(unit, state)

    def load_model(self, unit: str, device: str = "cpu") -> dict[str, Tensor]:
        """Return stored weights."""
        return self._store.load_model(unit, device)

    def _noted(self, rows: Rows) -> Rows:
        units: list[Row] = [{**row, "share": self._share} for row in rows["units"]]
        return {**rows, "units": units}
