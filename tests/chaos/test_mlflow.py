"""MLflow is away, silent, slow or unreliable while a study ends: the study does not care, and it is filled in later."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest
from tiny_chaos import Chaos, repeated
from tiny_s3 import Network

from harness.schedule.patience import free_ports
from harness.tracking.address import Address
from harness.tracking.quiet import open_client

START_SECONDS = 300.0
TIMED = ("time", "seconds", "overall", "rank")
"""Metrics of a run that differ between two runs of one study, or follow from those."""

Fault = Callable[[Network], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A tracking server with a database of its own; yields its port."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_ports(1)[0]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    command = [sys.executable, "-m", "mlflow", "server", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_until_up(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None
        try:
            return urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def take(address: Address, study: str) -> dict[str, Mapping[str, float]]:
    """Return what MLflow knows of a study: the metrics of each run that follow from seeds alone, by the run's name.

    After that it knows the study no more.
    """
    with open_client(address) as client:
        experiment = client.get_experiment_by_name(study)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        client.rename_experiment(experiment.experiment_id, f"{study} {time.time_ns()}")  # room for the next
    named = {run.info.run_name: run for run in runs}
    assert len(named) == len(runs), "a run is there twice"
    return {
        name: {key: value for key, value in run.data.metrics.items() if not any(word in key for word in TIMED)}
        for name, run in named.items()
    }


def away(network: Network) -> None:
    """Nobody listens."""
    network.stop()


def silent(network: Network) -> None:
    """Connections are taken, and nothing is answered."""
    network.silent.set()


def slow(network: Network) -> None:
    """Every answer is late."""
    network.share, network._faults = 1.0, ("late",)


def unreliable(network: Network) -> None:
    """A fifth of the requests fails, in all the ways there are."""
    network.share = 0.2


def breaks_off(network: Network) -> None:
    """Nobody listens any more when half of it is written."""
    network.before = lambda asked: network.stop() if len(network.asked) == 20 else None


FAULTS: tuple[Fault, ...] = (away, silent, slow, unreliable, breaks_off)


@repeated(short=0, full=len(FAULTS))
def test_mlflow_is_away(times: int, chaos: Callable[..., Chaos], server: int, tmp_path: Path) -> None:
    """MLflow is away, silent, slow or unreliable, or breaks off; it comes back later."""
    study = chaos()
    expected = take(Address(f"sqlite:///{study.reference}/mlflow.db", None), study.plan.study.name)
    assert len(expected) > len(study.plan.study.methods)
    for number, fault in enumerate(FAULTS[:times]):
        study._known.clear()
        study.root = tmp_path / f"runs-{number}"
        network = Network(server, seed=number)
        url = f"http://127.0.0.1:{network.port}"
        study.environment = {"MLFLOW_TRACKING_URI": url}
        fault(network)
        answer = study.run()
        assert answer.code == 0, answer.err
        assert "Traceback" not in answer.out + answer.err
        said = [line for line in answer.out.splitlines() if f"MLflow at {url}" in line]
        if fault is not slow:
            assert all("`harness sync STUDY` fills it in" in line for line in said)
            assert len(said) == 1 or fault is unreliable, answer
        study.injected()
        study.note()
        network.close()
        network = Network(server)
        study.environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{network.port}"}
        study.settle()
        network.close()
        assert take(Address(f"http://127.0.0.1:{server}", None), study.plan.study.name) == expected
