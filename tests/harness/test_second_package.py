"""A package of somebody else, really installed in an environment of its own, brings its methods along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import tiny_study

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "second-package"
version = "1"

[project.entry-points."harness.tasks"]
second = "second_package.tasks"

[tool.setuptools]
packages = ["second_package", "second_package.tasks"]
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the second package, and through this one the harness."""
    folder = tmp_path_factory.mktemp("second")
    tasks = folder / "source" / "second_package" / "tasks"
    tasks.mkdir(parents=True)
    for package in (tasks.parent, tasks):
        (package / "__init__.py").touch()
    (folder / "source" / "pyproject.toml").write_text(PROJECT)
    assert tiny_study.harness("init", "--method", tasks / "brought_along.py").code == 0
    venv.create(folder / "env", with_pip=False, symlinks=True)
    found = folder / "env" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    # Editable installs are seen only by way of addsitedir.
    (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", str(folder / "source")]
    subprocess.run([sys.executable, "-m", "pip", "--python", found, *install], check=True, timeout=600)
    return found


def test_its_methods_are_listed_planned_and_checked(python: Path, tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, methods=["brought_along"])

    def ask(*arguments: object) -> str:
        """Outside of the checkout, so that only what is installed is found."""
        command = [python, "-m", "harness", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert "brought_along" in {row["name"] for row in json.loads(ask("ls", "methods", "--json"))}
    assert json.loads(ask("plan", study, "--root", tmp_path / "runs", "--json"))["kinds"]["unlearn"]["units"] == 2
    assert "kept    stops when told" in ask("check", "brought_along", "--architecture", "cnn_small")


def test_who_has_not_installed_it_does_not_know_it() -> None:
    answer = tiny_study.harness("check", "brought_along")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert "no method 'brought_along'" in answer.err
