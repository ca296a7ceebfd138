"""Names that a user types: none is a path to where it should not lead, and each that is wrong is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny_study
from tiny_hostile import BAD_NAMES, asked, judge, kept_to, listing

from harness import registry

EVIL = "import pathlib\npathlib.Path(__file__).with_name('touched').touch()\n"
PLUGINS = (
    *("../evil", "..evil", ".evil", "./evil", "../outside/evil", "outside/evil", "..outside.evil", "evil.py"),
    *("../outside/evil.py", "{outside}/evil", "{outside}/evil.py", "{outside}.evil", "file://{outside}/evil"),
    *(name for name in BAD_NAMES if name != "con" and "\0" not in name),
)
"""The ways to a module that lies beside the working folder, and not in it."""


@pytest.mark.parametrize("name", PLUGINS)
def test_no_name_of_a_plugin_leads_out_of_the_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (work, outside):
        folder.mkdir()
    for place in (outside / "evil.py", tmp_path / "evil.py"):
        place.write_text(EVIL)
    study = tiny_study.write_study(work, tiny_study.PLAIN)
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before, known = listing(tmp_path), set(sys.modules)
    plugin = ("--plugin", name.format(outside=outside) if "{outside}" in name else name)
    commands = [
        ("plan", study, "--root", work / "runs", *plugin),
        ("run", study, "--root", work / "runs", "--local", *plugin),
        ("submit", study, "--address", "http://127.0.0.1:1", "--root", work / "runs", *plugin),
    ]
    for command in commands:
        with kept_to():
            answer = asked(*command)
        assert judge(answer), answer
        assert answer.err.startswith("harness: plugin "), answer
    assert listing(tmp_path) == before
    assert not [name for name in set(sys.modules) - known if "evil" in name]


def test_a_plugin_in_the_folder_is_found_by_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    try:
        assert asked("plan", study, "--root", tmp_path / "runs", "--plugin", "evil").code == 0
    finally:
        sys.modules.pop("evil", None)
        registry.load.cache_clear()
    assert (tmp_path / "touched").exists()


STEMS = [name for name in BAD_NAMES if name not in ("", "con", "--help") and "/" not in name and "\0" not in name]
"""Where a path leads is for the user to say; what a study and a method are called is not."""


@pytest.mark.parametrize("name", STEMS)
def test_init_begins_nothing_under_a_name_that_is_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    before = listing(tmp_path)
    for option in ((), ("--method",)):
        for suffix in ("", ".yaml", ".py"):
            with kept_to(work):
                refused = judge(asked("init", *option, f"{name}{suffix}"))
            assert refused
            assert listing(tmp_path) == before
