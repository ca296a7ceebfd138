"""What a unit takes of a node, and how many a cluster holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schedule.cluster import Node
from harness.schedule.demand import Demand, InvalidResources, demand_of, slots
from harness.unit import Resources


def _node(cpus: float, gpus: float) -> Node:
    return Node("id", "name", cpus, gpus)


@pytest.mark.parametrize(
    ("resources", "device", "demand"),
    [
        ("auto", "cpu", Demand(1, 0)),
        ("auto", "cuda", Demand(1, 0.25)),
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


@given(st.floats(0.01, 64), st.floats(0.01, 1), st.integers(1, 5))
def test_a_retry_never_takes_less_nor_more_than_a_gpu(cpu: float, gpu: float, number: int) -> None:
    first = Demand(cpu, gpu)
    assert first.for_try(1) == first
    assert first.for_try(number).gpu == pytest.approx(min(1, gpu * 2 ** (number - 1)))
    assert Demand(cpu).for_try(number) == Demand(cpu)
    assert first.alone() == Demand(cpu, 1)
    assert Demand(cpu).alone() == Demand(cpu)


def test_a_bundle_names_nothing_that_is_not_wanted() -> None:
    assert Demand(1).bundle() == {"CPU": 1}
    assert Demand(2, 0.25).bundle() == {"CPU": 2, "GPU": 0.25}
