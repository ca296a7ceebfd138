"""Whether a cluster lets everybody in: Ray runs the code of whoever reaches its ports, unless it wants a token."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

from harness.secrets import without_secrets

ANSWER_SECONDS = 10.0
MODE = "RAY_AUTH_MODE"


def answers_all(address: str) -> bool:
    """Say whether a dashboard tells its jobs to one without token and password.

    Raises OSError where nothing answers, HTTPException or ValueError for what is no web server.
    """
    parts = urlsplit(address)
    open_to_all = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], f"{parts.path}/api/jobs/", "", ""))
    with suppress(HTTPError), urlopen(open_to_all, timeout=ANSWER_SECONDS) as answer:
        # The page of a login is no answer.
        return bool(answer.status == 200 and answer.headers.get_content_type() == "application/json")
    return False


def takes_all(dashboard: str | None) -> bool:
    """Say whether the cluster that this process has joined takes everybody; `dashboard` is what Ray calls its web UI.

    It took this process without a token, or its dashboard would: where it can be asked, since most listen on their own
    machine alone.
    """
    if os.environ.get(MODE, "").lower() != "token":
        return True
    with suppress(OSError, HTTPException, ValueError):
        return bool(dashboard) and answers_all(f"http://{dashboard}")
    return False


@cache
def warn(address: str) -> None:
    """Say that a cluster takes everybody, and what would be right; once in a process, however often it connects."""
    warnings.warn(
        f"the Ray cluster at {without_secrets(address)} wants no token: whoever reaches its ports can run code on it; "
        f"make a token (ray get-auth-token --generate) and start its nodes with {MODE}=token",
        stacklevel=2,
    )
