"""From nothing to a study and a method of one's own: init, check, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_study
import yaml
from click.testing import CliRunner

from harness import registry
from harness.cli import COMMANDS
from harness.cli.check import command as check
from harness.contracts import METHODS
from harness.study import load_study
from harness.studyfile import FarmFile, RecipeOverrides, SearchFile, StudyFile

SMALL = ("--architecture", "cnn_small")


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that a command adds to the path of modules are forgotten when the test ends."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `harness init my_study.yaml` was called."""
    monkeypatch.chdir(tmp_path)
    answer = tiny_study.harness("init", "my_study.yaml")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[1:] == ["next   harness plan my_study.yaml", "then   harness run my_study.yaml"]
    return tmp_path / "my_study.yaml"


def test_the_study_that_init_writes_is_one(begun: Path) -> None:
    study = load_study(begun)
    assert study.name == "my_study"
    plan = tiny_study.harness("plan", begun, "--root", begun.parent / "runs")
    assert (plan.code, plan.err) == (0, "")


def test_the_study_tells_every_key_and_each_line_can_be_uncommented(begun: Path, tmp_path: Path) -> None:
    text = begun.read_text()
    offered = re.findall(r"^# (\w+: .*)$", text, re.MULTILINE)
    told: dict[str, set[str]] = {}
    for number, line in enumerate(offered):
        changed = tmp_path / f"changed{number}.yaml"
        changed.write_text(f"{text}\n{line}\n")
        load_study(changed)
        ((key, value),) = yaml.safe_load(line).items()
        told.setdefault(key, set()).update(value if isinstance(value, dict) else ())
    assert set(yaml.safe_load(text)) | set(told) == set(StudyFile.model_fields)
    assert told["recipe"] == set(RecipeOverrides.model_fields)
    assert told["search"] == set(SearchFile.model_fields)
    assert told["farm"] == set(FarmFile.model_fields)


def test_what_is_said_to_be_the_default_is_the_default(begun: Path, tmp_path: Path) -> None:
    """But the recipe, whose values are the data set's, and the examples of farms and published numbers."""
    text = begun.read_text()
    for line in re.findall(
        r"^# ((?:search|measures|resources|time_limit|keep_models|farm: \{shadows: 0)\b.*)$", text, re.M
    ):
        changed = tmp_path / "changed.yaml"
        changed.write_text(f"{text}\n{line}\n")
        assert load_study(changed) == load_study(begun), line


def test_nothing_is_overwritten_and_a_name_must_say_something(begun: Path) -> None:
    before = begun.read_text()
    for arguments, told in (
        (["my_study.yaml"], "my_study.yaml is there already; give another name"),
        (["my study.yaml"], "my study.yaml names no study; letters, digits, - and _ before .yaml make one"),
        (["--method", "Mine.py"], "Mine.py names no method; small letters, digits and _ before .py make one"),
        (["--method", "no/mine.py"], "no/mine.py cannot be written: No such file or directory"),
        (["a.yaml", "--method", "mine.py"], "one file at a time"),
    ):
        answer = tiny_study.harness("init", *arguments)
        assert answer.code == 2
        assert told in answer.err
        assert len(answer.lines) == 1
    assert begun.read_text() == before
    assert [path.name for path in begun.parent.iterdir()] == ["my_study.yaml"]


@pytest.mark.usefixtures("declaring", "own_path")
def test_the_method_that_init_writes_keeps_every_promise(tmp_path: Path) -> None:
    path = tmp_path / "begun_here.py"
    assert tiny_study.harness("init", "--method", path).code == 0
    answer = tiny_study.harness("check", path, *SMALL)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("begun_here\n  kept    gives another finite model")
    assert "BROKEN" not in answer.out
    assert {line.split()[0] for line in answer.out.splitlines()[1:]} == {"kept"}
    assert registry.find(METHODS, "begun_here").module == "begun_here"


@pytest.mark.usefixtures("declaring", "own_path")
def test_a_broken_promise_is_exit_code_1_and_said_to_programs(tmp_path: Path) -> None:
    path = tmp_path / "broken_here.py"
    tiny_study.harness("init", "--method", path)
    path.write_text(path.read_text().replace("return model", "return model.requires_grad_(False)"))
    answer = tiny_study.harness("check", path, *SMALL, "--json")
    assert answer.code == 1
    told = {(row["method"], row["problem"]) for row in json.loads(answer.out)}
    assert told == {("broken_here", "it leaves parameters frozen; set requires_grad again")}
    assert "  BROKEN  gives another finite model" in CliRunner().invoke(check, [str(path), *SMALL]).output


@pytest.mark.usefixtures("own_path")
def test_a_file_without_a_method_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty_here.py").touch()
    for name, told in (
        ("empty_here.py", "declares no method; put @method(reads={...}, source=...) before a class"),
        ("none_here.py", "harness init --method "),
    ):
        answer = tiny_study.harness("check", tmp_path / name)
        assert (answer.code, len(answer.lines)) == (2, 1)
        assert told in answer.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_told_how_to_complete(shell: str) -> None:
    answer = tiny_study.harness("completion", shell)
    assert f"_HARNESS_COMPLETE={shell}_complete" in answer.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("harness qu", {"query"}),
        ("harness ", set(COMMANDS)),
        ("harness run digits1", {"digits18"}),
        ("harness rank --ce", {"--cells"}),
        ("harness ls col", {"columns"}),
    ],
)
def test_commands_options_and_suites_are_completed(typed: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_HARNESS_COMPLETE": "bash_complete"}
    answer = subprocess.run([tiny_study.HARNESS], capture_output=True, text=True, env={**os.environ, **words})
    assert {line.partition(",")[2] for line in answer.stdout.splitlines() if line.startswith("plain")} == offered
