"""What an audit hands to whoever draws it: the schemas of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

_WHOSE = ("dataset", "architecture", "method", "config", "pool")


def _schema(text: Sequence[str], **others: Any) -> pl.Schema:
    return pl.Schema(dict.fromkeys(text, pl.String) | others)


def _numbers(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, pl.Float64)


ROC = _schema((*_WHOSE, "null"), **_numbers("fpr", "tpr", "low", "high"))
EFFECTS = _schema((*_WHOSE, "null"), example=pl.Int64, **_numbers("d", "se", "p_value"), flagged=pl.Boolean)
WORLDS = _schema(_WHOSE, example=pl.Int64, world=pl.String, phi=pl.Float64)
GROWTH = _schema((*_WHOSE, "null"), n=pl.Int64, **_numbers("value", "low", "high", "expected", "detectable"))
