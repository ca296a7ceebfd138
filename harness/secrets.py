"""Passwords and keys come in URIs and in variables of the environment; nothing that is printed or stored has them."""

from __future__ import annotations

import os
import re

HIDDEN = "***"
SHORTEST = 8  # a shorter value would be found in words that are no secret

_USER = re.compile(
    r"""(?<=://)[^\s/@'"]{1,999}@"""
    # Where somebody forgot to write a / of the password as %2F; but not a port and a path with an @.
    r"""|(?<=://)[^\s/@:'"]{1,99}:(?!\d+[/\s])[^\s@'"]{1,999}@"""
    r"""|(?<=s3://)[^\s/@:'"]{1,99}:[^\s@'"]{1,999}@"""
)
"""User and password before a host."""
_WORDS = "secret|token|password|passwd|signature|credential|access_?key|api_?key"
_OPTION = re.compile(rf"(?<=[?&])([\w.-]*(?:{_WORDS})[\w.-]*)=[^&\s'\"]+", re.IGNORECASE)
_NAME = re.compile(_WORDS, re.IGNORECASE)
_NO_VALUE = re.compile(r"_(PATH|FILE|MODE|URL|URI|ENDPOINT)$", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return a text without the users and passwords of the URIs in it and without the secrets of the environment."""
    text = _OPTION.sub(rf"\1={HIDDEN}", _USER.sub("", text))
    for value in _values():
        text = text.replace(value, HIDDEN)
    return text


def has_secrets(text: str) -> bool:
    """Say whether a text holds what `without_secrets` takes away."""
    return without_secrets(text) != text


def _values() -> list[str]:
    """Return the secrets of the environment, the longest first: one may be part of another."""
    named = {value for name, value in os.environ.items() if _NAME.search(name) and not _NO_VALUE.search(name)}
    secrets = (value for value in named if len(value) >= SHORTEST and not os.path.exists(value))
    return sorted(secrets, key=len, reverse=True)
