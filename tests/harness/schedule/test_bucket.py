"""A study through Ray whose root is in an object store that fails one request in five."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_s3
import tiny_study
from polars.testing import assert_frame_equal

STUDY = {
    "farm": {"shadows": 2, "pools": {"canary": {"size": 40, "labels": "random"}}},
    "measures": ["accuracy", "population_mia", "ulira"],
}


@pytest.mark.ray
@pytest.mark.slow
def test_workers_leave_the_tables_of_one_process(s3_port: int, tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, **STUDY)
    here = tiny_study.script("run", study, "--root", tmp_path / "runs", "--local")
    assert here.code == 0, here.err
    with tiny_s3.network(s3_port, share=0.2) as network:
        answer = tiny_study.script("run", study, "--root", tiny_s3.root(network.port, tmp_path.name), "--workers", 2)
        assert answer.code == 0, answer.err
        assert network.injected > 50
    ours, theirs = tiny_study.tables(tmp_path / "runs"), tiny_study.tables(tiny_s3.root(s3_port, tmp_path.name))
    for name in ours:
        assert_frame_equal(theirs[name].drop("share", strict=False), ours[name].drop("share", strict=False))
    assert not list(Path.cwd().glob("s3:*"))
