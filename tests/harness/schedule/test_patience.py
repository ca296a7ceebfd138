"""What a slow machine needs of Ray's private services, without the minutes that it would take to see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.schedule.patience import free_ports, patient_start

AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def test_a_raylet_finds_the_ports_that_its_agents_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    def start(node_id: str, session_dir: str, **options: Any) -> dict[str, Any]:
        found = {name: int(Path(session_dir, f"{name}_{node_id}").read_text()) for name in AGENTS}
        assert found == {name: options[name] for name in AGENTS}
        return options

    monkeypatch.setattr(services, "start_raylet", start)
    with patient_start():
        ports = services.start_raylet("5e", str(tmp_path), metrics_agent_port=0, dashboard_agent_listen_port=52365)
    assert ports["dashboard_agent_listen_port"] == 52365  # what was asked for stays
    assert len({ports[name] for name in AGENTS}) == len(AGENTS)
    assert min(ports[name] for name in AGENTS) > 0
    assert services.start_raylet is start


def test_the_question_for_a_node_waits_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    asked = []

    def ask(address: str, node: str) -> str:
        asked.append(node)
        if len(asked) < 3:
            raise RuntimeError("no such node")
        return f"{node} at {address}"

    monkeypatch.setattr(services, "get_node", ask)
    with patient_start():
        assert services.get_node("here", "5e") == "5e at here"
    assert asked == ["5e"] * 3
    asked.clear()
    with patient_start(seconds=0), pytest.raises(RuntimeError, match="no such node"):
        services.get_node("here", "5e")


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(50))) == 50
