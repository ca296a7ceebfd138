"""What can go wrong with a root: every error is one line that says what would be right."""

from __future__ import annotations

from harness.errors import HarnessError

REMEDY = "harness run STUDY repairs it"
"""What a message says that names a damaged file, or one that is gone."""


class StoreError(HarnessError):
    """Any failure of the store."""


class RootInvalid(StoreError):
    """The root cannot be a root: unknown scheme, not a folder, unreachable."""


class RootNotWritable(StoreError):
    """Something had to be written and could not be."""


class StoreCorrupt(StoreError):
    """A stored file is torn or altered; the message names it."""


class SchemaMismatch(StoreError):
    """A commit holds a table or a column that this version does not know."""


class InvalidRows(StoreError):
    """Rows do not fit the schema or the key of their table."""


class UnknownTable(StoreError):
    """There is no table of that name."""


class UnknownPlan(StoreError):
    """No plan of that id is stored."""


class ModelMissing(StoreError):
    """No weights are stored for that unit."""


class ModelCorrupt(StoreCorrupt):
    """Stored weights do not have the digest that they were stored with."""


class LeaseHeld(StoreError):
    """Another driver runs this plan."""


class LeaseLost(StoreError):
    """Another driver took this plan over."""


class QueryRefused(StoreError):
    """The statement is not one SELECT over known tables, or it cannot be executed."""
