"""Where MLflow is: a server, or a database beside the results."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.secrets import without_secrets
from harness.tracking.errors import LATER, TrackingUnavailable

SQLITE = "sqlite:///"


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
        return without_secrets(self.uri)

    @property
    def file(self) -> str | None:
        """The path of the SQLite file, if it is one."""
        return self.uri.removeprefix(SQLITE) if self.uri.startswith(SQLITE) else None


def find_address(root: str, tracking_uri: str | None = None) -> Address:
    """Return `tracking_uri`, else $MLFLOW_TRACKING_URI, else a SQLite database in the root.

    Artifacts are beside the results too, or, where the root is no folder of this machine, beside the database.
    Raises TrackingUnavailable for a remote root without a tracking URI: SQLite needs a local disk.
    """
    is_local = "://" not in root
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and not is_local:
        right = "set MLFLOW_TRACKING_URI to a server, or to a file of this machine (sqlite:////FOLDER/mlflow.db)"
        raise TrackingUnavailable(f"root {root} is remote; {right}, then {LATER}")
    address = Address(uri or f"{SQLITE}{root}/mlflow.db", None)
    if address.is_server:
        return address
    folder = root if is_local else os.path.dirname(os.path.abspath(address.file or "mlflow.db"))
    return Address(address.uri, f"{folder}/mlartifacts")
