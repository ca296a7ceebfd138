"""MLflow's client without its habits: no telemetry, nothing on the terminal, no waiting for minutes."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import HarnessError, one_line
from harness.tracking.address import Address
from harness.tracking.database import is_damage
from harness.tracking.errors import LATER, REBUILD, TrackingUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTINGS = {
    # It would send what is called, and from where, to its makers.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It would announce every experiment and database that it makes on standard error, and print tracebacks.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    # It would print the address of every run that ends on a server.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down would be asked 7 times, 120 s each, while a finished study waits.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
"""Environment variables that MLflow reads; those that a user has set stay."""

LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool")
MESSAGE_LENGTH = 200


@contextmanager
def open_client(address: Address) -> Iterator[MlflowClient]:
    """Yield a client of an address; whatever MLflow raises inside becomes TrackingUnavailable."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient

        with _hushed():
            yield MlflowClient(address.uri)
    except HarnessError:
        raise
    except Exception as error:  # of MLflow, its database, the network, the disk, a bucket for artifacts
        why = _cause(error).replace(address.uri, address.shown)
        right = REBUILD if address.file and is_damage(why) else LATER
        raise TrackingUnavailable(f"MLflow at {address.shown}: {why}; {right}") from error


@contextmanager
def _hushed() -> Iterator[None]:
    """Let nothing through, also where somebody else imported MLflow first: an error is raised as well, in one line."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """Return what is at the bottom of an error: what MLflow says of it is long, and does not come to the point."""
    from urllib3.exceptions import HTTPError

    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None and below not in chain:
        chain.append(below)
    deep = [one for one in chain if isinstance(one, OSError | sqlite3.Error | HTTPError)]
    text = one_line(deep[-1] if deep else error)
    return text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "…"
