"""What is kept of the training, in a study: made before its trials, once for all scenarios of a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import tiny_study

from harness.store import Store
from harness.unit import Kind

STUDY: dict[str, Any] = {
    **tiny_study.PLAIN,
    "name": "trainings",
    "methods": [{"sisa": {"shards": 2, "slices": 2}}, "amnesiac_delta"],
    "scenarios": ["random:0.002", "class:3"],
    "seeds": 2,
    "measures": ["accuracy", "run_time", "mia_trio"],
}


def test_settings_of_a_method_share_a_training_and_other_shards_do_not(tmp_path: Path) -> None:
    vote, three = {"shards": 2, "slices": 2, "answer": "vote"}, {"shards": 3}
    methods = [*STUDY["methods"], {"sisa": vote}, {"sisa": three}, {"amnesiac_delta": {"repair_epochs": 1}}]
    plan = tiny_study.plan_of(tmp_path, STUDY, methods=methods)
    made = [unit for unit in plan.units.values() if unit.kind == Kind.ARTIFACT]
    assert sorted((unit.method.name, unit.config, unit.seed) for unit in made) == [
        ("logged_training", "default", 0),
        ("logged_training", "default", 1),
        ("sisa_training", "shards=2,slices=2", 0),
        ("sisa_training", "shards=2,slices=2", 1),
        ("sisa_training", "shards=3", 0),
        ("sisa_training", "shards=3", 1),
    ]


def test_a_study_with_them_runs_to_its_end_and_finds_nothing_to_do_again(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY, seeds=1), tmp_path / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    ended = Store.open(str(root)).scan("units").collect()
    assert set(ended["status"]) == {"done"}
    trials = ended.filter((pl.col("kind") == "unlearn") & (pl.col("method") == "sisa"))
    (whole,) = ended.filter(pl.col("method") == "sisa_training")["steps"].to_list()
    assert len(trials) == 2
    assert all(0 < steps <= whole for steps in trials["steps"]), "the steps of a trial are those that it redid"
    page = (root / "reports" / "trainings" / "index.html").read_text()
    assert "sisa" in page
    tiny_study.harness("run", study, "--root", root, "--local")
    assert Store.open(str(root)).scan("units").collect().equals(ended)
