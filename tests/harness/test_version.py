"""What a result says of the code that computed it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness import version

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a git checkout")
def test_a_checkout_tells_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(version.VARIABLE)
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert (version.commit.__wrapped__() or "").removesuffix("-dirty") == head


def test_a_job_tells_the_commit_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(version.VARIABLE, "abc")
    assert version.commit.__wrapped__() == "abc"
