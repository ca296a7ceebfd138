"""MLflow's client without its habits: no telemetry, nothing on the terminal, no waiting for minutes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.tracking.address import Address
from harness.tracking.errors import LATER, TrackingUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTINGS = {
    # It would send what is called, and from where, to its makers.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It would announce every experiment and database that it makes, on standard error.
    "MLFLOW_LOGGING_LEVEL": "ERROR",
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
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _hushed():
            yield MlflowClient(address.uri)
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        raise TrackingUnavailable(f"MLflow at {address.shown}: {_cause(error, address)}; {LATER}") from error


@contextmanager
def _hushed() -> Iterator[None]:
    """Let through errors only, also where somebody else imported MLflow first."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _cause(error: Exception, address: Address) -> str:
    text = " ".join(str(error).split()).replace(address.uri, address.shown)
    return text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "…"
