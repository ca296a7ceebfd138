"""Errors that a user can cause: one line each, what is wrong and what would be right."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Sequence

from harness.secrets import without_secrets

MOST_CHARACTERS = 1500
"""Of what an error says: names and values that it repeats may be megabytes long."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class HarnessError(Exception):
    """A question or an environment that cannot be served; the command line prints it and exits with 2.

    Whatever a file or a name put into its message, that is one line of at most `MOST_CHARACTERS`, no terminal obeys
    any of it, and it tells no secret.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(as_line(message))


def printable(text: str) -> str:
    """Return the text with control characters made visible: terminals obey some, SVG forbids some, others reorder
    what follows."""
    return _CONTROL.sub("\ufffd", text)


def as_line(text: str) -> str:
    """Return a text in one line without secrets and control characters; a long one loses its middle: what is wrong
    stands first, what would be right last."""
    line, half = printable(" ".join(without_secrets(text).split())), MOST_CHARACTERS // 2
    return line if len(line) <= MOST_CHARACTERS else f"{line[: half - 1]}…{line[-half:]}"


def one_line(error: BaseException) -> str:
    """Return what an error says in one line, without secrets, or its name where it says nothing."""
    return " ".join(without_secrets(str(error)).split()) or type(error).__name__


_CURES = {
    errno.ENOSPC: "make room; what is finished is kept, the same command goes on",
    errno.EDQUOT: "make room, or ask for more; what is finished is kept, the same command goes on",
    errno.EROFS: "mount it for writing, or give another place",
    errno.ENOTDIR: "a part of it is a file; give another place",
    errno.EACCES: "allow this user to, or give another place",
    errno.ENOLCK: "a folder that several processes write needs locks; mount it with them, or give another place",
}


def cause(error: OSError) -> str:
    """Return in one line why the system did not do what it was asked, and what would be right where that is known."""
    text = one_line(error)
    return f"{text}; {_CURES[error.errno]}" if error.errno in _CURES else text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, else the known names themselves."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def first_of(lines: Sequence[str], most: int = 10) -> list[str]:
    """Return the lines, or of many the first and how many more there are."""
    more = len(lines) - most
    return [*lines] if more <= 0 else [*lines[:most], f"and {more} more"]
