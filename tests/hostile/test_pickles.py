"""Pickles: those of CIFAR make arrays of bytes or one line, whatever they call for, and nobody reads any other."""

from __future__ import annotations

import ast
import copyreg
import os
import pickle
import pickletools
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import on_disk
import pytest
from hypothesis import strategies as st
from tiny_hostile import fuzz, kept_to, lanes, one_line, outcome

import harness
import tasks
from harness.contracts import DataCorrupt
from tasks.datasets.cifar import ALLOWED, MOST_TUPLES, read_batches, unpickle

ROWS = np.random.default_rng(0).integers(0, 256, (1, 3072)).astype(np.uint8)
GOOD = on_disk.cifar(ROWS, [3])
Payload = Callable[[Path], bytes]


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _touch(path: Path) -> str:
    return f"touch {path}"


def _opens(path: Path) -> tuple[Callable[..., Any], str, str]:
    return open, str(path), "w"


CODE = (0, 1, 2, 3, 4, 5)
EXECUTED: dict[str, Payload] = {
    **{f"a call, protocol {n}": lambda path, n=n: pickle.dumps(Calls(os.system, _touch(path)), n) for n in CODE},
    **{f"an open, protocol {n}": lambda path, n=n: pickle.dumps(Calls(*_opens(path)), n) for n in CODE},
    "a name from the stack": lambda path: (
        b"\x80\x04" + _short("os") + _short("system") + b"\x93" + _short(_touch(path)) + b"\x85R."
    ),
    "a name of names": lambda path: (
        b"\x80\x04" + _short("pathlib") + _short("os.system") + b"\x93" + _short(_touch(path)) + b"\x85R."
    ),
    "an instance": lambda path: b"(S" + repr(_touch(path)).encode() + b"\nios\nsystem\n.",
    "an object": lambda path: b"(cos\nsystem\nS" + repr(_touch(path)).encode() + b"\no.",
    "a state that is called": lambda path: (
        b"\x80\x02cfunctools\npartial\n(cos\nsystem\ntR(cos\nsystem\n("
        + b"S"
        + repr(_touch(path)).encode()
        + b"\nt}Ntb(tR."
    ),
    "code run by numpy": lambda path: (
        b"cnumpy.testing\nrunstring\n(V" + f"open({str(path)!r}, 'w').close()".encode() + b"\n}tR."
    ),
    "a file written by numpy": lambda path: b"cnumpy\nsavetxt\n(V" + str(path).encode() + b"\n(I1\nltR.",
    "objects in an array": lambda path: pickle.dumps(np.array([Calls(os.system, _touch(path))], dtype=object), 2),
    "a call as a label": lambda path: pickle.dumps({b"data": 1, b"labels": [Calls(os.system, _touch(path))]}, 2),
    "a call as a key": lambda path: pickle.dumps({"x": {Calls(os.system, _touch(path)): 1}}, 2),
    "a call behind everything": lambda path: GOOD[:-1] + pickle.dumps(Calls(os.system, _touch(path)), 2),
    "a call that is thrown away": lambda path: b"\x80\x02cos\nsystem\n" + _short(_touch(path)) + b"\x85R0" + GOOD[2:],
    "a second name of the allowed": lambda path: b"cnumpy\ndtype\n0cos\nsystem\n(V" + _touch(path).encode() + b"\ntR.",
}
"""Each makes a file where nobody looks: a plain unpickler shows that it would."""


@pytest.mark.parametrize("name", EXECUTED)
def test_what_a_pickle_would_do_is_not_done(name: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    content = EXECUTED[name](touched)
    for read in (unpickle, lambda data: read_batches({"data_batch_1": data}, b"labels")):
        with kept_to(), pytest.raises(DataCorrupt) as caught:
            read(content)
        one_line(caught.value)
        assert not touched.exists()
    pickle.loads(content, encoding="bytes")
    assert touched.exists(), "a payload that does nothing proves nothing"


REFUSED: dict[str, bytes] = {
    "a persistent id": b"Pos.system\n.",
    "a persistent id from the stack": b"Vos.system\nQ.",
    "a class made anew": b"\x80\x02csubprocess\nPopen\n(Vid\nt\x81.",
    "a class made anew by names": b"\x80\x04csubprocess\nPopen\n(Vid\nt}\x92.",
    "an allowed name made anew": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "an allowed name that is changed": b"cnumpy\ndtype\n}Vsystem\nVx\nsb.",
    "an array that is called": GOOD[:-1] + b")R.",
    "a type of objects": pickle.dumps(np.array([[1, "x"]], dtype=object), 2),
    "a type of numbers": pickle.dumps(np.zeros(3), 2),
    "a type with fields": pickle.dumps(np.zeros(3, [("a", "u1"), ("b", "O")]), 2),
    "a memory map": b"cnumpy\nmemmap\n(V/etc/passwd\ntR.",
    "a file read by numpy": b"cnumpy\nfromfile\n(V/etc/passwd\ntR.",
    "a pickle read by numpy": b"cnumpy\nload\n(V/tmp/x\nNI01\ntR.",
    "a scalar, which unpickles": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(VO8\nI0\nI1\ntRVx\ntR.",
    "an array of another kind": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmemmap\n(I0\ntVb\ntR.",
    "attributes of what is allowed": b"\x80\x04" + _short("numpy") + _short("ndarray.tofile") + b"\x93.",
    "a module that is none": b"c../../x\ny\n.",
    "an extension": b"\x80\x02\x82\x01Vtouch x\n\x85R.",
    "a buffer from elsewhere": b"\x80\x05\x97.",
    "a list that is set": b"]}Vappend\nVx\nsb.",
    "a label that is true": on_disk.cifar(ROWS, [3]).replace(b"J\x03\x00\x00\x00", b"\x88"),
    "a label beyond all": on_disk.cifar(ROWS, [2**30]),
    "rows of another length": on_disk.cifar(ROWS[:, :100], [3]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_bytes_is_one_line(name: str) -> None:
    with kept_to(), pytest.raises(DataCorrupt, match=r"^data_batch_1: ") as caught:
        read_batches({"data_batch_1": REFUSED[name]}, b"labels")
    one_line(caught.value)


def test_an_extension_that_somebody_has_registered_and_used_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle may name it by a number, and what was found once is found again without being asked for."""
    touched = tmp_path / "touched"
    content = b"\x80\x02\x82\xf0" + _short(_touch(touched)) + b"\x85R."
    copyreg.add_extension("posix", "system", 0xF0)
    try:
        pickle.loads(content)
        assert touched.exists()
        touched.unlink()
        with kept_to(), pytest.raises(DataCorrupt):
            unpickle(content)
        assert not touched.exists()
    finally:
        copyreg.remove_extension("posix", "system", 0xF0)


def laughs(levels: int = 60) -> bytes:
    """Lists of the same list twice: short as they stand, endless when they are told."""
    return b"]q\0" + b"".join(b"](h%ch%ceq%c" % (level, level, level + 1) for level in range(levels))


BOMBS: dict[str, Callable[[], bytes]] = {
    "tuples in tuples as a key": lambda: b"\x80\x02})" + b"\x85" * 2_000_000 + b"K\x01s.",
    "tuples in tuples as a label": lambda: b"\x80\x02}Vlabels\n)" + b"\x85" * 2_000_000 + b"s.",
    "sets in sets": lambda: b"\x80\x04})" + b"(" * 100_000 + b")" + b"\x91" * 100_000 + b"K\x01s.",
    "lists in lists": lambda: b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists in lists as the type": lambda: b"cnumpy\ndtype\n(" + b"]" * 100_000 + b"a" * 99_999 + b"tR.",
    "dictionaries in dictionaries": lambda: b"}" + b"K\x01}" * 50_000 + b"s" * 50_000 + b".",
    "marks without an end": lambda: b"(" * 200_000 + b".",
    "laughs": lambda: b"\x80\x02" + laughs() + b".",
    "laughs as the type": lambda: b"\x80\x02cnumpy\ndtype\n(" + laughs() + b"tR.",
    "laughs as the labels": lambda: GOOD[:-1] + b"U\x06labels" + laughs() + b"s.",
    "laughs as a shape": lambda: _array(b"(" + laughs() + b"J\0\0\0\x40t", b"abc"),
    "a shape of texts": lambda: _array(b"(U\x03abcJ\0\0\0\x40t", b"abc"),
    "a memory of 2^31": lambda: b"Nr\xff\xff\xff\x7f.",
    "a memory of billions": lambda: b"Np99999999999\n.",
    "a memory of a number of 5,000 digits": lambda: b"Np" + b"9" * 5000 + b"\n.",
    "a number of 100,000 digits": lambda: b"L" + b"9" * 100_000 + b"L\n.",
    "a number of 2^31 bytes": lambda: b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a number of less than no bytes": lambda: b"\x80\x02\x8b\xff\xff\xff\xff.",
    "bytes that are promised": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    "text that is promised": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "changeable bytes that are promised": lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "a frame that is promised": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "a shape without an end": lambda: _array(b"(" + b"J\x00\x00\x00\x40" * 60 + b"t", b""),
    "a shape of nothing, billions of times": lambda: _array(b"(J\xff\xff\xff\x7fJ\x00\x00\x00\x00t", b""),
    "a shape of fractions": lambda: _array(b"(F1.5\nF2.0\nt", b"abc"),
    "a shape below zero": lambda: _array(b"(I-1\nI-3\nt", b"abc"),
    "a shape of itself": lambda: _array(b"}q\x07(h\x07h\x07u", b"abc"),
    "nothing": lambda: b"",
    "a page": lambda: b"<html>\n" * 100,
}


def _array(shape: bytes, content: bytes) -> bytes:
    """Return a pickled array whose state is what it is said to be."""
    whole = on_disk.cifar(ROWS, [3])
    start, end = whole.index(b"cnumpy.core"), whole.index(b"J\x01\x00\x00\x00(J") + 5
    dtype = whole[whole.index(b"cnumpy\ndtype") : whole.index(b"tb\x89") + 2]
    return b"\x80\x02" + whole[start:end] + shape + dtype + b"\x89U" + bytes([len(content)]) + content + b"tb."


def test_the_array_that_the_bombs_are_made_from_is_read() -> None:
    made = unpickle(_array(b"(K\x01K\x03t", b"abc"))
    assert made.values.tolist() == [[97, 98, 99]]


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line_and_takes_no_room(name: str) -> None:
    content = BOMBS[name]()
    tracemalloc.start()
    try:
        with kept_to(), pytest.raises(DataCorrupt, match=r"^data_batch_1: ") as caught:
            read_batches({"data_batch_1": content}, b"labels")
        assert tracemalloc.get_traced_memory()[1] < 2**26 + 200 * len(content)
    finally:
        tracemalloc.stop()
    one_line(caught.value)


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
NAMES = [*(f"{module}\n{name}\n" for module, name in ALLOWED), "os\nsystem\n", "builtins\neval\n", "numpy\nload\n"]
pieces = st.one_of(
    st.sampled_from(OPCODES),
    st.sampled_from(NAMES).map(lambda name: b"c" + name.encode()),
    st.sampled_from(NAMES).map(lambda name: b"".join(map(_short, name.split())) + b"\x93"),
    st.integers(0, 255).map(lambda number: b"K" + bytes([number])),
    st.integers(0, 3).map(lambda number: b"q" + bytes([number])),
    st.integers(0, 3).map(lambda number: b"h" + bytes([number])),
    st.sampled_from([b"u1", b"data", b"labels", b"touch x", b""]).map(lambda text: b"U" + bytes([len(text)]) + text),
    st.sampled_from([GOOD[2:-1], _array(b"(K\x01t", b"a")[2:-1], b")R", b"(t", b"tb", b"\x85R", b"}b", b"u", b"s"]),
    st.binary(max_size=4),
)


@lanes(short=800, full=20_000)
def test_any_opcodes_make_plain_things_or_one_line(
    examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = 0

    def check(parts: list[bytes]) -> None:
        nonlocal made
        with kept_to():
            found = outcome(lambda: [unpickle(b"\x80\x02" + b"".join(parts) + b".")])
        if not isinstance(found, str):
            made += 1
            assert type(found[0]).__module__ in ("builtins", "numpy", "tasks.datasets.cifar"), found
            assert not isinstance(found[0], type)

    fuzz(check, st.lists(pieces, max_size=10), examples=examples)
    assert made > examples / 200
    assert not list(tmp_path.iterdir())


def test_as_many_tuples_as_the_official_files_have_are_far_from_the_limit() -> None:
    assert sum(opcode.name.startswith("TUPLE") for opcode, _, _ in pickletools.genops(GOOD)) * 50 < MOST_TUPLES


UNPICKLERS = ("pickle", "_pickle", "cPickle", "pickle5", "cloudpickle", "dill", "joblib", "shelve", "marshal")
READERS = (
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package", "torch.serialization", "torch.export.load"),
    *("numpy.load", "numpy.core", "numpy.lib.npyio", "numpy.lib.format", "pandas.read_pickle", "ray.cloudpickle"),
    *("multiprocessing.reduction", "logging.config", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader", "polars.read_pickle", "polars.DataFrame.deserialize"),
)
ALONE = {"tasks/datasets/cifar.py": {"pickle", "pickle.Unpickler"}}
"""The one module that may, and what of it."""


def unpicklers(source: str) -> set[str]:
    """Return what a module names of all that reads pickles, or objects made as a file says, by the full names."""
    tree, known, found = ast.parse(source), dict[str, str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                found.add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            found.add(node.arg)
        elif isinstance(node, ast.Constant) and node.value in UNPICKLERS:
            found.add(str(node.value))
    found |= {name for node in ast.walk(tree) if (name := _dotted(node, known))}
    return {
        name
        for name in found
        if name in ("allow_pickle", "weights_only")
        or name.partition(".")[0] in UNPICKLERS
        or any(f"{name}.".startswith(f"{reader}.") for reader in READERS)
    }


def _dotted(node: ast.AST, known: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    if isinstance(node, ast.Attribute) and (inner := _dotted(node.value, known)):
        return f"{inner}.{node.attr}"
    return ""


def modules() -> Iterator[tuple[str, str]]:
    for package in (harness, tasks):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(folder.parent).as_posix(), path.read_text()


def test_nobody_else_reads_a_pickle() -> None:
    found = {name: names for name, source in modules() if (names := unpicklers(source))}
    assert found == ALONE


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads as x",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "from torch import load",
        "def f():\n    import numpy as np\n    return np.load('x')",
        "import numpy\nnumpy.lib.format.read_array(x)",
        "import numpy as np\nnp.loadtxt('x', allow_pickle=True)",
        "import ray\nray.cloudpickle.loads(x)",
        "from ray import cloudpickle",
        "import joblib.numpy_pickle",
        "__import__('pickle').loads(x)",
        "from importlib import import_module\nimport_module('dill')",
        "import yaml\nyaml.unsafe_load(x)",
        "import yaml\nyaml.load(x, Loader=yaml.FullLoader)",
        "import torch.jit as j\nj.load(x)",
    ],
)
def test_who_reads_one_would_be_found(source: str) -> None:
    assert unpicklers(source)


@pytest.mark.parametrize(
    "source",
    ["import numpy as np\nnp.loadtxt('x')", "import torch\ntorch.nn.Linear", "load('pickled')", "model.load(x)"],
)
def test_who_reads_none_is_not_accused(source: str) -> None:
    assert not unpicklers(source)


def test_names_of_the_allowed_stand_for_nothing_of_numpy() -> None:
    """Whatever a pickle is given by name is of this module and can do nothing else than it does there."""
    for module, name in ALLOWED:
        made = unpickle(f"c{module}\n{name}\n.".encode())
        assert type(made).__module__ == "tasks.datasets.cifar"
        assert not hasattr(made, "__dict__")
