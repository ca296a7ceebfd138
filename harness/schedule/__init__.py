"""Units on all cores of this machine or on a Ray cluster; the only room that knows Ray.

```python
with connect(Cluster(address="auto"), log="ray.log") as session:
    probe_root(session, "s3://bucket/runs")
    run_units(units, root="s3://bucket/runs", attempts={}, report=print, session=session)
```

Importing it is cheap: Ray, which takes seconds, comes with `connect`.
"""

from __future__ import annotations

from harness.process.deaths import WorkerDied
from harness.schedule.cluster import Cluster, Node, NoRay, Session, connect
from harness.schedule.demand import InvalidResources, NoRoom
from harness.schedule.endings import Report, WorkerInfo, WorkerUnfit
from harness.schedule.probe import RootNotShared, probe_root
from harness.schedule.run import run_units

__all__ = [
    "Cluster",
    "InvalidResources",
    "NoRay",
    "NoRoom",
    "Node",
    "Report",
    "RootNotShared",
    "Session",
    "WorkerDied",
    "WorkerInfo",
    "WorkerUnfit",
    "connect",
    "probe_root",
    "run_units",
]
