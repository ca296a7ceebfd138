"""What every parser is judged by: a right result or one line, and nothing outside its folder touched."""

from __future__ import annotations

import ctypes
import io
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import tiny_study
from hypothesis import HealthCheck, given, settings
from tiny_study import Answer

from harness.errors import MOST_CHARACTERS, HarnessError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal or a reader of lines obeys."""
ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\n\x00"
"""Clears a terminal, names its window, colours it, turns the text round, begins a line anew."""
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></style></title></svg>]]>--><a href=javascript:x>"
BAD_NAMES = (
    *("", ".", "..", "/", "../../x", "a/b", "/etc/passwd", "~", "-rf", "--help", ".hidden", "x.", "x" * 300),
    *(
        "nul\0",
        "line\nbreak",
        ESCAPE,
        MARKUP,
        "%2e%2e%2f",
        "..\\..\\x",
        "a b",
        "ﬁ",
        "\u202ex",
        "$(touch x)",
        "*",
        "con",
    ),
)
"""Names that would be another file, or none, if anybody made a path of them."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_NEVER = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "urllib.Request"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("pickle.find_class", "webbrowser.open"),
)
Result = TypeVar("Result")
_listening: list[Callable[[str, tuple[Any, ...]], None]] = []


def lanes(short: int, full: int) -> pytest.MarkDecorator:
    """Give a test its number of `examples`: few in `make test`, many in `make test-slow`."""
    return pytest.mark.parametrize("examples", [short, pytest.param(full, marks=pytest.mark.slow)])


def fuzz(check: Callable[..., None], *strategies: Any, examples: int) -> None:
    """Call `check` with drawn examples: in the short lane always the same ones."""
    found = settings(
        max_examples=examples,
        derandomize=examples < 1000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    found(given(*strategies)(check))()


def is_one_line(text: str) -> bool:
    """Say whether a message is one line that a terminal may show, of a bounded length."""
    return 0 < len(text) <= MOST_CHARACTERS and not CONTROL.search(text)


def one_line(error: HarnessError) -> str:
    """Return what an error says, which must be one line."""
    assert is_one_line(str(error)), repr(str(error))
    return str(error)


def outcome(question: Callable[[], Result]) -> Result | str:
    """Return the answer to a question, or the one line with which it is refused; nothing else may be raised."""
    try:
        return question()
    except HarnessError as error:
        return one_line(error)


class Terminal(io.StringIO):
    """A stream from which nobody takes escape sequences away: click does so where it writes to no terminal."""

    def isatty(self) -> bool:
        return True


def asked(*arguments: object) -> Answer:
    """Run a command as on a terminal."""
    return tiny_study.harness(*arguments, stream=Terminal)


def judge(answer: Answer) -> bool:
    """Say whether a command refused, in one line and with exit code 2; else it must be done, and its screen clean."""
    assert answer.code in (0, 2), answer
    assert not CONTROL.search(re.sub(r"[\n\t]", "", answer.out)), repr(answer.out)
    if answer.code == 0:
        return False
    assert answer.out == "", answer
    assert answer.err.startswith("harness: "), answer
    assert answer.err.endswith("\n"), answer
    assert is_one_line(answer.err[len("harness: ") : -1]), repr(answer.err)
    return True


@contextmanager
def kept_to(*folders: Path) -> Iterator[list[str]]:
    """Fail if anything is written outside the folders, sent, started or unpickled inside the block; yield what was."""
    allowed, seen = tuple(os.path.realpath(folder) for folder in folders), list[str]()

    def is_inside(path: Any) -> bool:
        if isinstance(path, int):
            return True
        real = os.path.realpath(os.fsdecode(path))
        return real == os.devnull or "__pycache__" in real or real.startswith(allowed)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NEVER or (event == "open" and (arguments[2] or 0) & _WRITES and not is_inside(arguments[0])):
            seen.append(f"{event} {arguments!r}")
        elif event in _CHANGES:
            seen.extend(f"{event} {path!r}" for path in arguments[:2] if _is_path(path) and not is_inside(path))

    _install()
    _listening.append(listen)
    try:
        yield seen
    finally:
        _listening.remove(listen)
    assert not seen, seen


def _is_path(value: Any) -> bool:
    return isinstance(value, str | bytes | os.PathLike)


def _install() -> None:
    """Begin to listen, once: a hook stays until the process ends."""
    if not hasattr(sys, "_harness_listens"):
        sys.addaudithook(lambda event, arguments: [listen(event, arguments) for listen in _listening] and None)
        sys._harness_listens = True  # type: ignore[attr-defined]


class Guarded:
    """A folder of which the kernel tells whether anybody opens, makes or changes a file in it, in any language."""

    _EVENTS = 0x20 | 0x2 | 0x100 | 0x200 | 0x40 | 0x80  # open, modify, create, delete, moved from and to
    _FOLDER = 0x40000000
    _HEAD = struct.Struct("iIII")

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._descriptor >= 0
        assert self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), self._EVENTS) >= 0

    def touched(self) -> bool:
        """Say whether anybody did since the last question; to look what is there is nothing."""
        try:
            told = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return False
        place, masks = 0, []
        while place < len(told):
            _, mask, _, length = self._HEAD.unpack_from(told, place)
            masks.append(mask)
            place += self._HEAD.size + length
        return any(not mask & self._FOLDER for mask in masks)

    def close(self) -> None:
        os.close(self._descriptor)


def listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every path below a folder with its mode and content; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = mode, content
    return found
