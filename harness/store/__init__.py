"""Everything that is kept: one root with commits, tables, models and plans.

```python
store = Store.open("runs", write=True)
store.commit(unit, {"units": [row], "metrics": rows})     # one object, whole or not at all
store.fold()                                              # commits -> Parquet parts
store.scan("metrics").filter(pl.col("method") == "ct")    # parts and commits, keys unique, lazy
query(store, "select method, avg(value) from metrics group by method")
```
"""

from __future__ import annotations

from harness.store.errors import (
    InvalidRows,
    LeaseHeld,
    LeaseLost,
    ModelCorrupt,
    ModelMissing,
    QueryRefused,
    RootInvalid,
    RootNotWritable,
    SchemaMismatch,
    StoreCorrupt,
    StoreError,
    UnknownPlan,
    UnknownTable,
)
from harness.store.lease import Lease, LeaseInfo
from harness.store.root import Store
from harness.store.rows import Row, Rows
from harness.store.scan import Ended
from harness.store.schemas import KEYS, SCHEMA_VERSION, SCHEMAS
from harness.store.sql import query

__all__ = [
    "KEYS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "Ended",
    "InvalidRows",
    "Lease",
    "LeaseHeld",
    "LeaseInfo",
    "LeaseLost",
    "ModelCorrupt",
    "ModelMissing",
    "QueryRefused",
    "RootInvalid",
    "RootNotWritable",
    "Row",
    "Rows",
    "SchemaMismatch",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "UnknownPlan",
    "UnknownTable",
    "query",
]
