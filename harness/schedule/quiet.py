"""Ray's chatter goes to a log file; the terminal is for the study."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class _Log(logging.FileHandler):
    """A log file that is no reason to stop or to complain: its disk may be full."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def quiet(log: str | None) -> Iterator[logging.Logger]:
    """Send what Ray logs to the file `log` (None: nowhere) and drop its warnings; yields Ray's logger."""
    import ray  # its own handlers come with the import
    from ray._private import worker

    logger = logging.getLogger(ray.__name__)
    handler = _Log(log, delay=True) if log else logging.NullHandler()
    handlers, propagate, printer = logger.handlers, logger.propagate, worker.print_to_stdstream
    logger.handlers, logger.propagate = [handler], False
    # Whenever a worker dies, Ray prints a paragraph to standard output, past its own logger.
    worker.print_to_stdstream = lambda data, ignore_prefix: logger.warning("\n".join(data["lines"]))
    # It misses a file of results for every single unit.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray(\.|$)")
            yield logger
    finally:
        logger.handlers, logger.propagate, worker.print_to_stdstream = handlers, propagate, printer
        handler.close()


@contextmanager
def standard_error() -> Iterator[Callable[[], str]]:
    """Catch what is written to standard error below Python; yields a function that returns it so far."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        terminal = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: _content(caught.fileno())
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def _content(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")
