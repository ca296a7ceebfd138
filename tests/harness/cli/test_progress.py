"""How a run is told: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import tiny_study

from harness.cli import progress
from harness.cli.progress import Live
from harness.planner import Plan, make_plan
from harness.pricing.costs import Costs
from harness.study import load_study


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def plan(tiny: Path) -> Plan:
    return make_plan(load_study(tiny))


def tell(stream: io.StringIO, plan: Plan, failing: int = -1) -> str:
    """Play a run of the tiny study in which every unit takes two seconds, two at a time; return what was told."""
    units = list(plan.units.values())
    live = Live(stream)
    live.begin(plan, units, 0)
    for number, unit in enumerate(units):
        live.ended(unit, "failed" if number == failing else "done", 2.0, 2)
    live.finish()
    return stream.getvalue()


def test_elsewhere_it_says_one_line_at_the_beginning_and_one_every_thirty_seconds(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tell(io.StringIO(), plan) == f"{plan.id}: 48 units to run, 0 cached\n"
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    lines = tell(io.StringIO(), plan).splitlines()
    assert len(lines) == 1 + 48
    assert (
        lines[5] == "trials 5/10, farm 0/32, timing 0/6; 2 busy, 0 failed, 0 cached; about 49.0 s left"
    )  # 37 two at a time, 6 alone
    assert lines[-1] == "trials 10/10, farm 32/32, timing 6/6; 2 busy, 0 failed, 0 cached; about 0.0 s left"


def test_on_a_terminal_one_line_is_written_over_and_over_and_taken_away(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "40")
    told = tell(Terminal(), plan)
    assert "\n" not in told
    shown = told.split("\r\x1b[K")
    assert len(shown) == 1 + 1 + 48 + 1
    assert shown[-1] == ""
    assert max(map(len, shown)) == 39  # a full line would wrap


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_failure_is_told_at_once_and_how_to_see_it(plan: Plan, stream: type[io.StringIO]) -> None:
    unit = list(plan.units.values())[7]
    told = re.sub(r"\r\x1b\[K", "\n", tell(stream(), plan, failing=7)).splitlines()
    assert f"failed: {unit}; harness show {unit.id}" in told


def test_the_time_left_goes_by_what_units_of_the_same_kind_took(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    stream = io.StringIO()
    units = [unit for unit in plan.units.values() if unit.kind in ("original", "retrain")]
    live = Live(stream)
    live.begin(plan, units, 44)
    live.ended(units[0], "done", 10.0, 1)
    live.ended(units[1], "done", 1.0, 1)
    left = [line.rpartition("about ")[2] for line in stream.getvalue().splitlines()[1:]]
    assert [unit.kind.value for unit in units] == ["original", "retrain"] * 2
    assert left == ["30.0 s left", "11.0 s left"]  # at first a retrain is guessed to take what an original took


def test_what_the_tables_know_is_asked_for_once_a_stage_and_counts_from_the_first_unit_on(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    asked: list[Costs] = []

    def known() -> Costs:
        asked.append(Costs(dict.fromkeys(plan.counts(), 5.0)))
        return asked[-1]

    stream, units = io.StringIO(), list(plan.units.values())
    live = Live(stream, known)
    live.begin(plan, units, 0)
    for unit in units:
        live.ended(unit, "done", 2.0, 1)
    left = [line.rpartition("about ")[2] for line in stream.getvalue().splitlines()[1:]]
    assert left[:2] == ["3 min 55 s left", "3 min 50 s left"]  # 47 and 46 units of 5 s
    assert len(asked) == 3


def test_a_long_first_unit_does_not_look_like_one_that_hangs(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    live = Live(stream)
    live.begin(plan, list(plan.units.values()), 0)
    live.beat()
    assert len(stream.getvalue().splitlines()) == 1
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    live.beat()
    waiting = stream.getvalue().splitlines()[1]
    assert re.fullmatch(r"trials 0/10, farm 0/32, timing 0/6; 0 failed, 0 cached; none has ended in \d\.\d s", waiting)


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_tells_in_plain_lines_where_stderr_is_no_terminal(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, methods=["finetune"])
    answer = tiny_study.harness("run", study, "--root", tmp_path / "runs", "--local")
    assert answer.code == 0, answer.err
    assert re.fullmatch(r"plain-\w{8}: 4 units to run, 0 cached\n(trials \d/4; .* left\n)*", answer.err)
    assert "\x1b" not in answer.out + answer.err


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_of_originals_alone_says_that_there_is_nothing_to_rank(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, methods=["finetune"])
    answer = tiny_study.harness("run", study, "--root", tmp_path / "runs", "--local", "--where", "kind=original")
    assert answer.code == 0, answer.err
    assert "\n\nNothing to rank yet" in answer.out
    assert "rank  method" not in answer.out
