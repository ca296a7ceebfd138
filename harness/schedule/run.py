"""Units through Ray: the same meaning as one after the other in one process, on many at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.pricing.budget import Budget
from harness.process.deaths import Death, death
from harness.process.interrupt import Draining, draining
from harness.process.last_resort import last_duty
from harness.schedule.backlog import Backlog, Stage, Suggestion
from harness.schedule.bundles import Bundles
from harness.schedule.cluster import Session
from harness.schedule.deaths import collect_trace, drop_traces
from harness.schedule.demand import Demand, NoRoom, demand_of, slots
from harness.schedule.endings import End, Endings, Report
from harness.schedule.packing import Packing
from harness.search.gates import Gates

if TYPE_CHECKING:
    from harness.schedule.performer import Job
    from harness.store import Store
    from harness.unit import KeepModels, Resources, Unit


def run_units(
    units: Sequence[Unit],
    *,
    root: str,
    session: Session,
    attempts: Mapping[str, int],
    report: Report,
    plugins: Sequence[str] = (),
    data: str | None = None,
    device: str = "auto",
    time_limit: float = 3600.0,
    deterministic: bool = False,
    keep_models: KeepModels = "original",
    resources: Resources = "auto",
    heartbeat: Callable[[], None] = lambda: None,
    resolve: Callable[[Unit], Unit] = lambda unit: unit,
    budget: Budget | None = None,
    shadows_per_worker: int = 1,
) -> None:
    """Perform units on the workers of a Ray session; those that are timed come last, each alone.

    A unit whose worker died, or that found a shared GPU full, is begun again by itself with twice the share, at
    most three times in all. One that raises or takes too long fails at once. A unit whose need failed is not
    tried: it stays to be run.

    Args:
        units: what is to run; a need that is not among them is met.
        root: where to commit; every node must reach it.
        session: what `connect` gave.
        attempts: the failed attempts so far, by unit id; numbers go on from there.
        report: told of each unit as it ends, in this thread. What it raises ends the run.
        plugins: modules with more tasks, to be imported by every worker.
        data: the folder with the official files; they are read here alone, workers get the images from Ray.
        device: `cpu`, `cuda`, or `auto`: CUDA if the cluster has GPUs. Ray says which GPU a unit gets.
        time_limit: seconds after which a unit fails.
        deterministic: whether equal seeds give equal bits on CUDA, too.
        keep_models: `original`, `none`, `all` or `farm` (all, and the weights of the farm).
        resources: what is set aside for a unit. `auto` is one core, and of a GPU the share that units like it need.
        heartbeat: called several times a second while units run.
        resolve: fills in the hyperparameters of a unit that a search determines, once its trials have ended.
        budget: what every try counts against, from its start to its end. Once it is used up no unit is suggested; those
            that were are finished, up to twice as many as run at once.
        shadows_per_worker: how many shadows a worker of the farm trains at once.

    Raises:
        KeyboardInterrupt: after a Ctrl-C or another signal to end, once what ends within five seconds is committed.
        InvalidResources, NoRoom: no node can take one unit.
        WorkerUnfit: a worker cannot do any unit.
    """
    if not units:
        return
    from harness.schedule.performer import Job
    from harness.store import Store

    device = _device(device, session)
    demand = demand_of(resources, device)
    _check_room(demand, session)
    store = Store.open(root, write=True)
    images = _images(units, data)
    packing = Packing(demand, measures=resources == "auto" and device == "cuda", together=shadows_per_worker)
    job = Job(
        uuid.uuid4().hex[:8],
        store.uri,
        tuple(plugins),
        device,
        time_limit,
        deterministic,
        keep_models,
        images,
        confines=packing.measures,
    )
    gates = Gates(units)
    backlog = Backlog([unit for unit in units if not unit.kind.of_farm], attempts, gates, resolve, packing)
    budget = budget or Budget()
    with draining(lambda: budget.is_used_up) as state, last_duty(partial(drop_traces, job.token)):
        run = _Run(session, store, job, backlog, packing, state, report, heartbeat, budget)
        try:
            run.fit(Stage.TOGETHER)
            chosen = (unit for unit in units if not gates.closed_before(unit.id))
            of_farm = [unit for unit in chosen if unit.kind.of_farm]
            run.farm(Bundles(of_farm, attempts, resolve, packing))
            run.fit(Stage.ALONE)
        finally:
            drop_traces(job.token)
        state.stop_if_asked()


@dataclass(frozen=True)
class _Run:
    """What stays the same from one Tuner to the next."""

    session: Session
    store: Store
    job: Job
    backlog: Backlog
    packing: Packing
    draining: Draining
    report: Report
    heartbeat: Callable[[], None]
    budget: Budget

    def fit(self, stage: Stage) -> None:
        """Run the units of a stage through Ray Tune; should a Tuner end while some are ready, through another."""
        while self.backlog.ready(stage) and not self.draining.begins_nothing:
            self._fit_once(stage)

    def farm(self, bundles: Bundles) -> None:
        """Run the units of the shadow-model farm on actors."""
        from harness.schedule.farm import FarmLoop

        loop = FarmLoop(bundles, self.session.nodes, self.job, self.draining, self.heartbeat)
        endings = Endings(bundles, loop, self.packing, self.store, self.job.device, self._why, self.report)
        loop.run(self._counted(endings))

    def _fit_once(self, stage: Stage) -> None:
        from harness.schedule.tuning import Feed, Listener, fit

        feed = Feed(self.backlog, stage, self.session.nodes, self.draining)
        endings = Endings(self.backlog, feed, self.packing, self.store, self.job.device, self._why, self.report)
        fit(feed, Listener(self._counted(endings), self.heartbeat, self.job), self.job)

    def _counted(self, endings: Endings) -> Callable[[End], None]:
        """Return what settles an end and counts what it took, another try or not."""

        def settle(end: End) -> None:
            share = endings.feed.live[end.trial].demand.gpu or 1.0
            took = (datetime.now(UTC) - end.begun).total_seconds()
            self.budget.spend((end.result or {}).get("seconds", took), share)  # of several at once, its part
            endings.settle(end)

        return settle

    def _why(self, suggestion: Suggestion, end: End) -> Death:
        trace = collect_trace(self.session.nodes(), self.job.token, suggestion.unit.id, suggestion.attempt)
        seconds = (datetime.now(UTC) - end.begun).total_seconds()
        return death(end.error, trace, self.job.time_limit, seconds, suggestion.number)


def _device(device: str, session: Session) -> str:
    """Return the type of device that every worker uses; its index is Ray's affair."""
    if device == "auto":
        return "cuda" if any(node.gpus for node in session.nodes()) else "cpu"
    return device.partition(":")[0]


def _check_room(demand: Demand, session: Session) -> None:
    """Raise `NoRoom` unless some node can take a unit, also alone: Ray would wait for one for ever."""
    nodes = session.nodes()
    if not slots(demand, nodes) or not slots(demand.alone(), nodes):
        wanted = f"{demand.cpu:g} CPU and {demand.gpu:g} GPU"
        largest = ", ".join(f"{node.name}: {node.cpus:g} CPU, {node.gpus:g} GPU" for node in nodes)
        raise NoRoom(f"a unit takes {wanted}, and no node has them ({largest}); set resources or add a node")


def _images(units: Iterable[Unit], data: str | None) -> dict[str, Any]:
    """Read each data set once and put it into Ray's object store, from where workers map it, read-only."""
    import ray

    from harness import registry
    from harness.contracts.dataset import DATASETS
    from harness.schedule.shared import packed
    from harness.work import official

    names = dict.fromkeys(unit.dataset.name for unit in units)
    return {name: ray.put(packed(official.read(registry.find(DATASETS, name), data))) for name in names}
