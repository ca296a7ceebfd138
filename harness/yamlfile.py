"""YAML files whose every value remembers its line, so that an error can name file:line:key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError

Key = tuple[str | int, ...]
KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
MOST_BYTES, MOST_KEYS = 200_000, 10_000
"""Of a file and of a mapping in it: YAML is read slowly, and nobody writes so much by hand."""
_UNMAKEABLE = (ValueError, ArithmeticError, LookupError, AttributeError)
"""What PyYAML raises where a tag or a pattern promises a value and the text holds another: `!!bool maybe`."""


class InvalidFile(HarnessError):
    """Something in a YAML file is wrong; the message begins with file:line:key."""


class _Loader(yaml.SafeLoader):
    """Gives every value that cannot be made, such as the 13th month of a date, its place in the file."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, int) and made.bit_length() > 63:
                raise ValueError("a whole number of more digits than anything is counted in")
            return made
        except _UNMAKEABLE as error:
            problem = str(error) if isinstance(error, ValueError) else f"that is no value of the type {node.tag}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from error

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged keys into a mapping; merges of merges may double at every step."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            problem = f"a mapping has more than {MOST_KEYS:,} keys, with those that it merges"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


class YamlFile:
    """The content of a YAML mapping, and where each of its values stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = _text(path)
            self._root = yaml.compose(text, Loader=_Loader)
            self.content: Any = yaml.load(text, Loader=_Loader)
        except OSError as error:
            raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidFile(f"{path}: not a text file in UTF-8") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise InvalidFile(f"{path}:{line}: not valid YAML: {error.problem}") from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise InvalidFile(f"{path}:{line}: the character #x{error.character:02x} is not allowed") from error
        except (ValueError, ArithmeticError) as error:  # of the scanner, which names no place: "\\UFFFFFFFF"
            raise InvalidFile(f"{path}:1: not valid YAML: {error}") from error
        except RecursionError as error:
            raise InvalidFile(f"{path}:1: not a study: its values are nested too deeply") from error
        if not isinstance(self.content, dict):
            raise InvalidFile(f"{path}:1: a study is a mapping of keys to values")
        self._check_keys(self._root, (), set())

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

    def _check_keys(self, node: yaml.Node | None, key: Key, visited: set[int]) -> None:
        """Refuse keys that are no texts, and keys given twice; an anchored node is visited once."""
        if id(node) in visited:
            return
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self._check_keys(value, (*key, position), visited)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for name, value in node.value:
                inner = (*key, str(name.value))
                if name.tag not in KEY_TAGS:
                    raise self._error_at(name, inner, "a key must be a text; put it in quotes")
                if name.value in seen:
                    raise self._error_at(name, inner, "the key is given twice; keep one")
                seen.add(name.value)
                self._check_keys(value, inner, visited)

    def _error_at(self, node: yaml.Node, key: Key, message: str) -> InvalidFile:
        return InvalidFile(f"{self.path}:{node.start_mark.line + 1}: {'.'.join(map(str, key))}: {message}")


def _text(path: Path) -> str:
    """Return the text of a file; raise `InvalidFile` where it is no file (a pipe has no end) or too long."""
    if not path.is_dir() and path.exists() and not path.is_file():
        raise InvalidFile(f"{path}: cannot be read: neither a file nor a link to one")
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InvalidFile(f"{path}: longer than the {MOST_BYTES:,} bytes that a study may have")
    return content.decode("utf-8")
