"""MLflow as a view of the tables, deleted and rebuilt at any time. The only room that imports mlflow.

```python
sync(plan, store)            # a plan or its stored document; what MLflow says already is not touched
sync_stored(store)           # every plan of a root
find_run(address, run_id)    # which cell of which plan a run stands for; `trials_of` has its trials
```

Importing this costs no MLflow: whatever writes loads it.
"""

from __future__ import annotations

from harness.tracking.address import Address, find_address
from harness.tracking.errors import NoSuchRun, NoSuchStudy, TrackingUnavailable
from harness.tracking.lookup import TrackedRun, find_run, runs_of_plan
from harness.tracking.server import serve
from harness.tracking.sync import SyncReport, sync, sync_in_time, sync_stored
from harness.tracking.trials import TrialRow, find_unit, trials_of

__all__ = [
    "Address",
    "NoSuchRun",
    "NoSuchStudy",
    "SyncReport",
    "TrackedRun",
    "TrackingUnavailable",
    "TrialRow",
    "find_address",
    "find_run",
    "find_unit",
    "runs_of_plan",
    "serve",
    "sync",
    "sync_in_time",
    "sync_stored",
    "trials_of",
]
