"""A study whose units run on another machine of the network: it is submitted, its client dies, its tables are there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tiny_study
from tiny_cluster import END_SECONDS, head_node, joined_node, second_machine

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and ip"),
]


def test_a_study_goes_on_elsewhere_when_its_client_is_killed(tmp_path: Path) -> None:
    """The head has no core to run units with, so each of them has crossed the wire, and so have its images."""
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, methods=["finetune"])
    with (
        second_machine() as network,
        head_node(network.here, cpus=0) as head,
        joined_node(head, network.there, cpus=2, within=network.within),
    ):
        head.wait_for_nodes({network.here, network.there})
        arguments = ["submit", study, "--address", head.address, "--root", tmp_path / "runs"]
        client = tiny_study.start(*map(str, arguments), **head.environment)
        job = client.stdout.readline().split()[1]
        client.kill()
        client.communicate(timeout=END_SECONDS)
        head.wait(job, "SUCCEEDED")
        told = tiny_study.script("status", "--address", head.address, **head.environment)
        assert job in told.out
    units = tiny_study.tables(tmp_path / "runs")["units"]
    assert set(units["kind"]) == {"original", "retrain", "unlearn"}
    assert units["status"].unique().to_list() == ["done"]
