"""The dashboard of a head node, to which jobs go and which knows of those that were there."""

from __future__ import annotations

import re
import textwrap
from http.client import HTTPException
from typing import Any

from harness.schedule.cluster import NoRay
from harness.schedule.environment import environment
from harness.schedule.exposed import answers_all, warn

CHATTER = re.compile(r"^(.* -- Runtime env is setting up\.|Running entrypoint for job \w+: .*)\n", re.MULTILINE)
"""What Ray writes into the log of every job."""


def connect(address: str) -> Any:
    """Return Ray's client of a dashboard, or raise `NoRay` after ten seconds: Ray itself would wait for minutes.

    Warns of one that wants no token.
    """
    if not address.startswith(("http://", "https://")):
        raise NoRay(f"no Ray at {address}: jobs go to the dashboard of the head node; give http://HOST:8265")
    try:
        if answers_all(address):
            warn(address)
        from ray.job_submission import JobSubmissionClient

        with environment(RAY_API_SERVER_ADDRESS=address):  # else $RAY_ADDRESS would stand in for ours
            return JobSubmissionClient(address)
    except (HTTPException, ValueError, RuntimeError) as error:
        raise NoRay(f"no Ray at {address}: that is no dashboard of Ray; give http://HOST:8265") from error
    except Exception as error:
        raise NoRay(f"no Ray at {address}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return why Ray's client failed, and what would be right."""
    from ray.exceptions import AuthenticationError

    text = str(error) or type(error).__name__
    if isinstance(error, OSError):
        return f"{short(str(getattr(error, 'reason', text)))}; start its head node, or give the one that runs"
    if not isinstance(error, AuthenticationError):
        return short(text)
    if "Missing authentication token" in text:
        return "it wants a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    if "Invalid authentication token" in text:
        return "its token is another one; put it into RAY_AUTH_TOKEN, or its file into RAY_AUTH_TOKEN_PATH"
    return short(text.partition(" Ensure that")[0].rstrip("."))


def short(text: str) -> str:
    return textwrap.shorten(text, 300, placeholder=" ...")
