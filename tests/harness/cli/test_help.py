"""Help: every command has one, with examples that the command itself accepts."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest
import tiny_study

import harness
from harness.cli import COMMANDS, group


def command(name: str) -> click.Command:
    """Return a command by its name."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def examples(text: str) -> list[list[str]]:
    """Return the example calls in a help text: the arguments after `harness`."""
    lines = (line.partition("   ")[0] for line in map(str.strip, text.splitlines()))
    return [shlex.split(line)[1:] for line in lines if re.match(r"(\w+=\S+ )*harness ", line)]


def test_every_module_with_a_command_is_listed() -> None:
    folder = Path(str(harness.__file__)).parent / "cli"
    modules = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    with_command = {name for name in modules if hasattr(import_module(f"harness.cli.{name}"), "command")}
    assert with_command == {name.replace("-", "_") for name in COMMANDS}


def test_the_first_page_lists_every_command_and_what_to_do_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    answer = tiny_study.harness("--help")
    assert answer.code == 0
    for name, line in COMMANDS.items():
        assert re.search(rf"^  {name}\s+{re.escape(line)}$", answer.out, re.MULTILINE)
    assert ["run", "digits"] in examples(answer.out)
    assert tiny_study.harness().out == answer.out
    assert tiny_study.harness("-h").out == answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_are_calls_that_it_accepts(name: str) -> None:
    answer = tiny_study.harness(name, "--help")
    assert (answer.code, answer.err) == (0, "")
    calls = [call[call.index(name) :] if name in call else call for call in examples(command(name).help or "")]
    assert calls
    for called, *arguments in calls:
        assert called == name
        command(name).make_context(name, list(arguments))  # raises for an option or a choice that does not exist


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.type.name == "choice", parameter.name


def test_the_version_is_that_of_the_package() -> None:
    assert tiny_study.harness("--version").out.strip() == harness.__version__
