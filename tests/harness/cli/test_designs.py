"""Every design of farm from its study file to the screen and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_study

pytestmark = pytest.mark.slow

POOLS = {"canary": {"size": 40, "labels": "random"}}
DESIGNS: dict[str, dict[str, Any]] = {
    "pairs": {"shadows": 8, "pools": POOLS},
    "conditional": {"design": "conditional", "shadows": 8, "pools": POOLS},
    "half_splits": {"design": "half_splits", "shadows": 8, "draws": 2},
}
NULLS = {"pairs": {"O", "R"}, "conditional": {"R"}, "half_splits": {"O", "R"}}


@pytest.mark.usefixtures("without_mlflow")
@pytest.mark.parametrize("design", DESIGNS)
def test_a_study_of_every_design_ends_in_its_screen_and_page(design: str, tmp_path: Path) -> None:
    farm = DESIGNS[design] | {"attacks": "all"}
    study = tiny_study.write_study(tmp_path, datasets=["digits@400"], methods=["ct"], seeds=1, farm=farm)
    root = tmp_path / "runs"
    ran = tiny_study.harness("run", study, "--root", root, "--local")
    assert ran.code == 0, ran.err
    assert "the report could not be written" not in ran.out
    assert "U-LiRA" in ran.out
    page = (root / "reports" / "tiny" / "index.html").read_text()
    assert "U-LiRA" in page

    asked = tiny_study.harness("attack", study, "--root", root, "--json")
    assert asked.code == 0, asked.err
    rows = [row for row in json.loads(asked.out) if row["metric"] == "auc" and row["level"] == "L2"]
    assert {row["null"] for row in rows} == NULLS[design]
    assert {row["method"] for row in rows} >= {"ct", "original", "retrain"}
    for row in rows:
        assert row["value"] is not None or row["flags"], "a number, or why there is none"
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
