"""One Ray for all tests here, a plug-in with methods that misbehave, and studies of them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS, METHODS
from harness.planner import make_plan
from harness.schedule import Cluster, Session, WorkerInfo, connect, run_units
from harness.schedule.patience import patient_start
from harness.store import Store
from harness.study import load_study
from harness.unit import Unit

# Before Ray is imported, which reads them once: clusters want a token, and none is written into a home.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5e" * 32, "RAY_USAGE_STATS_ENABLED": "0"}

PLUGIN_FOLDER = Path(__file__).parent / "plugin"
PLUGIN = "unruly"


@pytest.fixture(scope="session")
def unruly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The plug-in, here and in every process that is started; its folder of notes. The catalogs stay as found."""
    notes = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN_FOLDER))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGIN_FOLDER), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("UNRULY_FOLDER", str(notes))
        for catalog in (METHODS, DATASETS, ARCHITECTURES):
            patch.setattr(catalog, "_specs", dict(catalog._specs))
        registry.load((PLUGIN,))
        yield notes
        registry.load.cache_clear()
    sys.modules.pop(PLUGIN, None)


@pytest.fixture
def notes(unruly: Path) -> Path:
    """The folder of notes, empty."""
    for note in unruly.iterdir():
        note.unlink()
    return unruly


@pytest.fixture(scope="session")
def cluster(unruly: Path) -> Iterator[Any]:
    """A head node with two cores and four GPUs that exist in name; `home` is where it is at home."""
    from ray.cluster_utils import Cluster as Nodes

    with (
        tempfile.TemporaryDirectory(prefix="rt-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("HOME", folder)
        (Path(folder) / "ray").mkdir()
        head = {"num_cpus": 2, "num_gpus": 4, "include_dashboard": False}
        with patient_start():
            nodes = Nodes(initialize_head=True, head_node_args=head)
        patch.undo()
        nodes.home = folder
        yield nodes
        nodes.shutdown()


@pytest.fixture(scope="session")
def session(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A connection to it."""
    log = tmp_path_factory.mktemp("log") / "ray.log"
    with connect(Cluster(address=cluster.address), str(log)) as session:
        yield session


@dataclass
class Told:
    """What a run reported: status and place of each unit by its id, in order."""

    status: dict[str, str] = field(default_factory=dict)
    places: dict[str, WorkerInfo] = field(default_factory=dict)

    def __call__(self, unit: Unit, status: str, place: WorkerInfo) -> None:
        assert unit.id not in self.status, "a unit is reported once"
        self.status[unit.id] = status
        self.places[unit.id] = place


@pytest.fixture(scope="session")
def make_units(unruly: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Unit]]:
    """Units of a study, by its methods and other keys; the study adds originals, retrains and the no-op."""

    def make(methods: Sequence[str], **keys: Any) -> list[Unit]:
        study = {
            "name": "test",
            "datasets": ["bands"],
            "architectures": ["cnn_small"],
            "scenarios": ["random:0.2"],
            "methods": [yaml.safe_load(method) for method in methods],
            "measures": ["accuracy"],
            "recipe": {"epochs": 2},
        }
        file = tmp_path_factory.mktemp("study") / "study.yaml"
        file.write_text(yaml.safe_dump(study | keys))
        return list(make_plan(load_study(file)).units.values())

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"), write=True)


@pytest.fixture(scope="session")
def run(session: Session) -> Callable[..., Told]:
    """Run units in the session; returns what was reported."""

    def run(store: Store, units: Sequence[Unit], **options: Any) -> Told:
        told = Told()
        settings = {"device": "cpu", "attempts": {}, "report": told, "plugins": (PLUGIN,)}
        run_units(units, root=store.uri, session=session, **(settings | options))
        return told

    return run
