"""What a unit takes of a node, and how many a cluster holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schedule.cluster import Node
from harness.schedule.demand import Demand, InvalidResources, demand_of, fits, load, slots
from harness.unit import Resources


def _node(cpus: float, gpus: float) -> Node:
    return Node("id", "name", cpus, gpus)


@pytest.mark.parametrize(
    ("resources", "device", "demand"),
    [
        ("auto", "cpu", Demand(1, 0)),
        ("auto", "cuda", Demand(1, 1)),
        ({"cpu": 2}, "cpu", Demand(2, 0)),
        ({"gpu": 0.5}, "cuda", Demand(1, 0.5)),
        ({"cpu": 0.5, "gpu": 1}, "cuda", Demand(0.5, 1)),
    ],
)
def test_the_demand_of_a_study(resources: Resources, device: str, demand: Demand) -> None:
    assert demand_of(resources, device) == demand


@pytest.mark.parametrize(
    ("resources", "device"),
    [
        ({"cpus": 1}, "cpu"),
        ({"cpu": 0}, "cpu"),
        ({"cpu": -1}, "cpu"),
        ({"gpu": 2}, "cuda"),
        ({"gpu": -0.5}, "cuda"),
        ({"cpu": float("nan")}, "cpu"),
        ({"cpu": 1}, "cuda"),
    ],
)
def test_resources_that_no_unit_can_take(resources: Resources, device: str) -> None:
    with pytest.raises(InvalidResources, match=r"^resources: [^\n]*$"):
        demand_of(resources, device)


@pytest.mark.parametrize(
    ("demand", "nodes", "most"),
    [
        (Demand(1, 0), [(2, 0)], 2),
        (Demand(1, 0.25), [(16, 4)], 16),
        (Demand(1, 0.25), [(3, 4)], 3),
        (Demand(0.1, 0.25), [(2, 4)], 16),
        (Demand(1, 0.4), [(16, 2)], 4),  # two on each GPU, not five on two
        (Demand(1, 0.25), [(8, 1), (8, 0), (2, 1)], 6),
        (Demand(0.1), [(1, 0)], 10),
        (Demand(4), [(3, 0), (3, 0)], 0),
    ],
)
def test_how_many_units_nodes_hold(demand: Demand, nodes: list[tuple[float, float]], most: int) -> None:
    assert slots(demand, [_node(*node) for node in nodes]) == most


NODES = st.lists(st.tuples(st.integers(1, 16), st.integers(0, 4)), min_size=1, max_size=4)
DEMANDS = st.builds(Demand, st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.125, 0.25, 0.3333, 0.5, 1.0]))


@given(NODES, DEMANDS)
def test_units_that_are_all_alike_fit_up_to_their_slots(nodes: list[tuple[int, int]], demand: Demand) -> None:
    places = [_node(*node) for node in nodes]
    most = slots(demand, places)
    assert fits([demand] * most, places)
    assert not fits([demand] * (most + 1), places)


@given(NODES, st.lists(DEMANDS, max_size=12))
def test_what_fits_takes_no_more_than_there_is(nodes: list[tuple[int, int]], demands: list[Demand]) -> None:
    places = [_node(*node) for node in nodes]
    if fits(demands, places):
        assert sum(demand.cpu for demand in demands) <= sum(place.cpus for place in places)
        assert sum(demand.gpu for demand in demands) <= sum(place.gpus for place in places) + 1e-9
        assert load(demands, places) <= 1 + 1e-9
        assert all(fits(demands[:count], places) for count in range(len(demands)))


def test_shares_are_of_one_gpu() -> None:
    two = [_node(8, 2)]
    assert fits([Demand(1, 0.6), Demand(1, 0.6)], two)
    assert not fits([Demand(1, 0.6)] * 3, two)
    assert fits([Demand(1, 0.5), Demand(1, 0.5), Demand(1, 1)], two)


def test_the_load_is_that_of_what_is_scarce() -> None:
    nodes = [_node(4, 1), _node(4, 1)]
    assert load([], nodes) == 0
    assert load([Demand(1, 0.5)] * 2, nodes) == pytest.approx(0.5)
    assert load([Demand(4, 0.5)] * 2, nodes) == pytest.approx(1)
    assert load([Demand(1)], []) == 1, "nodes are yet to come"


def test_alone_a_unit_has_a_whole_gpu_if_any() -> None:
    assert Demand(2, 0.25).alone() == Demand(2, 1)
    assert Demand(2).alone() == Demand(2)


def test_a_bundle_names_nothing_that_is_not_wanted() -> None:
    assert Demand(1).bundle() == {"CPU": 1}
    assert Demand(2, 0.25).bundle() == {"CPU": 2, "GPU": 0.25}
