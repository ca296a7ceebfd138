"""Views are rewritten piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from harness.store import InvalidRows, Rows, Store, UnknownTable
from harness.store import files as files_module


def ranking(study: str, *methods: str) -> pl.DataFrame:
    same = {"study": study, "group": "overall", "metric": "overall", "config": "default", "value": 1.0}
    return pl.DataFrame([same | {"method": method} for method in methods])


def methods(store: Store) -> list[tuple[str, str]]:
    return sorted(store.scan("rankings").select("study", "method").collect().rows())


def test_a_piece_is_replaced_and_the_others_stay(store: Store) -> None:
    store.replace("rankings", ranking("one", "a", "b"), {"study": "one"})
    store.replace("rankings", ranking("two", "a"), {"study": "two"})
    store.replace("rankings", ranking("one", "c"), {"study": "one"})
    assert methods(store) == [("one", "c"), ("two", "a")]
    assert len(store._files.find("tables/rankings", ".parquet")) == 2
    store.replace("rankings", ranking("one"), {"study": "one"})
    assert methods(store) == [("two", "a")]


def test_a_view_without_pieces_is_replaced_whole(store: Store) -> None:
    for metric in ("accuracy", "loss"):
        store.replace("definitions", pl.DataFrame({"metric": [metric], "unit": ["1"], "reference_value": [0.5]}), {})
    assert store.scan("definitions").select("metric", "label", "reference_value").collect().rows() == [
        ("loss", None, 0.5)
    ]


def test_a_replacement_that_dies_leaves_the_old_piece(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(root), write=True)
    store.replace("rankings", ranking("one", "a"), {"study": "one"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", full)
    with pytest.raises(files_module.RootNotWritable, match="No space left on device"):
        store.replace("rankings", ranking("one", "b"), {"study": "one"})
    assert methods(store) == [("one", "a")]
    assert not list(root.glob("**/.*.tmp"))


@pytest.mark.parametrize(
    ("table", "rows", "where", "message"),
    [
        ("units", ranking("one", "a"), {"study": "one"}, "units is filled by commits"),
        ("rankings", ranking("one", "a"), {}, "rankings is replaced by study, not by nothing"),
        ("rankings", ranking("one", "a"), {"study": "two"}, "rows with study other than 'two'"),
        ("rankings", ranking("one", "a", "a"), {"study": "one"}, "two rows with the key"),
        ("rankings", ranking("one", "a").rename({"value": "worth"}), {"study": "one"}, "no column 'worth'"),
    ],
)
def test_what_would_spoil_a_view_is_refused(
    store: Store, table: str, rows: pl.DataFrame, where: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidRows, match=message):
        store.replace(table, rows, where)
    with pytest.raises(UnknownTable):
        store.replace("ranking", rows, where)


def test_pools_may_come_from_a_unit_or_be_replaced(store: Store, make_rows: Callable[..., Rows]) -> None:
    pool = [{"dataset": "digits", "farm": "f", "pool": "clean", "index": index, "label": 1} for index in range(3)]
    store.commit("u", {"units": make_rows("u")["units"], "pools": pool})
    store.fold()
    store.replace(
        "pools",
        pl.DataFrame(pool).with_columns(pool=pl.lit("canary")),
        {"dataset": "digits", "farm": "f", "pool": "canary"},
    )
    assert store.scan("pools").collect().height == 6
