"""What a worker process does: perform one unit after another, its caches warm, and say how each ended."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import ray
import torch

from harness import registry
from harness.engine.device import confine, total_memory
from harness.errors import HarnessError
from harness.process.children import adopt_orphans
from harness.process.deaths import Death
from harness.schedule.backlog import Suggestion
from harness.schedule.deaths import trace_path
from harness.schedule.noted import NotedStore
from harness.schedule.packing import allowance
from harness.schedule.shared import unpacked
from harness.schedule.shelter import endure
from harness.store import Store
from harness.unit import KeepModels, Unit
from harness.work import Workbench, perform, perform_together
from harness.work.unit import ROOT_FAILED

LATE_SECONDS = 30.0
"""How long after its time limit a unit may still run: its worker may have been started for it."""


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told once; `images` are references to each data set, by its name.

    `confines` says whether a unit may take no more of its device's memory than its share.
    """

    token: str
    root: str = field(repr=False)
    plugins: tuple[str, ...]
    device: str
    time_limit: float
    deterministic: bool
    keep_models: KeepModels
    images: Mapping[str, Any]
    confines: bool = False

    def is_late(self, begun: datetime, units: int = 1) -> bool:
        """Whether units should have ended by now, had their worker been able to end itself: it is stopped, or deaf."""
        return datetime.now(UTC) - begun > units * timedelta(seconds=self.time_limit + LATE_SECONDS)


def configuration(begun: Suggestion) -> dict[str, Any]:
    """Return a unit that is to begin as Tune passes it to a worker: plain values alone."""
    document = json.dumps(begun.unit.to_json())
    return {"unit": document, "attempt": begun.attempt, "cpu": begun.demand.cpu, "gpu": begun.demand.gpu}


class Performer:
    """Performs units in one process. Whatever goes wrong is a result: an exception would cost the warm process.

    What is worse than an exception costs it all the same, and it ends itself where a method has left in it what could
    change the results of others.
    """

    def __init__(self, job: Job) -> None:
        """Open the store and load the tasks, once in the life of the process."""
        endure()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nobody but a method sends it
        adopt_orphans()
        # What Ray's object store maps is read-only, which torch cannot express: who writes all the same, crashes.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self._job, self._unfit = job, ""
        try:
            registry.load(job.plugins)
            self._store = Store.open(job.root, write=True)
            device = torch.device(job.device)
            self._bench = Workbench(
                self._store,
                device,
                lambda spec: unpacked(ray.get(job.images[spec.name])),
                deterministic=job.deterministic,
            )
        except HarnessError as error:
            self._unfit = str(error)

    def perform(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Perform the unit of a `configuration` and say how it ended, where, and after how many seconds."""
        begun = time.perf_counter()
        if self._unfit:
            return {"unfit": self._unfit, "host": socket.gethostname()}
        reused, loaded = self._bench.reused, self._bench.loaded
        ending = self._perform(config)
        warm = {"reused": self._bench.reused - reused, "loaded": self._bench.loaded - loaded}
        place = {"host": socket.gethostname(), "pid": os.getpid()}
        return ending | place | warm | {"seconds": time.perf_counter() - begun}

    def perform_together(self, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Train the shadows of some configurations at once; say of each what `perform` says, or nothing at all where
        that did not work."""
        begun = time.perf_counter()
        endings = [{"unfit": self._unfit}] * len(configs) if self._unfit else self._perform_together(configs)
        place = {"host": socket.gethostname(), "pid": os.getpid()}
        seconds = (time.perf_counter() - begun) / len(configs)
        return [ending | place | {"seconds": seconds} for ending in endings]

    def _perform_together(self, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        units = [Unit.from_json(json.loads(config["unit"])) for config in configs]
        attempts, job = [config["attempt"] for config in configs], self._job
        store = self._noted_store(configs[0]["gpu"])
        trace = trace_path(job.token, units[0].id, attempts[0])
        try:
            with _watched(trace, job.time_limit * len(units)):
                statuses = perform_together(units, self._bench, attempts, job.keep_models)
        except ROOT_FAILED as error:
            return [{"root": str(error)}] * len(units)
        if self._bench.spoiled:
            os._exit(0)  # each is done again by itself, in a fresh process
        return [{"status": status, "memory": store.memory} for status in statuses or ()]

    def _perform(self, config: Mapping[str, Any]) -> dict[str, Any]:
        unit, attempt = Unit.from_json(json.loads(config["unit"])), config["attempt"]
        store = self._noted_store(config["gpu"])
        try:
            with _watched(trace_path(self._job.token, unit.id, attempt), self._job.time_limit):
                status = perform(unit, self._bench, attempt, self._job.keep_models)
        except ROOT_FAILED as error:
            return {"root": str(error)}
        except BaseException as error:  # a method's KeyboardInterrupt, or a store that takes no failure
            why = Death(type(error).__name__, str(error)[:2000], traceback.format_exc())
            return {"status": "failed", "uncommitted": asdict(why)}
        if self._bench.spoiled:
            os._exit(0)  # all is written, and the driver looks for that; the next unit gets a fresh process
        return {"status": status, "out_of_memory": store.out_of_memory, "memory": store.memory}

    def _noted_store(self, gpu: float) -> NotedStore:
        """Return the store for the next unit, which has so much of a GPU."""
        whole = total_memory(self._bench.device)
        if whole is not None and self._job.confines:
            confine(self._bench.device, allowance(gpu, whole))
        self._bench.store = store = NotedStore(self._store, share=gpu or 1.0, whole=whole)
        return store


@contextmanager
def _watched(trace: str, seconds: float) -> Iterator[None]:
    """End this process, its stack left in the file `trace`, after so many seconds or at a crash inside.

    A thread of C does it, so it works although a method never gives Python's lock back.
    """
    os.makedirs(os.path.dirname(trace), exist_ok=True)  # a method may have removed it
    file = open(trace, "w")  # noqa: SIM115 - a method may close it
    faulthandler.enable(file)
    faulthandler.dump_traceback_later(seconds, exit=True, file=file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        faulthandler.enable()
        for tidy_up in (file.close, partial(os.unlink, trace)):
            with suppress(OSError):
                tidy_up()
