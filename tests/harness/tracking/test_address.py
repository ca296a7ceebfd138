"""Where MLflow is, and what may be printed of it."""

from __future__ import annotations

import pytest

from harness.tracking import TrackingUnavailable, find_address
from harness.tracking.address import Address


def test_a_local_root_has_a_database_of_its_own() -> None:
    address = find_address("/data/runs")
    assert address == Address("sqlite:////data/runs/mlflow.db", "/data/runs/mlartifacts")
    assert address.file == "/data/runs/mlflow.db"


def test_the_environment_names_a_server_and_an_argument_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    for root in ("/data/runs", "s3://bucket/runs"):
        assert find_address(root) == Address("https://mlflow.example.org", None)
        assert find_address(root, "http://other").uri == "http://other"
    assert find_address("/data/runs").is_server


def test_a_remote_root_needs_a_server() -> None:
    with pytest.raises(TrackingUnavailable, match=r"^root s3://b/runs is remote; set MLFLOW_TRACKING_URI .*$"):
        find_address("s3://b/runs")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@host:5000/x", "https://host:5000/x"),
        ("postgresql://user:secret@host/db", "postgresql://host/db"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////data/runs/mlflow.db", "sqlite:////data/runs/mlflow.db"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert Address(uri, None).shown == shown
