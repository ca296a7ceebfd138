"""MLflow as a view of the tables, deleted and rebuilt at any time. The only room that imports mlflow.

```python
sync(plan, store)            # a plan or its stored document; what MLflow says already is not touched
sync_stored(store)           # every plan of a root
```

Importing this costs no MLflow: whatever writes loads it.
"""

from __future__ import annotations

from harness.tracking.address import Address, find_address
from harness.tracking.errors import NoSuchStudy, TrackingUnavailable
from harness.tracking.server import serve
from harness.tracking.sync import SyncReport, sync, sync_stored

__all__ = [
    "Address",
    "NoSuchStudy",
    "SyncReport",
    "TrackingUnavailable",
    "find_address",
    "serve",
    "sync",
    "sync_stored",
]
