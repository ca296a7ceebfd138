"""Good values with something changed: trees of keys and values, and bytes."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from enum import Enum
from typing import Any

from hypothesis import strategies as st
from tiny_hostile import BAD_NAMES, ESCAPE

from harness import registry
from harness.contracts import METHODS, SCENARIOS

registry.load()
DEEP: Any = "x"
for _ in range(60):
    DEEP = [DEEP]


class Long(Enum):
    """What nobody wants to see written out."""

    NUMBER = "10 ** 5000"
    TEXT = "'x' * 100_000"


numbers = st.one_of(
    st.integers(-(10**20), 10**20),
    st.sampled_from([-1, 0, 1, 2, 8, 10**6, 10**9, 2**31, 2**63, 2**64, Long.NUMBER]),
    st.floats(),
    st.sampled_from([1e308, -0.0, 5e-324, float("nan"), float("inf"), -float("inf")]),
)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from([*BAD_NAMES, "all", "*", "class:*", "null", "yes", "1", ".nan", "digits@150", Long.TEXT]),
    st.sampled_from([f"{name}:{ESCAPE}" for name in SCENARIOS] + list(METHODS)),
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        texts,
        st.binary(max_size=5),
        st.sampled_from([datetime.date(1, 1, 1), datetime.datetime(9999, 12, 31, 23), DEEP]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(), inner, max_size=4),
    max_leaves=6,
)


def places(node: Any, key: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the key path of every value below a node, itself included."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [key, *(place for name, value in inner for place in places(value, (*key, name)))]


def changed(node: Any, key: tuple[str | int, ...], change: Callable[[Any], Any]) -> Any:
    """Return a copy of a tree in which what stands at a key path is another."""
    if not key:
        return change(node)
    items = dict(node.items() if isinstance(node, dict) else enumerate(node))
    items[key[0]] = changed(items[key[0]], key[1:], change)
    return items if isinstance(node, dict) else list(items.values())


@st.composite
def mutated(draw: st.DrawFn, good: Any) -> Any:
    """A tree in which one to three values at any depth are others, are gone, or have a companion."""
    tree = good
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(places(tree)))
        what = draw(st.sampled_from(["value", "value", "gone", "more"]))
        value, name = draw(values), draw(texts)
        if what == "gone" and key:
            tree = changed(tree, key[:-1], lambda node, last=key[-1]: _without(node, last))
        elif what == "more":
            tree = changed(tree, key, lambda node, name=name, value=value: _with(node, name, value))
        else:
            tree = changed(tree, key, lambda node, value=value: value)
    return tree


def edits(size: int) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """Return some changes of so many bytes: mostly near the ends, where formats keep what they are read by."""
    near = st.one_of(
        st.integers(0, size - 1), st.integers(0, min(64, size - 1)), st.integers(max(0, size - 600), size - 1)
    )
    kinds = st.sampled_from(["flip", "byte", "byte", "most", "cut", "twice", "end"])
    return st.lists(st.tuples(kinds, near, st.integers(0, 255)), min_size=1, max_size=4)


def damaged(good: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    """Return bytes with some changes."""
    data = bytearray(good)
    for kind, place, value in changes:
        if kind == "flip" and place < len(data):
            data[place] ^= 1 << value % 8
        elif kind == "byte":
            data[place : place + 1] = bytes([value])
        elif kind == "most":
            data[place : place + 4] = b"\xff\xff\xff\x7f"
        elif kind == "cut" and value < 30:
            del data[place : place + value]
        elif kind == "twice" and value < 30:
            data[place:place] = data[place : place + value]
        elif kind == "end" and value < 10:
            del data[place:]
    return bytes(data)


def _without(node: Any, key: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    kept = {name: value for name, value in items if name != key}
    return kept if isinstance(node, dict) else list(kept.values())


def _with(node: Any, name: str, value: Any) -> Any:
    if isinstance(node, dict):
        return node | {name: value}
    return [*node, value] if isinstance(node, list) else value
