"""Anyone's results from a CSV file: read once, refused in one line, computed by the same formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.metrics import usable
from harness.ranking import Foreign, InvalidResults, compare_cells, headline_metrics, rank_study, read_results

HEAD = "dataset,architecture,method,seed,accuracy_retain,accuracy_forget,accuracy_test"
FULL = (
    "dataset,architecture,scenario,method,seed,classes,accuracy_retain,accuracy_forget,accuracy_val,accuracy_test,"
    "population_mia_val,population_mia_test,seconds\n"
    "cifar10,resnet18,random:0.1,retrain,0,10,1.0,0.8,0.8,0.5,0.5,0.5,100\n"
    "cifar10,resnet18,random:0.1,retrain,1,10,1.0,0.8,0.8,0.5,0.5,0.5,200\n"
    "cifar10,resnet18,random:0.1,msg,0,10,0.9,0.8,0.8,0.6,0.6,0.75,10\n"
    "cifar10,resnet18,random:0.1,msg,1,10,1.0,0.6,0.8,0.5,0.4,0.5,\n"
    "cifar10,resnet18,random:0.1,collapsed,0,10,0.1,0.1,0.1,0.1,0.5,0.5,10\n"
)


def read(folder: Path, text: str, **options: Any) -> Foreign:
    path = folder / "results.csv"
    path.write_text(text, **options)
    return read_results(path)


def value(found: Foreign, metric: str, method: str, seed: int = 0) -> float | None:
    return found.values.filter(metric=metric, method=method, seed=seed)["value"].item()  # type: ignore[no-any-return]


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InvalidResults) as refused:
        read(folder, text)
    line = str(refused.value)
    assert "\n" not in line
    return line.replace(f"{folder / 'results.csv'}", "FILE")


def test_the_metrics_of_a_file_by_hand(tmp_path: Path) -> None:
    found = read(tmp_path, FULL)
    assert (found.name, found.ignored, dict(found.classes)) == ("results", (), {"cifar10": 10})
    assert value(found, "retention_deviation", "msg") == pytest.approx(0.1 + 0 + 0.2)
    assert value(found, "retention_deviation", "msg", 1) == pytest.approx(0.25)
    assert value(found, "retention_deviation", "retrain") == 0
    assert value(found, "indiscernibility_val", "msg") == pytest.approx(0.8)
    assert value(found, "indiscernibility_test", "msg") == pytest.approx(0.5)
    assert value(found, "run_time_efficiency", "msg") == pytest.approx(10)
    untimed = found.values.filter(metric="run_time_efficiency", method="msg", seed=1)
    assert untimed.select("value", "flag").row(0) == (None, "not timed")
    for nothing in ("nan", "inf"):
        again = read(tmp_path, FULL.replace("0.75,10\n", f"0.75,{nothing}\n"))
        assert value(again, "run_time_efficiency", "msg") is None
        assert usable(again.values, again.classes).filter(method="msg")["usable"].all()


def test_what_is_not_usable_fails_and_is_not_dropped(tmp_path: Path) -> None:
    rows = [
        "c,r,retrain,0,0.9,0.8,0.8,0.5", "c,r,good,0,0.9,0.8,0.8,0.6", "c,r,nan,0,0.9,NaN,0.8,0.6",
        "c,r,empty,0,0.9,0.8,,0.6", "c,r,attack,0,0.9,0.8,0.8, n/a ", "c,r,inf,0,inf,0.8,0.8,0.6",
    ]  # fmt: skip
    text = "\n".join([f"{HEAD},population_mia_val", *rows])
    found = read(tmp_path, text)
    table = rank_study(found.values, study="x", classes=found.classes).filter(metric="overall")
    status = dict(table.select("method", "status").iter_rows())
    failed = dict.fromkeys(("nan", "empty", "attack", "inf"), "failed")
    assert status == {"good": "ranked", "retrain": "reference", **failed}
    cells = compare_cells(found.values, classes=found.classes)
    assert set(cells.filter(pl.col("status") == "failed")["method"]) == set(failed)


def test_a_status_and_a_number_of_classes_fail_what_they_say(tmp_path: Path) -> None:
    found = read(tmp_path, FULL)
    judged = usable(found.values, found.classes).filter(~pl.col("usable"))
    assert judged.select("method", "reason").rows() == [("collapsed", "accuracy_test 0.1 is not above 0.15")]
    free = read(tmp_path, FULL.replace(",classes", ",note"))
    assert usable(free.values, free.classes)["usable"].all()
    text = f"{HEAD},status\nc,r,retrain,0,1,1,1,done\nc,r,a,0,,,,diverged\n"
    diverged = read(tmp_path, text)
    assert usable(diverged.values, diverged.classes).filter(method="a")["reason"].item() == "trial diverged"


def test_what_may_be_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEAD}, note \n c , r ,retrain,3, 1.0,0.5 ,1\nc,r,a,3,0.5,0.5,1\n", encoding="utf-8-sig")
    trial = found.values.filter(method="a", metric="retention_deviation").row(0, named=True)
    assert (trial["dataset"], trial["scenario"], trial["config"], trial["seed"]) == ("c", "not stated", "default", 3)
    assert (trial["value"], found.ignored) == (0.5, ("note",))
    assert headline_metrics(found.values) == ("retention_deviation",)
    ranked = rank_study(found.values, study="x", classes=found.classes)
    assert ranked.filter(metric="overall", method="a")["rank"].item() == 1


@pytest.mark.parametrize(
    ("columns", "numbers", "metric"),
    [
        ("population_mia_val,population_mia_test", "0.5,0.5", "indiscernibility_val"),
        ("population_mia_test", "0.5", "indiscernibility_test"),
    ],
)
def test_privacy_is_ranked_by_the_attack_that_is_there(tmp_path: Path, columns: str, numbers: str, metric: str) -> None:
    found = read(tmp_path, f"{HEAD},{columns}\nc,r,retrain,0,1,1,1,{numbers}\nc,r,a,0,1,1,1,{numbers}\n")
    assert headline_metrics(found.values) == ("retention_deviation", metric)


GOOD = f"{HEAD}\nc,r,retrain,0,1,1,1\n"
BAD = {
    "columns": ("dataset,method,seed\n", "FILE lacks the columns architecture, accuracy_retain, accuracy_forget, "),
    "separator": (GOOD.replace(",", ";"), "FILE lacks the columns dataset, architecture, method, seed, "),
    "empty": ("", "FILE is empty; it needs the columns dataset, "),
    "no rows": (f"{HEAD}\n", "FILE has a head and no rows; give one row per trial"),
    "text": (f"{GOOD}c,r,a,0,1,good,1\n", "FILE, row 3: accuracy_forget is 'good', must be a number (or empty)"),
    "seed": (f"{GOOD}c,r,a,zero,1,1,1\n", "FILE, row 3: seed is 'zero', must be a number (or empty)"),
    "half seed": (f"{GOOD}c,r,a,0.5,1,1,1\n", "FILE, row 3: seed is '0.5', must be a whole number"),
    "no seed": (f"{GOOD}c,r,a,,1,1,1\n", "FILE, row 3: seed is '', must be a whole number"),
    "endless seed": (f"{GOOD}c,r,a,inf,1,1,1\n", "FILE, row 3: seed is 'inf', must be a whole number"),
    "no method": (f"{GOOD}c,r,,0,1,1,1\n", "FILE, row 3: method is empty; every trial needs one"),
    "percent": (f"{GOOD}c,r,a,0,1,1,93.4\n", "row 3: accuracy_test is 93.4, must lie between 0 and 1 (a fraction, "),
    "twice": (f"{GOOD}c,r,a,0,1,1,1\nc,r,a,0,1,1,1\n", "FILE, row 4: the same trial as row 3; keep one"),
    "retrain twice": (f"{GOOD}c,r,retrain,0,1,1,1\n", "FILE, row 3: the same trial as row 2; keep one"),
    "no retrain": (
        f"{GOOD}c,r,a,1,1,1,1\n",
        "FILE, row 3: no row of method 'retrain' for dataset c, scenario not stated, architecture r, seed 1; add one",
    ),
    "status": (f"{HEAD},status\nc,r,retrain,0,1,1,1,doen\n", "row 2: status 'doen' is none; did you mean 'done'?"),
    "classes": (f"{HEAD},classes\nc,r,retrain,0,1,1,1,1\n", "row 2: classes is 1, must be a whole number from 2 on"),
    "two classes": (
        f"{HEAD},classes\nc,r,retrain,0,1,1,1,10\nc,r,a,0,1,1,1,100\n",
        "FILE: several numbers of classes for data set 'c'; keep one",
    ),
    "seconds": (f"{HEAD},seconds\nc,r,retrain,0,1,1,1,-1\n", "row 2: seconds is -1, must not be negative"),
    "ragged": (f"{GOOD}c,r,a,0,1,1,1,1,1\n", "FILE cannot be read as CSV: "),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, says = BAD[case]
    assert says in refusal(tmp_path, text)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidResults, match=r"no\.csv cannot be read as CSV: .*No such file"):
        read_results(tmp_path / "no.csv")
    (tmp_path / "results.csv").write_bytes(b"\xff\xfe\x00dataset")
    with pytest.raises(InvalidResults, match="cannot be read as CSV"):
        read_results(tmp_path / "results.csv")
