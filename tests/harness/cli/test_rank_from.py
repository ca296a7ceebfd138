"""`harness rank --from` and `--cells`: the same tables for anyone's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_study

RESULTS = """\
dataset,architecture,scenario,method,seed,accuracy_retain,accuracy_forget,accuracy_val,accuracy_test,\
population_mia_val,seconds
cifar10,resnet18,random:0.1,retrain,0,1.0,0.80,0.8,0.80,0.50,100
cifar10,resnet18,random:0.1,retrain,1,1.0,0.80,0.8,0.90,0.50,100
cifar10,resnet18,random:0.1,msg,0,1.0,0.80,0.8,0.84,0.50,10
cifar10,resnet18,random:0.1,msg,1,1.0,0.84,0.8,0.90,0.55,10
cifar10,resnet18,random:0.1,ct,0,0.9,0.80,0.8,0.80,0.60,4
cifar10,resnet18,random:0.1,ct,1,0.9,0.80,0.8,0.90,0.60,4
cifar10,resnet18,random:0.1,ga,0,0.5,0.40,0.8,0.40,0.50,1
cifar10,resnet18,random:0.1,ga,1,0.5,nan,0.8,0.40,0.50,1
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    path.write_text(RESULTS)
    return path


def answer(*arguments: object) -> str:
    found = tiny_study.harness("rank", *arguments)
    assert (found.code, found.err) == (0, "")
    return found.out


def refused(*arguments: object) -> str:
    found = tiny_study.harness("rank", *arguments)
    assert (found.code, found.out, len(found.lines)) == (2, "", 1), found
    return found.lines[0]


def lines(text: str, title: str) -> list[list[str]]:
    """Return the rows below a title, split at spaces, up to the next empty line."""
    rows = text.split(f"\n{title}\n", 1)[1].split("\n\n", 1)[0].splitlines()
    return [row.split() for row in rows]


def document(*arguments: object) -> Any:
    return json.loads(answer(*arguments, "--json"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_file_is_ranked_like_a_study(results: Path) -> None:
    head, *rows = lines(answer("--from", results), "retention_deviation")
    assert head[:3] == ["rank", "method", "value"]
    by_method = {row[1]: row for row in rows[:4]}
    assert by_method["msg"][2] == "0.0500"  # (0.04 / 0.8 + 0.04 / 0.8) / 2
    assert by_method["ct"][2] == "0.1000"
    assert by_method["msg"][0].startswith("1")
    assert {"G1/G2/G3/Failed", "coverage"} <= set(head)
    assert "1/0/0/0" in by_method["msg"]
    assert "0/1/0/0" in by_method["ct"]
    assert "0/0/0/1" in by_method["ga"]
    assert by_method["ga"][-1] == "failed"
    assert by_method["retrain"][-1] == "reference"


def test_each_metric_has_its_test_in_one_line(results: Path) -> None:
    text = answer("--from", results)
    tests = [line for line in text.splitlines() if line.startswith(("Friedman (ours)", "No Friedman test"))]
    titles = [line for line in text.splitlines() if line.replace("_", "").isalpha()]
    assert "retention_deviation" in titles
    assert len(tests) == len(set(titles) - {"overall"})
    first = lines(text, "retention_deviation")[-1]
    assert " ".join(first).startswith("Friedman (ours) over 2 seeds: chi2(1) = ")
    assert " ".join(first).endswith("left out, failed or without a value in each: ga.")


def test_json_has_the_rankings_and_the_tests(results: Path) -> None:
    found = document("--from", results)
    assert set(found) == {"rankings", "friedman"}
    row = next(one for one in found["rankings"] if (one["method"], one["metric"]) == ("ct", "retention_deviation"))
    assert (row["study"], row["value"], row["g2"]) == ("results", pytest.approx(0.1), 1)
    test = next(one for one in found["friedman"] if one["metric"] == "indiscernibility_val")
    assert (test["n"], test["blocks"], test["methods"][0]) == (2, "seeds", ["msg", "default"])
    assert {one["metric"] for one in found["friedman"]} == {one["metric"] for one in found["rankings"]} - {"overall"}


def test_cells_are_the_table_of_the_paper(results: Path) -> None:
    head, *rows = lines(answer("--from", results, "--cells"), "cifar10, random:0.1, resnet18")
    assert head == [
        *("method", "seeds", "RA", "FA", "VA", "TA", "RR", "FR", "TR", "RetDev", "group"),
        *("Indisc(val)", "group", "RTE", "status"),
    ]  # no T-MIA and no gap in standard deviations: not measured, and retrain's retain accuracy has no spread
    msg = next(row for row in rows if row[0] == "msg")
    assert msg[:6] == ["msg", "2", "1.000", "±0.000", "0.820", "±0.028"]
    assert msg[-7:] == ["G1", "0.950", "±0.071", "G1", "10.0", "±0.0", "ranked"]
    assert [row[0] for row in rows] == ["msg", "ct", "ga", "retrain"]
    failed = next(row for row in rows if row[0] == "ga")
    assert failed.count("Failed") == 2
    table = {row["method"]: row for row in document("--from", results, "--cells")}
    assert table["msg"]["retention_deviation"] == pytest.approx(0.05)
    assert table["retrain"]["retention_deviation_group"] is None
    assert table["ct"]["run_time_efficiency"] == pytest.approx(25)


def test_the_rule_for_groups_can_be_chosen(results: Path) -> None:
    results.write_text(RESULTS + "".join(
        f"cifar10,resnet18,random:0.1,{name},{seed},1.0,{0.8 + 0.08 * place},0.8,{0.8 + 0.1 * seed},0.5,1\n"
        for place, name in enumerate(("x", "y", "z"))
        for seed in (0, 1)
    ))  # fmt: skip
    found = {
        rule: {
            row["method"]: row["retention_deviation_group"]
            for row in document("--from", results, "--cells", "--groups", rule)
        }
        for rule in ("average_linkage", "quantile")
    }
    # Deviations: x 0, msg 0.05, y 0.1, ct 0.1, z 0.2; linkage joins x and msg last.
    assert found["quantile"]["msg"] == "G1"
    assert found["average_linkage"]["z"] == found["quantile"]["z"] == "G3"
    assert found["average_linkage"] != found["quantile"]


def test_columns_that_are_ignored_are_named(results: Path) -> None:
    results.write_text(RESULTS.replace("seconds", "time"))
    found = tiny_study.harness("rank", "--from", results, "--cells")
    assert (found.code, found.err) == (0, "ignored: time\n")
    assert "RTE" not in found.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either STUDY or --from CSV, not neither"),
        (["digits", "--from", "FILE"], "give either STUDY or --from CSV, not both"),
        (["--from", "FILE", "--root", "runs"], "--from reads one file; leave --root and --plugin away"),
        (["--from", "no.csv"], "no.csv cannot be read as CSV"),
        (["--from", "FILE", "--groups", "thirds"], "Invalid value for '--groups': 'thirds' is not one of"),
        (["--from"], "Option '--from' requires an argument"),
    ],
)
def test_wrong_questions(arguments: list[str], says: str, results: Path) -> None:
    assert says in refused(*[str(results) if argument == "FILE" else argument for argument in arguments])


def test_a_wrong_file_is_one_line(results: Path) -> None:
    results.write_text(RESULTS.replace("0.84,0.50", "much,0.50"))
    assert refused("--from", results) == (
        f"harness: {results}, row 4: accuracy_test is 'much', must be a number (or empty)"
    )
    results.write_text(RESULTS.replace("accuracy_forget", "forget"))
    assert "lacks the columns accuracy_forget; it has dataset, " in refused("--from", results)


def test_the_help_names_every_column() -> None:
    from harness.ranking.foreign import COLUMNS

    text = answer("--help")
    assert [name for name in COLUMNS if name not in text] == []


def test_rules_for_groups_are_those_of_the_ranking() -> None:
    from typing import get_args

    from harness.cli.rank import RULES
    from harness.ranking import GroupRule

    assert get_args(GroupRule) == RULES
