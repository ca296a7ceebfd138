"""Farms whose leakage is known: plans of studies with a farm, and signals made up for their units."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import drive
from harness.farm import Farm, membership
from harness.planner import Plan, make_plan
from harness.store import Store
from harness.study import load_study
from harness.unit import Kind

Signal = tuple[NDArray[np.float64], NDArray[np.bool_]]
Signals = Mapping[tuple[str, str], Signal]
"""(phi, member) by (unit id, pool)."""

METHODS = ("original", "finetune", "ct")
EFFECTS = {"original": 4.0, "finetune": 1.5, "ct": 0.0}
"""How far the mean phi of forgotten images stays above that of images that were never in."""


def plan_of(
    folder: Path,
    shadows: int = 16,
    retrains: int = 8,
    pools: Mapping[str, int] | None = None,
    methods: Sequence[str] = METHODS,
    **more: str,
) -> Plan:
    """Return the plan of a study with a farm; `more` are further keys of the file."""
    sizes = ", ".join(
        f"{name}: {{size: {size}, labels: '{'random' if name == 'canary' else 'own'}'}}"
        for name, size in (pools or {"canary": 40, "clean": 24}).items()
    )
    keys = {
        "name": "farm",
        "datasets": "[digits]",
        "architectures": "[cnn_small]",
        "scenarios": "['random:0.1']",
        "methods": f"[{', '.join(methods)}]",
        "farm": f"{{shadows: {shadows}, retrains: {retrains}, pools: {{{sizes}}}}}",
    }
    path = folder / "study.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in (keys | more).items()))
    return make_plan(load_study(path))


def farm_of(plan: Plan) -> Farm:
    assert plan.study.farm is not None
    return plan.study.farm


def run(plan: Plan, root: Path) -> Store:
    """Run every unit of a study in this process, rebuild no view, and return the store."""
    summary = drive.run(plan.study, str(root), where=drive.Where(device="cpu"), views=lambda plan, store: None)
    assert summary.complete
    return Store.open(str(root))


def synthetic(plan: Plan, effects: Mapping[str, float] = EFFECTS, seed: int = 0) -> dict[tuple[str, str], Signal]:
    """Return signals of every unit of a farm: normal around the difficulty of an image, higher where it was in."""
    rng = np.random.default_rng(seed)
    sizes = {pool.name: pool.size for pool in farm_of(plan).ref.pools}
    difficulty = {name: rng.normal(0, 2, size) for name, size in sizes.items()}
    signals: dict[tuple[str, str], Signal] = {}
    for unit in plan.units.values():
        if not unit.kind.of_farm:
            continue
        for pool in [unit.pool] if unit.pool else sizes:
            inside = membership(farm_of(plan).ref, unit.seed, sizes[pool])
            effect = 0.0 if unit.kind == Kind.SHADOW_RETRAIN else effects[unit.method.name]
            phi = difficulty[pool] + rng.normal(size=sizes[pool]) + effect * inside
            if unit.kind == Kind.SHADOW_UNLEARN and unit.method.name == "original":
                phi = signals[unit.needs[0], pool][0]
            signals[unit.id, pool] = phi.astype(np.float32).astype(np.float64), inside
    return signals


def commit(store: Store, plan: Plan, signals: Signals, units: Collection[str]) -> None:
    """Commit units of a farm in the given order, as the work room does."""
    for identity in units:
        unit = plan.units[identity]
        same = unit.columns() | {"attempt": 1}
        own = [(pool, signal) for (owner, pool), signal in signals.items() if owner == identity]
        rows: list[dict[str, object]] = [
            same | {"pool": pool, "query": "identity", "phi": phi.astype(np.float32), "member": inside, "n": len(phi)}
            for pool, (phi, inside) in own
        ]
        store.commit(
            identity,
            {"units": [same | {"status": "done", "started": datetime.now(UTC)}], "signals": rows},
        )
