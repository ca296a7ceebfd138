"""The results are in an object store, and the network to it, or the driver, fails."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny_s3
import tiny_study
from tiny_chaos import END_SECONDS, Chaos, repeated
from tiny_s3 import Network

from harness.store import Store

GIVEN_UP_SECONDS = 60.0
"""In which a driver ends whose store is away: half a minute is promised, and this machine may be busy."""


@dataclass
class InBucket(Chaos):
    """A study whose root is in a bucket; its drivers reach that through `network`, judges go straight to it."""

    network: Network = field(kw_only=True)

    def start(self) -> subprocess.Popen[str]:
        """Start a driver behind the network."""
        port = str(self.network.behind)
        root = str(self.root).replace(port, str(self.network.port))
        return tiny_study.start("run", self.study, "--root", root, *self.options, **self.environment)

    def pending(self) -> set[str]:
        """Return the units whose commits are not yet folded."""
        found = Store.open(str(self.root))._files.find("commits", ".arrow")
        return {file.name.removesuffix(".arrow") for file in found if file.name.count(".") == 1}

    def reached(self, count: int) -> Callable[[], bool]:
        """Return whether so many units are committed, when asked."""
        seen = set(self.begun())

        def enough() -> bool:
            seen.update(self.pending())
            return len(seen) >= count

        return enough


Bucket = Callable[..., InBucket]


@pytest.fixture
def bucket(chaos: Callable[..., Chaos], s3_port: int, tmp_path: Path) -> Iterator[Bucket]:
    """Return a study to be broken in a new folder of a bucket, behind a network of its own."""
    networks: list[Network] = []

    def make(**network: Any) -> InBucket:
        study = chaos()
        networks.append(Network(s3_port, **network))
        root: Any = tiny_s3.root(s3_port, f"{tmp_path.name}-{len(networks)}")
        return InBucket(
            study.study, root, study.reference, study.row, study.options, study.environment, network=networks[-1]
        )

    yield make
    for one in networks:
        one.close()


@contextmanager
def watched(root: str) -> Iterator[None]:
    """Read the tables over and over inside the block: what is there is whole, and what was there once stays there."""
    ended, errors = threading.Event(), []

    def watch() -> None:
        known: set[str] = set()
        while not ended.wait(0.3):
            try:
                store = Store.open(root)
                done = store.committed()
                for table in ("units", "metrics"):
                    told = set(store.scan(table).collect()["unit"])
                    assert known <= told, (table, known - told)
                known |= done
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not errors, errors


@repeated(short=0, full=7)
def test_one_request_in_five_fails(times: int, bucket: Bucket) -> None:
    """One request in five to the object store is refused, dropped, cut or late.

    All kinds of it in one study, then each kind in one; two drivers each. Whoever reads meanwhile sees nothing torn.
    """
    for seed, faults in enumerate([tiny_s3.FAULTS, *((fault,) for fault in tiny_s3.FAULTS)][:times]):
        study = bucket(share=0.2, faults=faults, seed=seed)
        with watched(str(study.root)):
            answer = study.run()
        assert answer.code == 0, answer.err
        assert study.network.injected > 20
        study.note()
        study.settle()
        study.injected()
        assert study.row.failed == 0


@repeated(short=0, full=3)
def test_the_store_is_lost_for_a_while(times: int, bucket: Bucket) -> None:
    """The object store goes away in the middle of a study, and comes back later."""
    study = bucket()
    for count in _moments(study, times):
        process = _started(study, count)
        study.network.stop()
        _given_up(process)
        study.network.start()
        study.injected()
        study.note()
    study.settle()


@repeated(short=0, full=3)
def test_the_store_falls_silent(times: int, bucket: Bucket) -> None:
    """The object store takes connections and does not answer any more."""
    study = bucket()
    for count in _moments(study, times):
        process = _started(study, count)
        study.network.silent.set()
        _given_up(process)
        study.network.silent.clear()
        study.injected()
        study.note()
    study.settle()


@repeated(short=0, full=3)
def test_the_driver_of_a_bucket_is_killed(times: int, bucket: Bucket) -> None:
    """SIGKILL of the driver, results in an object store."""
    study = bucket(share=0.05)
    for count in _moments(study, times):
        process = _started(study, count)
        study.kill(process)
        study.injected()
        study.note()
    study.settle()
    assert study.row.failed == 0


@repeated(short=0, full=3)
def test_two_drivers_start_at_once_on_a_bucket(times: int, bucket: Bucket) -> None:
    """Two drivers at once on one object store, which has no locks."""
    for _ in range(times):
        study = bucket()
        both = [study.start() for _ in range(2)]
        answers = [process.communicate(timeout=END_SECONDS) for process in both]
        assert sorted(process.returncode for process in both) == [0, 2], answers
        (refused,) = [err for process, (_, err) in zip(both, answers, strict=True) if process.returncode == 2]
        assert "is being run by pid" in refused.splitlines()[-1]
        study.injected()
        study.note()
        study.settle()


def _moments(study: Chaos, times: int) -> list[int]:
    """Return after how many units it happens, in order, each later than the one before."""
    return sorted(random.Random(0).sample(range(len(study.plan.units) - 1), times))


def _started(study: InBucket, count: int) -> subprocess.Popen[str]:
    begun = study.reached(count)
    process = study.start()
    study.wait_until(begun, process)
    return process


def _given_up(process: subprocess.Popen[str]) -> None:
    """A driver ends with one line that says what is wrong and what would be right."""
    begun = time.monotonic()
    _, err = process.communicate(timeout=END_SECONDS)
    assert time.monotonic() - begun < GIVEN_UP_SECONDS
    assert process.returncode == 2, err
    assert "Traceback" not in err
    wrong = [line for line in err.splitlines() if line.startswith("harness: ")]
    assert len(wrong) == 1, err
    assert "is the store up, and can this machine reach it?" in wrong[0]
