"""Packing: what is measured once decides how many share a GPU, and what was too little is corrected."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts import Recipe
from harness.schedule.backlog import Backlog, Stage, Suggestion
from harness.schedule.cluster import Node
from harness.schedule.demand import Demand, fits
from harness.schedule.packing import MOST_TOGETHER, PROCESS_BYTES, Memory, Packing, allowance, shape_of
from harness.unit import DatasetRef, Kind, Named, Unit

GB = 2**30
WHOLE = 80 * GB


def _unit(method: str, seed: int = 0, **keys: object) -> Unit:
    kind = Kind.RETRAIN if method == "retrain" else Kind.UNLEARN
    unit = Unit(
        kind=kind,
        dataset=DatasetRef("cifar10", 1, "0"),
        scenario=Named("random:0.1", 1),
        architecture=Named("resnet18", 1),
        method=Named(method, 1),
        recipe=Recipe(),
        seed=seed,
    )
    return replace(unit, **keys)  # type: ignore[arg-type]


def _packing() -> Packing:
    return Packing(Demand(1, 1), measures=True)


@given(peak=st.integers(1, 2 * WHOLE))
def test_as_many_share_a_gpu_as_fit_and_no_more_than_sixteen(peak: int) -> None:
    packing, unit = _packing(), _unit("finetune")
    assert packing.demand(unit) == Demand(1, 1), "alone, until it is measured"
    packing.learn(unit, Memory(peak, WHOLE))
    share = packing.demand(_unit("finetune", seed=1)).gpu
    parts = round(1 / share)
    assert 1 <= parts <= MOST_TOGETHER
    assert parts * share <= 1
    if parts > 1:
        assert parts * (peak + PROCESS_BYTES) < WHOLE
        assert allowance(share, WHOLE) * WHOLE > peak, "what was measured fits into what its process may take"
    if parts < MOST_TOGETHER:
        assert (parts + 1) * (1.2 * peak + PROCESS_BYTES) > WHOLE, "one more would not fit, with room for fragments"


def test_what_nobody_has_seen_takes_more_than_its_likes_have_needed() -> None:
    packing = _packing()
    packing.learn(_unit("retrain"), Memory(8 * GB, WHOLE))
    assert packing.demand(_unit("retrain")).gpu == pytest.approx(1 / 7, abs=1e-4)  # 80 / (1.2 * 8 + 0.6)
    assert packing.demand(_unit("scrub")).gpu == pytest.approx(1 / 6, abs=1e-4)  # 80 / (1.5 * 8 + 0.6)
    assert packing.demand(_unit("scrub", dataset=DatasetRef("svhn", 1, "0"))).gpu == 1
    assert packing.demand(_unit("scrub", recipe=Recipe(batch_size=512))).gpu == 1
    assert not packing.is_known(shape_of(_unit("scrub")))


def test_a_unit_that_found_its_gpu_full_comes_back_with_more_and_corrects_its_price() -> None:
    packing = _packing()
    packing.learn(_unit("scrub"), Memory(GB, WHOLE))
    full, other = _unit("scrub", seed=1), _unit("retrain")
    given = packing.demand(full)
    assert given.gpu == 1 / 16
    packing.came_back(full, given, full=True)
    assert packing.demand(full).gpu == packing.demand(_unit("scrub", seed=2)).gpu == 1 / 4
    assert packing.demand(other).gpu == 1 / 16, "other shapes keep theirs"
    packing.learn(full, Memory(8 * GB, WHOLE))
    assert packing.demand(_unit("scrub", seed=2)).gpu == pytest.approx(1 / 7, abs=1e-4), "measured after all"


def test_a_unit_whose_worker_died_gets_twice_the_share_alone() -> None:
    packing = Packing(Demand(1, 0.3))
    dead, other = _unit("scrub"), _unit("scrub", seed=1)
    shares = []
    for _ in range(3):
        shares.append(packing.demand(dead).gpu)
        packing.came_back(dead, packing.demand(dead), full=False)
    assert shares == [0.3, 0.6, 1.0]
    assert packing.demand(other) == Demand(1, 0.3)


def test_stacked_shadows_are_taken_for_as_much_as_so_many_trainings() -> None:
    packing = Packing(Demand(1, 1), measures=True, together=4)
    packing.learn(_unit("retrain"), Memory(4 * GB, WHOLE))
    assert packing.demand(_unit("retrain", kind=Kind.SHADOW)).gpu == pytest.approx(1 / 3, abs=1e-4)  # 80 / (24 + 0.6)


@dataclass
class Simulated:
    """A cluster of GPUs in simulation: what each method truly takes, a unit that takes more dies of it."""

    needs: dict[str, int]
    gpus: int
    measured: set[str] = field(default_factory=set)

    def run(self, units: list[Unit]) -> list[Suggestion]:
        """Run units to their end, each for a second."""
        packing = _packing()
        backlog, nodes = Backlog(units, {}, packing=packing), [Node("id", "name", 16 * self.gpus, self.gpus)]
        live: list[tuple[float, int, Suggestion]] = []
        ended: list[Suggestion] = []
        now, order, waiting = 0.0, count(), None
        while True:
            waiting = waiting or backlog.take(Stage.TOGETHER)
            running = [one.demand for _, _, one in live]
            if waiting is not None and fits([waiting.demand, *running], nodes):
                if packing.is_known(shape_of(waiting.unit)):
                    self.measured.add(waiting.unit.id)
                heapq.heappush(live, (now + 1, next(order), waiting))
                waiting = None
                continue
            if not live:
                return ended
            now, _, one = heapq.heappop(live)
            taken = self.needs[one.unit.method.name]
            given = 1.0 if one.demand.gpu == 1 else allowance(one.demand.gpu, WHOLE)
            if taken > given * WHOLE and one.demand.gpu < 1:
                assert one.unit.id not in self.measured, "what is measured is enough"
                if backlog.again(one.unit.id):
                    packing.came_back(one.unit, one.demand, full=True)
                else:
                    backlog.failed(one.unit.id)
                continue
            ended.append(one)
            packing.learn(one.unit, Memory(taken, WHOLE))
            backlog.finished(one.unit.id)


@settings(max_examples=60, deadline=None)
@given(
    needs=st.lists(st.integers(GB // 8, 60 * GB), min_size=1, max_size=5),
    seeds=st.integers(1, 20),
    gpus=st.integers(1, 4),
)
def test_every_unit_ends_and_none_comes_back_whose_shape_was_measured(needs: list[int], seeds: int, gpus: int) -> None:
    cluster = Simulated({f"method{number}": need for number, need in enumerate(needs)}, gpus)
    units = [_unit(method, seed) for method in cluster.needs for seed in range(seeds)]
    ended = cluster.run(units)
    assert sorted(one.unit.id for one in ended) == sorted(unit.id for unit in units)


def test_shares_interleave_so_that_workers_are_kept() -> None:
    """One after the other, the sixteenths would leave the GPU to the halves; in a mix both have workers to the end."""
    units = [_unit(method, seed) for method in ("small", "large") for seed in range(64)]
    packing = _packing()
    packing.learn(_unit("small"), Memory(GB, WHOLE))
    packing.learn(_unit("large"), Memory(30 * GB, WHOLE))
    backlog = Backlog(units, {}, packing=packing)
    taken = [backlog.take(Stage.TOGETHER) for _ in range(40)]
    shares = [one.demand.gpu for one in taken if one is not None]
    assert shares.count(0.5) == shares.count(1 / 16) == 20, "as many of each, as there are as many left"


def test_what_waits_for_its_place_is_no_guess() -> None:
    backlog = Backlog([_unit("scrub"), _unit("scrub", seed=1)], {}, packing=(packing := _packing()))
    first = backlog.take(Stage.TOGETHER)
    assert first is not None
    assert backlog.take(Stage.TOGETHER, waits=True) is None, "its share will be known when the first has ended"
    packing.learn(first.unit, Memory(GB, WHOLE))
    backlog.finished(first.unit.id)
    second = backlog.take(Stage.TOGETHER, waits=True)
    assert second is not None
    assert second.demand.gpu == 1 / 16
