"""Where MLflow is: a server, or a database beside the results."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.tracking.errors import LATER, TrackingUnavailable

SQLITE = "sqlite:///"
LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Address:
    """A tracking URI, and where artifacts go if that is not for a server to decide."""

    uri: str
    artifacts: str | None

    @property
    def is_server(self) -> bool:
        """Whether it is a tracking server that runs already."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def shown(self) -> str:
        """The URI as it may be printed: without user and password."""
        host = urlsplit(self.uri).netloc
        return self.uri.replace(host, host.rpartition("@")[2], 1)

    @property
    def file(self) -> str | None:
        """The path of the SQLite file, if it is one."""
        return self.uri.removeprefix(SQLITE) if self.uri.startswith(SQLITE) else None


def find_address(root: str, tracking_uri: str | None = None) -> Address:
    """Return `tracking_uri`, else $MLFLOW_TRACKING_URI, else a SQLite database in the root.

    Raises TrackingUnavailable for a remote root without a tracking URI: SQLite needs a local disk.
    """
    is_local = "://" not in root
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and not is_local:
        raise TrackingUnavailable(f"root {root} is remote; set MLFLOW_TRACKING_URI to a server, then {LATER}")
    address = Address(uri or f"{SQLITE}{root}/mlflow.db", None)
    artifacts = f"{root}/mlartifacts" if is_local and not address.is_server else None
    return Address(address.uri, artifacts)


@contextmanager
def only_writer(address: Address) -> Iterator[None]:
    """Keep other processes from writing the same SQLite file; a server looks after itself.

    Raises TrackingUnavailable if another process writes for more than 10 s.
    """
    if address.file is None:
        yield
        return
    try:
        descriptor = os.open(f"{address.file}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise TrackingUnavailable(f"{address.file} cannot be written ({error.strerror}); {LATER}") from error
    try:
        _wait_for_lock(descriptor, address.file)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: str) -> None:
    import fcntl

    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise TrackingUnavailable(f"another process writes {path}; {LATER}") from error
            time.sleep(0.1)
