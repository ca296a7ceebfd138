"""The SQL of `query`: whatever is asked, nothing outside the tables is read or written, and there is an end."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
from hypothesis import strategies as st
from tiny_hostile import ESCAPE, Guarded, asked, fuzz, judge, kept_to, lanes, listing, outcome

from harness.cli import bounded
from harness.store import SCHEMAS, Store, query
from harness.store import sql as sql_module

CANARY = "CANARY-7c41"


class Bait:
    """Files that hold a secret in every format that polars reads, and a port at which somebody listens."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        frame = pl.DataFrame({"secret": [CANARY]})
        frame.write_csv(folder / "bait.csv")
        frame.write_parquet(folder / "bait.parquet")
        frame.write_ipc(folder / "bait.ipc")
        frame.write_ndjson(folder / "bait.ndjson")
        (folder / "bait.json").write_text(frame.write_json())
        self.files = [str(path) for path in sorted(folder.iterdir())]
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        self.urls = [f"http://127.0.0.1:{port}/bait.csv", f"https://127.0.0.1:{port}/x", f"s3://127.0.0.1:{port}/x"]
        self.guard = Guarded(folder)

    def taken(self) -> bool:
        """Say whether anybody opened a file or asked the port since the last question."""
        return self.guard.touched() or bool(select.select([self.listener], [], [], 0)[0])


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bait]:
    made = Bait(tmp_path_factory.mktemp("outside") / "bait")
    yield made
    made.guard.close()
    made.listener.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A root with a unit and a metric."""
    made = Store.open(str(tmp_path / "runs"), write=True)
    same = {"unit": "a", "kind": "unlearn", "dataset": "digits", "scenario": "random:0.1", "architecture": "cnn_small"}
    same |= {"method": "ct", "config": "default", "seed": 0, "attempt": 1}
    rows = {"units": [same | {"status": "done"}], "metrics": [same | {"part": "test", "metric": "m", "value": 0.5}]}
    made.commit("a", rows)
    made.fold()
    return made


READERS = [
    f"{verb}_{kind}" for verb in ("read", "scan", "load") for kind in ("csv", "parquet", "ipc", "json", "ndjson")
]
READERS += [
    "READ_CSV",
    "Read_Parquet",
    '"read_csv"',
    "read_csv_auto",
    "r\u0435ad_csv",
    "read_text",
    "read_blob",
    "glob",
]
READERS += [
    "main.read_csv",
    "read_lines",
    "read_delta",
    "scan_iceberg",
    "parquet_scan",
    "query",
    "sniff_csv",
    "url",
    "file",
]
FUNCTIONS = [
    *("abs", "lower", "length", "count", "sum", "median", "coalesce", "unnest", "date", "regexp_like", "strptime")
]
FUNCTIONS += [
    *("getenv", "pg_read_file", "load_extension", "system", "current_setting", "read_csv", "no_such", "version")
]
BETWEEN = ("", " ", "/**/", "--\n")
STATEMENTS = (
    *(
        "{query}",
        "{query};",
        "{query}; {query}",
        "explain {query}",
        "describe {query}",
        "({query})",
        "/* {query}",
        "{query} --",
    ),
    *("create table x as {query}", "create view units as {query}", "insert into units {query}", "drop table units"),
    *("copy ({query}) to {file}", "copy units from {file}", "attach {file}", "install httpfs", "load {file}"),
    *("set x = {file}", "pragma table_info({file})", "call {reader}({file})", "delete from units", "truncate units"),
    *("update units set unit = {file}", "show tables", "export database {file}", "import database {file}", "use x"),
    *("with x as ({query}) {query}", "with units as (from {reader}({file})) {query}", "from {file}", "table {file}"),
    *("prepare x as {query}", "merge into units using ({query}) y on true when matched then delete", "values ({file})"),
    *("with recursive units as ({query} union all {query}) {query}", "{query} into outfile {file}", "begin; {query}"),
)


@st.composite
def statements(draw: st.DrawFn, files: list[str]) -> str:
    """A statement over known tables, unknown ones, files, addresses and functions that read them."""
    depth = 0

    def one(options: Any) -> str:
        return draw(st.sampled_from(list(options)))

    def file() -> str:
        quote = one(["'", "'", '"', "`", "$$", "e'"])
        return f"{quote}{one(files)}{quote.removeprefix('e')}"

    def source() -> str:
        nonlocal depth
        depth += 1
        kinds = [*["table"] * 6, "file", "reader", "query", "values", "odd"]
        kind = one(kinds if depth < 8 else ["table"])
        if kind == "table":
            return one(
                [*["units"] * 9, *SCHEMAS, "x", '"units"', "UNITS", "main.units", "units u", "trials", "un\u0131ts"]
            )
        if kind == "file":
            return file()
        if kind == "reader":
            return f"{one(READERS)}{one(BETWEEN)}({file()})"
        if kind == "values":
            return f"(values ({file()}), (1)) v(a)"
        if kind == "odd":
            return one(
                [f"unnest([{file()}]) z", f"lateral (select {file()}) l", f"table({one(READERS)}({file()}))", "()"]
            )
        return f"({select_()}) s{depth}"

    def expression() -> str:
        nonlocal depth
        depth += 1
        kinds = [*["column"] * 6, "literal", "call", "query", "case", "cast"]
        kind = one(kinds if depth < 10 else ["column"])
        if kind == "column":
            return one(
                ["unit", "value", "secret", "*", "1", "null", "u.unit", "a", '"unit"', "unit[1]", "columns('.*')"]
            )
        if kind == "literal":
            return one(
                [file(), "0x1f", "1e400", "date '2020-13-01'", "interval '1 day'", "[1, 2]", "'\\'", "''''", "?", "$1"]
            )
        if kind == "call":
            return f"{one(FUNCTIONS)}({expression()})"
        if kind == "query":
            return f"({select_()})"
        if kind == "case":
            return f"case when {expression()} = 1 then {expression()} end"
        return f"cast({expression()} as {one(['int', 'text', 'blob', 'uuid', 'struct(a int)'])})"

    def select_() -> str:
        tail = one(
            ["", f" where {expression()} in ({expression()})", " group by 1", " order by 1", " limit 3", " qualify 1"]
        )
        join = one(["", "", f" join {source()} on true", f", {source()}", f" natural join {source()}"])
        union = one(["", "", f" union all select {expression()} from {source()}"])
        return f"select {expression()}, {expression()} from {source()}{join}{tail}{union}"

    known = {"query": select_(), "file": file(), "reader": one(READERS)}
    text = one([*[STATEMENTS[0]] * 40, *STATEMENTS]).format(**known)
    return text.swapcase() if draw(st.booleans()) and draw(st.booleans()) else text


@lanes(short=300, full=15_000)
def test_no_statement_reaches_anything_but_the_tables(examples: int, store: Store, bait: Bait, tmp_path: Path) -> None:
    before, answered = listing(tmp_path), 0
    query(store, "select * from units join metrics using (unit)")

    def check(sql: str) -> None:
        nonlocal answered
        with kept_to():
            found = outcome(lambda: query(store, sql))
        assert not bait.taken()
        answered += isinstance(found, pl.DataFrame)
        assert CANARY not in str(found)
        assert CANARY not in (found.write_ndjson() if isinstance(found, pl.DataFrame) else "")

    fuzz(check, statements([*bait.files, *bait.urls, "/etc/passwd", "/proc/self/environ"]), examples=examples)
    assert listing(tmp_path) == before
    assert answered > 0, "some are questions that may be asked"


@lanes(short=200, full=6000)
def test_any_text_is_answered_or_refused_in_one_line(examples: int, store: Store) -> None:
    words = [
        "select ",
        "from ",
        "units",
        "*",
        "(",
        ")",
        "'",
        '"',
        "--",
        "/*",
        "*/",
        ";",
        ",",
        "with ",
        "as ",
        "1",
        "\n",
        ".",
    ]
    text = st.one_of(
        st.text(max_size=30), st.lists(st.sampled_from([*words, ESCAPE, "é", "\ud800", "\0"])).map("".join)
    )

    def check(sql: str) -> None:
        outcome(lambda: query(store, sql))

    fuzz(check, text, examples=examples)


def test_what_reads_files_is_known_to_the_second_lock(bait: Bait, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table function that polars has today; a new one that is not refused by its name fails this test."""
    open_to = []
    for name in {reader.strip('"') for reader in READERS} | set(FUNCTIONS):
        for file in bait.files:
            try:
                frame = pl.SQLContext(register_globals=False).execute(f"select * from {name}('{file}')", eager=True)
            except pl.exceptions.PolarsError:
                continue
            assert CANARY in str(frame)
            open_to.append(name)
    assert bait.taken()
    assert {name.lower() for name in open_to} == {"read_csv", "read_parquet", "read_ipc", "read_json", "read_ndjson"}
    assert all(sql_module._READER.search(name) for name in open_to)


DEEP = {
    "parentheses": "select " + "(" * 2000 + "1" + ")" * 2000,
    "negations": "select " + "not " * 3000 + "true",
    "signs": "select " + "- " * 3000 + "1",
    "a sum": "select " + " + ".join(["1"] * 20_000),
    "a text of many": "select " + " || ".join(["'a'"] * 10_000),
    "conditions": "select * from units where " + " or ".join(["seed = 1"] * 9000),
    "queries": "select * from " + "(select * from " * 500 + "units" + ") t" * 500,
    "cases": "select " + "case when true then " * 1000 + "1" + " end" * 1000,
    "calls": "select " + "abs(" * 1000 + "1" + ")" * 1000,
    "lists": "select " + "[" * 2000 + "]" * 2000,
    "unions": " union all ".join(["select unit from units"] * 4000),
    "100,001 characters": "select '" + "x" * 100_000 + "'",
    "a recursion": "with recursive r as (select 1 as n union all select n + 1 from r) select * from r",
}


@pytest.mark.parametrize("name", DEEP)
def test_what_is_too_deep_or_without_an_end_is_refused_before_it_is_tried(name: str, store: Store) -> None:
    begun = time.monotonic()
    assert isinstance(outcome(lambda: query(store, DEEP[name])), str)
    assert time.monotonic() - begun < 20


def test_what_is_as_deep_as_anybody_asks_is_answered(store: Store) -> None:
    many = " or ".join(f"seed = {n}" for n in range(200))
    assert query(store, f"select unit from units where {many}").rows() == [("a",)]
    assert query(store, "select " + "(" * 15 + "1" + ")" * 15 + " as x").rows() == [(1,)]


DOUBLED = ", ".join(["c0 as (select 1 as a)", *(f"c{n + 1} as (select x.a from c{n} x, c{n} y)" for n in range(40))])
GREEDY = {
    "a list of ten billion": "select range(0, 10000000000)",
    "a text of ten billion": "select lpad('a', 10000000000, 'b')",
    "joins that double": f"with {DOUBLED} select count(*) from c40",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if "text" in n else []) for n in GREEDY])
def test_what_takes_too_long_or_too_much_is_stopped(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "_half_of_memory", lambda: 1.2e9)
    answer = asked("query", GREEDY[name], "--root", store.uri, "--seconds", 4)
    assert judge(answer)
    assert re.search("the statement has no answer: it was (stopped (after 4 s|at 1.2 GB)|ended by SIG)", answer.err)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('BAIT')",
        "explain select 1",
        *(
            pytest.param(sql, marks=pytest.mark.slow)
            for sql in ("call x()", "select 'a", "\ud800", ESCAPE, "select \0")
        ),
    ],
)
def test_the_command_refuses_in_one_line_too(sql: str, store: Store, bait: Bait) -> None:
    assert judge(asked("query", sql.replace("BAIT", bait.files[0]), "--root", store.uri))
    assert not bait.taken()


def test_a_statement_is_executed_by_the_installed_harness_wherever_one_stands(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of somebody else's may hold modules of the names of ours."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("polars", "json", "harness", "click", "sitecustomize"):
        (here / f"{name}.py").write_text(f"open({str(here / 'touched')!r}, 'w').close()\n")
    monkeypatch.chdir(here)
    answer = asked("query", "select unit from units", "--root", store.uri, "--format", "csv")
    assert (answer.code, answer.out) == (0, "unit\na\n")
    assert not (here / "touched").exists()


def test_what_a_table_says_is_not_obeyed_by_a_terminal(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "runs"), write=True)
    same = {"unit": "a", "kind": "unlearn", "dataset": "digits", "method": "ct", "config": ESCAPE, "attempt": 1}
    store.commit_failure("a", 1, {"failures": [same | {"phase": ESCAPE, "exception": "E", "message": ESCAPE}]})
    sql = "select message from failures"
    assert not judge(asked("query", sql, "--root", store.uri))
    raw = tiny_study.harness("query", sql, "--root", store.uri, "--format", "csv")
    assert ESCAPE in raw.out, "a program gets what is there"
