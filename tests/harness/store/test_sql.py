"""SQL reads the tables of a root and nothing else in the world."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from harness.store import SCHEMAS, QueryRefused, Rows, Store, StoreCorrupt, query
from harness.store import sql as sql_module

ANSWERED = {
    "select method, avg(value) as v from metrics where part = 'test' group by method order by v": [
        ("ct", 0.25),
        ("finetune", 0.3125),
    ],
    "select u.unit, h.number from units u join hyperparameters h on u.unit = h.unit where h.name = 'lr'": [
        ("a" * 20, 0.5),
        ("b" * 20, 0.25),
        ("c" * 20, 0.125),
    ],
    "with best as (select unit from metrics where value > 0.2) select count(distinct unit) from best": [(2,)],
    "select count(*) from units where unit in (select unit from failures)": [(1,)],
    "select status as s from units where status = 'failed' union select exception as s from failures": [
        ("RuntimeError",),
        ("failed",),
    ],
    "select n from (select n, method from signals) s where method = 'ct' order by n": [(2,), (5,)],
    "select phi[1] from signals where pool = 'forget' and method = 'ct'": [(0.25,)],
    "select median(value) from metrics": [(0.25,)],
    'SELECT "unit" FROM "failures" -- a comment; with a semicolon\n;': [("d" * 20,)],
    "select a.x from (values (1), (2)) as a(x)": [(1,), (2,)],
}

REFUSED = [
    "select * from read_csv('{file}')",
    "select * from READ_CSV('{file}')",
    "select * from \"read_csv\"('{file}')",
    "select * from `read_csv`('{file}')",
    "select * from main.read_csv('{file}')",
    "select * from units cross join read_csv('{file}') as s",
    "select * from units, read_csv('{file}')",
    "select * from units join lateral read_csv('{file}') on true",
    "select * from units where unit in (select secret from read_csv('{file}'))",
    "select (select secret from read_csv('{file}')) from units",
    "with x as (select * from read_csv('{file}')) select * from x",
    "with read_csv as (select 1) select * from read_csv('{file}')",
    "select unit from units union all select secret from read_csv('{file}')",
    "select unit from units order by (select secret from read_csv('{file}'))",
    "select 'a\\' , (select secret from read_csv('{file}')) --'",
    "from read_csv('{file}')",
    "table read_csv('{file}')",
    "select * from read_parquet('{file}')",
    "select * from read_json('{file}')",
    "select * from read_ndjson('{file}')",
    "select * from read_ipc('{file}')",
    "select * from '{file}'",
    'select * from "{file}"',
    "select * from generate_series(1, 3)",
    "select * from other.units",
    "select * from information_schema.tables",
    "drop table units",
    "truncate table units",
    "delete from units",
    "insert into units values (1)",
    "update units set status = 'done'",
    "create table x as select * from units",
    "with x as (delete from units returning *) select * from x",
    "select * into x from units",
    "copy units to '{file}'",
    "attach '{file}'",
    "set a = 1",
    "show tables",
    "explain select * from units",
    "select 1; select 2",
    "select * from units; drop table units",
    "select * from",
    "select 'open from units",
    "",
    ";",
    "hello",
    "select nothing from units",
    "select no_such_function(unit) from units",
    "select unit + interval from units",
]


@pytest.mark.parametrize("sql", ANSWERED)
def test_questions_are_answered_before_and_after_a_fold(filled: Store, sql: str) -> None:
    assert sorted(query(filled, sql).rows()) == sorted(ANSWERED[sql])
    filled.fold()
    assert sorted(query(filled, sql).rows()) == sorted(ANSWERED[sql])


@pytest.mark.parametrize("second_lock", [True, False])
@pytest.mark.parametrize("sql", REFUSED)
def test_everything_else_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, second_lock: bool
) -> None:
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    if not second_lock:
        monkeypatch.setattr(sql_module, "_READER", re.compile("(?!)"))
    with pytest.raises(QueryRefused) as caught:
        query(Store.open(str(tmp_path)), sql.replace("{file}", f"{tmp_path}/secret.csv"))
    assert len(str(caught.value).splitlines()) == 1


def test_a_reader_is_refused_wherever_it_is_mentioned(store: Store) -> None:
    """Where comments nest in one parser and not in another, one of them sees a table function."""
    with pytest.raises(QueryRefused, match="read_csv is refused"):
        query(store, "select /* /* */ secret from read_csv('/etc/passwd') -- */ 1 from units")


def test_the_file_of_these_tests_could_be_read_without_the_gate(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    assert pl.sql(f"select * from read_csv('{tmp_path}/secret.csv')", eager=True).rows() == [(1,)]


def test_an_unknown_table_names_the_nearest_and_the_known(filled: Store) -> None:
    with pytest.raises(QueryRefused, match="no table 'metric'; did you mean 'metrics'"):
        query(filled, "select * from metric")
    with pytest.raises(QueryRefused, match=f"no table 'zzz'; known: {', '.join(sorted(SCHEMAS))}"):
        query(filled, "select * from zzz")


def test_only_the_named_tables_are_opened(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    scan: Callable[[Store, str], pl.LazyFrame] = Store.scan
    monkeypatch.setattr(Store, "scan", lambda self, table: opened.append(table) or scan(self, table))
    query(filled, "with c as (select * from metrics) select * from c join units using (unit)")
    assert sorted(opened) == ["metrics", "units"]


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_table_can_be_asked(filled: Store, table: str) -> None:
    assert query(filled, f"select * from {table}").columns == SCHEMAS[table].names


def test_damage_is_told_as_damage(root: Path, make_rows: Callable[..., Rows]) -> None:
    store = Store.open(str(root), write=True)
    store.commit("a", make_rows("a"))
    (root / "commits" / "a.arrow").write_bytes(b"torn")
    with pytest.raises(StoreCorrupt, match=r"a\.arrow is damaged"):
        query(store, "select * from units")
