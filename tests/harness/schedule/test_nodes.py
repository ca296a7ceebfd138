"""Several nodes, and GPUs that exist in name: what fits at once, a node that is lost, one without the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.schedule import RootNotShared, Session, probe_root
from harness.store import Store
from harness.unit import Kind, Unit

pytestmark = pytest.mark.ray

Run = Callable[..., Any]
MakeUnits = Callable[..., list[Unit]]


@pytest.fixture
def node(cluster: Any, session: Session) -> Iterator[Any]:
    """A second node with one core, whose home is elsewhere."""
    added = cluster.add_node(num_cpus=1, env_vars={"HOME": "/nowhere"})
    yield added
    if added in cluster.worker_nodes:
        cluster.remove_node(added)


@pytest.mark.slow
def test_a_root_that_a_node_does_not_see_is_refused(
    cluster: Any, session: Session, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root below `~` is another one for a node that is at home elsewhere."""
    Store.open(str(tmp_path / "runs"), write=True)
    probe_root(session, str(tmp_path / "runs"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "probes are removed"
    monkeypatch.setenv("HOME", cluster.home)
    missing = next(found for found in session.nodes() if found.id == node.node_id)
    Store.open("~/runs", write=True)
    with pytest.raises(RootNotShared) as refused:
        probe_root(session, "~/runs")
    assert missing.name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_node_that_is_lost_loses_no_unit(
    cluster: Any, node: Any, run: Run, make_units: MakeUnits, store: Store, notes: Path
) -> None:
    """It goes in the middle of a unit: `Sleeps` notes which raylet its process belongs to."""
    units = make_units(["{sleeps: {milliseconds: 400, nodes: 2}}"], seeds=4)
    raylet = node.all_processes["raylet"][0].process.pid

    def kill() -> None:
        if (notes / f"sleeping-{raylet}").exists() and node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=False)

    told = run(store, units, heartbeat=kill)
    assert node not in cluster.worker_nodes
    assert told.status == {unit.id: "done" for unit in units}
    assert store.committed() == told.status.keys()
    failures = store.scan("failures").collect()
    assert set(failures["exception"]) == {"WorkerDied"}
    again = store.scan("units").filter(pl.col("unit").is_in(failures["unit"].to_list())).collect()
    assert set(again["attempt"]) == {2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resources", "fit"),
    [
        ({"cpu": 0.5, "gpu": 1}, 4),
        ({"cpu": 0.1, "gpu": 0.25}, 16),
    ],
)
def test_four_gpus_hold_so_many_units_and_not_one_more(
    run: Run, make_units: MakeUnits, store: Store, notes: Path, resources: dict[str, float], fit: int
) -> None:
    """Every unit waits until so many are there: fewer would never end."""
    units = make_units([f"{{meets: {{others: {fit}}}}}"], seeds=fit + 2)
    units = [unit for unit in units if unit.kind == Kind.ORIGINAL or unit.method.name == "meets"]
    told = run(store, units, resources=resources)
    assert set(told.status.values()) == {"done"}
    present = [int(note.read_text()) for note in notes.glob("present-*")]
    assert len(present) == fit + 2
    assert max(present) == fit
