"""Every command on a finished root: what a person reads, and what a program gets."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
import tiny_study
from torch import nn

import harness
from harness.cli import COMMANDS, group
from harness.contracts import METHODS, RETAIN, Run, View, fixed, method
from harness.metrics import frame as definitions
from harness.planner import make_plan
from harness.registry import CATALOGS
from harness.store import SCHEMAS
from harness.study import load_study

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
ELSEWHERE = {"check", "open", "retry", "submit", "sync"}
"""Commands whose JSON needs a failure, a cluster, MLflow or a method; they are tested with those."""


def answer(*arguments: object) -> str:
    """Return what a command prints when all is well."""
    found = tiny_study.harness(*arguments)
    assert (found.code, found.err) == (0, ""), found.err
    return found.out


def document(*arguments: object) -> Any:
    """Return the JSON that a command prints; NaN is none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(answer(*arguments, "--json"), parse_constant=refuse)


def command(name: str) -> click.Command:
    """Return a command by its name."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


@pytest.fixture
def unit(finished: Path) -> str:
    """A trial of finetune."""
    units = harness.scan(str(finished), "units").filter(kind="unlearn", method="finetune", seed=1).collect()
    return str(units["unit"].item())


@pytest.mark.usefixtures("without_mlflow")
def test_every_command_that_offers_json_gives_json(tiny: Path, own: Path, unit: str) -> None:
    calls: dict[str, list[object]] = {
        "ls": ["methods"],
        "plan": [tiny, "--root", own],
        "run": [tiny, "--root", own, "--local", "--limit", "1"],
        "status": ["--root", own],
        "show": [unit, "--root", own],
        "repro": [unit, "--root", own],
        "audit-determinism": [tiny, "--root", own, "--share", "0.01"],
        "rank": [tiny, "--root", own],
        "attack": [tiny, "--root", own],
        "compact": ["--root", own],
    }
    offering = {name for name in COMMANDS if any("--json" in option.opts for option in command(name).params)}
    assert offering - ELSEWHERE == set(calls)
    documented = readme_keys()
    assert {call.split()[0] for call in documented} == offering - {"open"}
    for name, arguments in calls.items():
        found = document(name, *arguments)
        assert found, name
        keys = list(found[0] if isinstance(found, list) else found)
        (known,) = (own for call, own in documented.items() if call.split()[0] == name and "--address" not in call)
        assert keys == (known or SCHEMAS["attacks"].names), name


def readme_keys() -> dict[str, list[str]]:
    """Return the keys that README promises for each call with --json."""
    rows = re.findall(r"^\| (`.*?) \| (?:list|object) \| (.*) \|$", README, re.MULTILINE)
    calls = {call: re.findall(r"`(\w+)`", keys) for named, keys in rows for call in re.findall(r"`(.*?)`", named)}
    return {call: [] if "attacks" in keys else keys for call, keys in calls.items() if call != "ls columns trials"}


@pytest.mark.parametrize("kind", ["datasets", "scenarios", "architectures", "methods"])
def test_ls_lists_all_that_is_declared(kind: str) -> None:
    rows, lines = document("ls", kind), answer("ls", kind).splitlines()
    assert len(rows) == len(lines) == len(CATALOGS[kind])
    for row, line in zip(rows, lines, strict=True):
        assert line.startswith(row["name"])
        assert row["summary"] in line


def test_ls_tells_of_each_method_what_it_reads_and_what_can_be_set() -> None:
    for row in document("ls", "methods"):
        spec = METHODS[row["name"]]
        assert set(row["reads"].split()) - {"nothing"} == set(spec.reads)
        assert {name: range_["default"] for name, range_ in row["hyperparameters"].items()} == spec.defaults()
        for variant, own in row["variants"].items():
            assert {name: spec.defaults(variant)[name] for name in own} == {name: own[name]["default"] for name in own}
    variants = {row["name"]: list(row["variants"]) for row in document("ls", "methods") if row["variants"]}
    assert variants == {name: list(METHODS[name].overrides) for name in METHODS if METHODS[name].overrides}
    assert variants["fisher_forgetting"] == ["fixed"]
    assert variants["m6"] == ["notebook", "notebook2"]


def test_ls_lists_metrics_and_suites() -> None:
    assert [row["metric"] for row in document("ls", "metrics")] == definitions()["metric"].to_list()
    assert "digits" in {row["name"] for row in document("ls", "suites")}
    assert all(row["question"] for row in document("ls", "suites"))


def test_plan_counts_and_prices_without_writing(tiny: Path, finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    fresh = document("plan", tiny, "--root", root)
    assert (fresh["plan"], fresh["units"], fresh["done"], fresh["to_run"]) == (tiny_study.GOLDEN, 48, 0, 48)
    assert fresh["kinds"] == {
        kind: {"units": n, "done": 0, "to run": n} for kind, n in make_plan(load_study(tiny)).counts().items()
    }
    assert (fresh["unpriced"], fresh["seconds"], fresh["bytes"] > 0) == (48, 0, True)
    text = answer("plan", tiny, "--root", root)
    assert "all             48     0     48" in text
    assert "48 units" in text
    assert not root.exists()
    done = document("plan", tiny, "--root", finished)
    assert (done["done"], done["to_run"], done["seconds"]) == (48, 0, 0)
    assert "nothing to run" in answer("plan", tiny, "--root", finished)


@pytest.mark.parametrize(
    ("farm", "lines"),
    [
        (
            {"shadows": 32, "pools": {"canary": {"size": 120, "labels": "random"}}},
            """
farm     32 shadows (16 pairs) + 16 retrains a pool; K = 16 unlearned, 16 never in, 16 retrained per image
         48 trainings from scratch, 96 unlearn runs, 144 passes of inference
audit    pool canary (120 images, forget sets of about 60): shows a leak from d = 0.28 on (AUC 0.548), """
            "of one image from d = 1.0 (1.7 for 120 tests), FPR down to 1.04 %\n",
        ),
        (
            {"design": "conditional", "shadows": 8, "tuning": 2, "pools": {"random": {"size": 100}}},
            """
farm     8 shadows on all training images + 2 for tuning + 8 retrains a pool; K = 8 unlearned, 8 retrained per """
            """image, as telling as 16 shadows in pairs
         18 trainings from scratch, 30 unlearn runs, 48 passes of inference
audit    pool random (100 images, forget sets of 100): shows a leak from d = """,
        ),
        (
            {"design": "half_splits", "shadows": 4, "draws": 2},
            """
farm     4 splits, 2 draws each, 8 retrains; K = about 0.4 unlearned, 4 never in, 0.4 retrained per image, """
            """as telling as 1 shadow in pairs
         12 trainings from scratch, 24 unlearn runs, 36 passes of inference
audit    all draws (1,366 images, forget sets of 68): shows no leak, however large; FPR down to 0.366 %\n""",
        ),
    ],
    ids=["pairs", "conditional", "half_splits"],
)
def test_plan_says_what_a_farm_costs_and_can_show(tmp_path: Path, farm: dict[str, Any], lines: str) -> None:
    study, root = tiny_study.write_study(tmp_path, farm=farm), tmp_path / "runs"
    assert lines in answer("plan", study, "--root", root) + "\n"
    found = document("plan", study, "--root", root)["farm"]["digits"]
    assert (found["shadows"], len(found["pools"])) == (farm["shadows"], 1)


def test_plan_names_the_data_sets_where_farms_differ_in_what_they_show(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"datasets": ["digits", "digits@1000"]}
    for design, heads in (
        ("half_splits", ["farm     digits: 4 ", "farm     digits@1000: 4 "]),
        ("pairs", ["farm     4 "]),
    ):
        study = tiny_study.write_study(tmp_path, farm={"design": design, "shadows": 4}, **changes)
        text = answer("plan", study, "--root", tmp_path / "runs")
        found = [line for line in text.splitlines() if line.startswith("farm ")]
        assert [line.startswith(head) for line, head in zip(found, heads, strict=True)] == [True] * len(heads)


def test_plan_shares_the_work_among_the_workers_but_not_the_timing(finished: Path, tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, seeds=[8], farm=None)
    one, four = (document("plan", study, "--root", finished, "--workers", n) for n in (1, 4))
    assert one["seconds"] == one["worker_seconds"] == four["worker_seconds"] > 0
    (at_once,) = four["workers"]
    assert at_once["seconds"] == four["seconds"] < one["seconds"]
    assert four["seconds"] - at_once["timing"] >= (one["seconds"] - at_once["timing"]) / 4 > 0
    assert "on 4 workers" in answer("plan", study, "--root", finished, "--workers", 4)


def test_plan_says_what_is_left_out(tmp_path: Path, declaring: None) -> None:
    @method(reads={RETAIN}, scenarios={"class"}, source="a test")
    class ClassesOnly:
        """Forget whole classes."""

        rate: float = fixed(1.0)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    study = tiny_study.write_study(tmp_path, methods=["classes_*"])
    text = answer("plan", study, "--root", tmp_path / "runs")
    assert "left out classes_only does not support random:0.1" in text


@pytest.mark.usefixtures("without_mlflow")
def test_status_counts_done_failed_and_waiting(tiny: Path, finished: Path, tmp_path: Path) -> None:
    whole = {"plan": tiny_study.GOLDEN, "units": 48, "done": 48, "failed": 0, "waiting": 0, "running": "no"}
    whole["state"] = "done"
    for named in ((), ("tiny",), (tiny_study.GOLDEN,)):
        (row,) = document("status", *named, "--root", finished)
        assert row.pop("last") > 0
        assert row == whole
    header, line = answer("status", "--root", finished).splitlines()
    assert header.split() == [*whole, "last", "result"]
    assert line.split()[: len(whole)] == [str(value) for value in whole.values()]
    assert line.endswith(" ago")
    nothing = f"no study in {tmp_path}/no; begin one with: harness run digits\n"
    assert answer("status", "--root", tmp_path / "no") == nothing
    assert document("status", "--root", tmp_path / "no") == []
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    begun = tiny_study.harness("run", study, "--root", tmp_path / "r", "--local", "--where", "kind=retrain")
    assert begun.code == 0, begun.err
    (part,) = document("status", "--root", tmp_path / "r")
    assert (part["units"], part["done"], part["waiting"], part["state"]) == (5, 1, 4, "stopped")
    last = answer("status", "--root", tmp_path / "r").splitlines()[-1]
    assert last == f"not at its end, and nobody runs it: {part['plan']}; `harness run STUDY` goes on"


def test_show_tells_everything_about_a_trial_by_the_first_digits(finished: Path, unit: str) -> None:
    found = document("show", unit, "--root", finished)
    assert (found["unit"]["unit"], found["unit"]["method"], found["unit"]["status"]) == (unit, "finetune", "done")
    assert found["failures"] == []
    stored = harness.scan(str(finished), "metrics").filter(unit=unit).collect()
    assert {(row["part"], row["metric"], row["value"]) for row in found["metrics"]} == set(
        stored.select("part", "metric", "value").rows()
    )
    text = answer("show", unit[:10], "--root", finished)
    assert unit in text
    value = stored.filter(part="test", metric="accuracy")["value"].item()
    assert f"accuracy (test)           {value:.4f}".split() in [line.split() for line in text.splitlines()]
    several = tiny_study.harness("show", "", "--root", finished)
    assert (several.code, "48 units" in several.err) == (2, True)


@pytest.mark.usefixtures("declaring", "without_mlflow")
def test_a_failed_trial_is_told_named_and_shown_with_its_traceback(tmp_path: Path) -> None:
    @method(reads={RETAIN}, source="a test")
    class Unlucky:
        """Fail."""

        rate: float = fixed(1.0)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            raise ZeroDivisionError("no luck today")

    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, methods=["unlucky", "finetune"])
    root = tmp_path / "runs"
    ended = tiny_study.harness("run", study, "--root", root, "--local")
    (unit,) = harness.scan(str(root), "failures").collect()["unit"]
    assert ended.code == 1
    said = f"unlearn unlucky on digits random:0.1 cnn_small, seed 0; harness show {unit}"
    assert f"failed: {said}" in ended.lines
    assert f"harness show {unit}" in ended.out
    assert "finetune" in ended.out
    text = answer("show", unit, "--root", root)
    assert "attempt 1 failed in phase unlearn: ZeroDivisionError: no luck today" in text
    assert "Traceback (most recent call last)" in text
    (row,) = document("status", "--root", root)
    assert (row["done"], row["failed"], row["waiting"], row["state"]) == (4, 1, 0, "failed")
    tries_again = f"failed: {row['plan']}; `harness retry STUDY --failed` tries again"
    assert answer("status", "--root", root).splitlines()[-1] == tries_again
    again = tiny_study.harness("run", study, "--root", root, "--local", "--json")
    assert (again.code, json.loads(again.out)["failed"], json.loads(again.out)["cached"]) == (1, [unit], 4)
    retried = tiny_study.harness("retry", study, "--failed", "--root", root, "--local", "--json")
    assert (retried.code, json.loads(retried.out)["ran"]) == (1, {"failed": 1})
    assert harness.scan(str(root), "failures").collect()["attempt"].sort().to_list() == [1, 2, 3]


def test_retry_runs_nothing_where_nothing_failed(tiny: Path, finished: Path) -> None:
    text = answer("retry", tiny, "--root", finished, "--local")
    assert text == "no unit of the study has failed and is without a result\n"


def test_rank_prints_what_the_tables_hold(tiny: Path, finished: Path) -> None:
    rows = document("rank", tiny, "--root", finished)["rankings"]
    stored = harness.scan(str(finished), "rankings").collect()
    key = ("group", "metric", "method", "config")
    assert {tuple(row[name] for name in key) for row in rows} == set(stored.select(key).rows())
    values = {tuple(row[name] for name in key): row["value"] for row in rows}
    for row in stored.iter_rows(named=True):
        assert values[tuple(row[name] for name in key)] == row["value"]
    text = answer("rank", tiny, "--root", finished)
    assert set(stored.filter(group="overall")["metric"]) <= set(text.split())
    cells = document("rank", tiny, "--root", finished, "--cells")
    assert {row["method"] for row in cells} == {"finetune", "ct", "retrain", "original"}
    whole = {(row["method"], row["metric"]): row["value"] for row in rows}
    for row in cells:
        for metric in ("retention_deviation", "indiscernibility_val", "accuracy_test"):
            assert row[metric] == pytest.approx(whole[row["method"], metric])


@pytest.mark.usefixtures("without_mlflow")
def test_report_writes_one_page_and_says_where(tiny: Path, own: Path) -> None:
    page = own / "reports" / "tiny" / "index.html"
    before = page.read_bytes()
    page.unlink()
    found = tiny_study.harness("report", tiny, "--root", own)
    assert (found.code, found.out) == (0, f"{page}\n")
    assert found.err.startswith("MLflow is not up to date")  # it is switched off here, and that is said
    assert len(page.read_bytes()) > len(before) / 2
    assert b"finetune" in page.read_bytes()


def test_query_prints_a_table_csv_or_json(finished: Path) -> None:
    sql = "select method, count(*) as n from units where kind = 'unlearn' group by method order by method"
    expected = [("ct", 2), ("finetune", 2), ("original", 2)]
    rows = list(csv.reader(io.StringIO(answer("query", sql, "--root", finished, "--format", "csv"))))
    assert rows == [["method", "n"], *([name, str(n)] for name, n in expected)]
    found = json.loads(answer("query", sql, "--root", finished, "--format", "json"))
    assert [(row["method"], row["n"]) for row in found] == expected
    table = answer("query", sql, "--root", finished)
    assert all(name in table for name, _ in expected)


def test_the_tables_can_be_joined_by_hyperparameter(finished: Path) -> None:
    sql = (
        "select m.method, h.number, avg(m.value) as accuracy from metrics m join hyperparameters h on m.unit = h.unit "
        "where h.name = 'epochs' and m.metric = 'accuracy' and m.part = 'test' and m.kind = 'unlearn' "
        "group by m.method, h.number order by m.method"
    )
    rows = json.loads(answer("query", sql, "--root", finished, "--format", "json"))
    expected = [(name, METHODS[name].defaults()["epochs"]) for name in ("ct", "finetune")]
    assert [(row["method"], row["number"]) for row in rows] == expected


def test_attack_shows_the_headline_and_refuses_an_unknown_metric(tiny: Path, finished: Path) -> None:
    rows = document("attack", tiny, "--root", finished)
    assert {row["pool"] for row in rows} == {"canary", "clean"}
    text = answer("attack", tiny, "--root", finished)
    assert "canary" in text
    wrong = tiny_study.harness("attack", tiny, "--root", finished, "--metric", "acu")
    assert (wrong.code, len(wrong.lines)) == (2, 1)
    assert "no metric 'acu' in the audit; did you mean 'auc'?" in wrong.err


def test_doctor_finds_what_a_study_needs(tmp_path: Path) -> None:
    text = answer("doctor", "--root", tmp_path / "runs")
    assert "data set digits" in text
    assert "found, checksums right" in text
    file = tmp_path / "file"
    file.touch()
    ill = tiny_study.harness("doctor", "--root", file)
    assert ill.code == 1
    assert any(line.split()[:2] == ["--", "root"] for line in ill.out.splitlines())


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_ends_with_the_ranking_and_where_to_look_further(tiny: Path, own: Path) -> None:
    text = answer("run", tiny, "--root", own, "--local")
    lines = text.splitlines()
    assert lines[0].startswith("Does it run?   digits, cnn_small, random:0.1, 2 seeds   ")
    assert lines[2].split()[:2] == ["rank", "method"]
    methods = [line.split()[1] for line in lines[3:7]]
    assert set(methods[:2]) == {"finetune", "ct"}
    assert methods[2:] == ["retrain", "original"]
    assert f"report {own}/reports/tiny/index.html" in lines[-1]
    assert max(len(line.replace(str(own), "runs")) for line in lines) <= 160
    assert "nan" not in text.lower().split()


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_for_a_program_tells_the_same(tiny: Path, own: Path) -> None:
    found = document("run", tiny, "--root", own, "--local")
    assert (found["plan"], found["ran"], found["cached"], found["failed"]) == (tiny_study.GOLDEN, {}, 48, [])
    overall = harness.scan(str(own), "rankings").filter(pl.col("group") == "overall").collect()
    assert len(found["rankings"]) == len(overall)


def test_the_root_comes_from_the_environment(
    tiny: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_ROOT", str(finished))
    assert document("status")[0]["done"] == 48
    assert document("status", "--root", tmp_path / "no") == []
