"""What `harness init` begins with: a study of all keys, and a method that keeps every promise."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import HarnessError

_HERE = Path(__file__).parent


class CannotBegin(HarnessError):
    """A file that is there already, or whose name says nothing."""


def write_study(path: Path) -> None:
    """Write a commented study that is named after its file; raise `CannotBegin` rather than overwrite anything."""
    if path.suffix not in (".yaml", ".yml") or not re.fullmatch(r"[A-Za-z0-9_-]+", path.stem):
        raise CannotBegin(f"{path} names no study; letters, digits, - and _ before .yaml make one: my_study.yaml")
    _write(path, (_HERE / "study.yaml").read_text("utf-8").replace("my_study", path.stem))


def write_method(path: Path) -> None:
    """Write a method that is named after its file; raise `CannotBegin` rather than overwrite anything."""
    if path.suffix != ".py" or not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        raise CannotBegin(f"{path} names no method; small letters, digits and _ before .py make one: my_method.py")
    name = "".join(word.capitalize() for word in path.stem.split("_"))
    _write(path, (_HERE / "method.py").read_text("utf-8").replace("MyMethod", name))


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise CannotBegin(f"{path} is there already; give another name") from error
    except OSError as error:
        raise CannotBegin(f"{path} cannot be written: {error.strerror}") from error
