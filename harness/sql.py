"""One SELECT over the tables of a root; what only `trials` needs is imported where a statement names it."""

from __future__ import annotations

import polars as pl

from harness.store import Store
from harness.store import query as query_store


def query(root: str | None, sql: str) -> pl.DataFrame:
    """Return the result of one SELECT over the tables of a root, `trials` among them.

    Raises `QueryRefused` for anything else and for what cannot be executed.
    """

    def trials() -> pl.LazyFrame:
        from harness.tables import results

        return results(root).lazy()

    return query_store(Store.open(root), sql, {"trials": trials})
