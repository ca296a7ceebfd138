"""Lines of values, and everything that a file can be instead of a study."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.yamlfile import InvalidFile, Key, YamlFile

NESTED = """\
# a comment on line 1
name: x

methods:
  - finetune
  - neg_grad_plus:
      lr: 0.1

      alpha: 2
  - {msg: {lr: 1}, ct: {
      lr: 2}}
farm: {shadows: 4,
       pools: {a: {size: 8},
               b: {size: 10}}}
text: >
  folded
  lines
last: 1
"""


def written(folder: Path, content: str | bytes) -> Path:
    """Write the content as it is, whatever it is."""
    path = folder / "s.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("name",), 2),
        (("methods",), 4),
        (("methods", 0), 5),
        (("methods", 1), 6),
        (("methods", 1, "neg_grad_plus"), 6),
        (("methods", 1, "neg_grad_plus", "lr"), 7),
        (("methods", 1, "neg_grad_plus", "alpha"), 9),
        (("methods", 2, "ct"), 10),
        (("methods", 2, "ct", "lr"), 11),
        (("farm",), 12),
        (("farm", "pools"), 13),
        (("farm", "pools", "a", "size"), 13),
        (("farm", "pools", "b"), 14),
        (("last",), 18),
    ],
)
def test_a_value_is_found_in_its_line(tmp_path: Path, key: Key, line: int) -> None:
    assert YamlFile(written(tmp_path, NESTED)).line(key) == line


@pytest.mark.parametrize(
    ("key", "line"),
    [((), 1), (("no",), 1), (("methods", 9), 4), (("farm", "no"), 12), (("farm", "pools", "b", "no", "deeper"), 14)],
)
def test_what_is_absent_has_the_line_of_its_nearest_parent(tmp_path: Path, key: Key, line: int) -> None:
    assert YamlFile(written(tmp_path, NESTED)).line(key) == line


def test_an_error_names_file_line_and_key(tmp_path: Path) -> None:
    path = written(tmp_path, NESTED)
    error = YamlFile(path).error(("methods", 1, "neg_grad_plus", "alpha"), "too much")
    assert str(error) == f"{path}:9: methods.1.neg_grad_plus.alpha: too much"


trees = st.recursive(
    st.just(0),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(st.text("abcdef", min_size=1, max_size=5), inner, min_size=1, max_size=4)
    ),
    max_leaves=30,
)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=5), trees, min_size=1, max_size=4),
    st.sampled_from([None, True, False]),
    st.integers(20, 120),
    st.integers(1, 4),
)
def test_every_value_of_every_file_is_found_in_its_line(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], flow: bool | None, width: int, indent: int
) -> None:
    marked, leaves = _mark(tree), list(_leaves(tree, ()))
    text = yaml.dump(marked, default_flow_style=flow, width=width, indent=indent, sort_keys=False)
    file = YamlFile(written(tmp_path_factory.mktemp("any"), text))
    lines = text.splitlines()
    for number, key in enumerate(leaves):
        (there,) = (n for n, line in enumerate(lines, 1) if f"LEAF{number}." in line)
        assert file.line(key) == there, text


def _mark(tree: Any) -> Any:
    """Number the leaves from left to right, so that each can be found in the text."""
    numbers = iter(range(10_000))

    def mark(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: mark(value) for key, value in node.items()}
        return [mark(value) for value in node] if isinstance(node, list) else f"LEAF{next(numbers)}."

    return mark(tree)


def _leaves(node: Any, key: Key) -> Iterator[Key]:
    if not isinstance(node, dict | list):
        yield key
        return
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _leaves(value, (*key, name))


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("", 1, "a study is a mapping of keys to values"),
        ("# only a comment\n", 1, "a study is a mapping"),
        ("hello", 1, "a study is a mapping"),
        ("- a\n- b\n", 1, "a study is a mapping"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
        ("a: 1\nb: {c: d: e}\n", 2, "not valid YAML"),
        ("a: 1\nb:\n\tc: 1\n", 3, r"not valid YAML: found character '\t'"),
        ("a: 1\n---\na: 2\n", 2, "not valid YAML: but found another document"),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", 2, "not valid YAML: could not determine a constructor"),
        ("a: 1\nb: *nowhere\n", 2, "not valid YAML: found undefined alias"),
        ("a: 1\nb: 2024-13-45\n", 2, "not valid YAML: month must be in 1..12"),
        ("a: 1\nb: !!int three\n", 2, "not valid YAML: invalid literal"),
        ("a: 1\n\nb: x\x07y\n", 3, "the character #x07 is not allowed"),
        ("a: 1\n? [b]\n: 2\n", 2, "not valid YAML: found unhashable key"),
        ("a: 1\n3: x\n", 2, "3: a key must be a text; put it in quotes"),
        ("a:\n  b: 1\n  true: x\n", 3, "a.true: a key must be a text"),
        ("a: 1\nb: 2\na: 3\n", 3, "a: the key is given twice; keep one"),
        ("a:\n  - b: 1\n    c: 2\n    b: 3\n", 4, "a.0.b: the key is given twice"),
        ("a: {b: 1, 'b': 2}\n", 1, "a.b: the key is given twice"),
        ("a: " + "[" * 5000, 1, "nested too deeply"),
    ],
)
def test_what_is_no_study_is_refused_with_its_line(tmp_path: Path, content: str, line: int, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InvalidFile, match=f"^{re.escape(f'{path}:{line}: ')}.*{re.escape(says)}"):
        YamlFile(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"absent.yaml: cannot be read: No such file or directory"):
        YamlFile(tmp_path / "absent.yaml")
    with pytest.raises(InvalidFile, match=r"cannot be read: Is a directory"):
        YamlFile(tmp_path)
    with pytest.raises(InvalidFile, match=r"s.yaml: not a text file in UTF-8"):
        YamlFile(written(tmp_path, b"name: \xff\xfe"))


def test_anchors_cost_no_more_than_what_is_written(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert len(YamlFile(written(tmp_path, "\n".join(lines))).content) == 60  # 2**60 values, were each one visited


@settings(max_examples=300)
@given(st.one_of(st.text(), st.binary(), st.text("ab:-[]{}&*!?|>'\"#%\n \t0.")))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    try:
        read: object = YamlFile(path).content
    except InvalidFile as error:
        read = error
    assert isinstance(read, dict) or str(read).startswith(f"{path}:")
