"""YAML files whose every value remembers its line, so that an error can name file:line:key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError

Key = tuple[str | int, ...]


class InvalidFile(HarnessError):
    """Something in a YAML file is wrong; the message begins with file:line:key."""


class YamlFile:
    """The content of a YAML mapping, and where each of its values stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text("utf-8")
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content: Any = yaml.safe_load(text)
        except OSError as error:
            raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidFile(f"{path}: not a text file in UTF-8") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise InvalidFile(f"{path}:{line}: not valid YAML: {error.problem}") from error
        if not isinstance(self.content, dict):
            raise InvalidFile(f"{path}:1: a study is a mapping of keys to values")
        self._refuse_repeated_keys(self._root, ())

    def line(self, key: Key) -> int:
        """Return the line of the value at a key path such as ("methods", 2, "alpha"), or of its nearest parent."""
        node, line = self._root, 1
        for part in key:
            child = None
            if isinstance(node, yaml.MappingNode):
                for name, value in node.value:
                    if name.value == str(part):
                        child, line = value, name.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                child = node.value[part]
                line = child.start_mark.line + 1
            if child is None:
                break
            node = child
        return line

    def error(self, key: Key, message: str) -> InvalidFile:
        """Return the error for the value at a key path."""
        name = ".".join(str(part) for part in key)
        return InvalidFile(f"{self.path}:{self.line(key)}: {name}: {message}")

    def _refuse_repeated_keys(self, node: yaml.Node | None, key: Key) -> None:
        if isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self._refuse_repeated_keys(value, (*key, position))
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for name, value in node.value:
                if name.value in seen:
                    line = name.start_mark.line + 1
                    raise InvalidFile(f"{self.path}:{line}: {name.value}: the key is given twice; keep one")
                seen.add(name.value)
                self._refuse_repeated_keys(value, (*key, name.value))
