"""SQL over the tables of a root, read-only.

The SQL of polars can read any file and call out over http (`read_csv('/etc/passwd')`), so a statement is
executed only if it is one SELECT whose every source is a known table or a name of its own WITH.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

from harness.errors import did_you_mean, one_line, printable
from harness.store.errors import QueryRefused
from harness.store.root import Store
from harness.store.schemas import SCHEMAS

if TYPE_CHECKING:
    from sqlglot import exp

# A second lock, on the text itself: it holds even where two parsers disagree about what a text means.
_READER = re.compile(r"\bread_\w+", re.IGNORECASE)

MOST_CHARACTERS, MOST_LEVELS = 100_000, 250
"""Of a statement: polars follows it by recursion, and one that is too deep ends the process."""

_SPACES = dict.fromkeys(map(ord, "\t\n\r"), " ")
_NONE: Mapping[str, Callable[[], pl.LazyFrame]] = MappingProxyType({})


def query(store: Store, sql: str, derived: Mapping[str, Callable[[], pl.LazyFrame]] = _NONE) -> pl.DataFrame:
    """Return the result of one SELECT over the tables of `store`, and those in `derived`, made if they are asked for.

    Raises `QueryRefused` for anything else, for an unknown table (with the nearest name) and for a statement
    that polars cannot execute; `StoreCorrupt` for a damaged file. How long it takes, and how much memory, only
    another process can bound: `harness query` has one.
    """
    names = _tables(sql, (*SCHEMAS, *derived))
    frames = {name: derived[name]() if name in derived else store.scan(name) for name in names}
    context = pl.SQLContext(frames, register_globals=False)
    try:
        return context.execute(sql, eager=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = one_line(error).partition(" Resolved plan until failure")[0]
        raise QueryRefused(f"the statement cannot be executed: {reason}") from error


def _tables(sql: str, known: Collection[str]) -> list[str]:
    """Return those of the known tables that `sql` reads; raise `QueryRefused` if it reads or does anything else."""
    from sqlglot import exp

    statement = _parse(sql)
    if reader := _READER.search(sql):
        raise QueryRefused(f"{reader[0]} is refused; a statement reads tables: {', '.join(known)}")
    if forbidden := statement.find(exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lateral):
        raise QueryRefused(f"only one SELECT is executed, and this holds {forbidden.key.upper()}")
    if any(one.args.get("recursive") for one in statement.find_all(exp.With)):
        raise QueryRefused("WITH RECURSIVE is refused: it need not have an end")
    own = {cte.alias for cte in statement.find_all(exp.CTE)}
    for source in statement.find_all(exp.From, exp.Join):
        if not isinstance(source.this, exp.Table | exp.Subquery | exp.Values | exp.Unnest):
            raise QueryRefused(f"{source.this.sql()!r} is no table; known: {', '.join(known)}")
    sources = {_name(table, known) for table in statement.find_all(exp.Table)}
    for name in sorted(sources - own - set(known)):
        raise QueryRefused(f"no table {name!r}{did_you_mean(name, known)}")
    return sorted(sources & set(known))


def _parse(sql: str) -> exp.Query:
    from sqlglot import errors, exp, parse

    visible = sql.translate(_SPACES)
    if len(sql) > MOST_CHARACTERS or printable(visible) != visible:
        raise QueryRefused(f"a statement is a text of at most {MOST_CHARACTERS:,} characters, none of them invisible")
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it tells of what it takes for a command
    too_deep = QueryRefused(f"the statement is nested too deeply; at most {MOST_LEVELS} levels")
    try:
        # Of the dialects that sqlglot knows, DuckDB's is the one that has what polars understands.
        statements = [statement for statement in parse(sql, read="duckdb") if statement is not None]
    except errors.SqlglotError as error:
        raise QueryRefused(f"the statement cannot be read: {_where(error)}") from error
    except RecursionError as error:
        raise too_deep from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise QueryRefused("only one SELECT is executed, no other statement and not several")
    if _levels(statements[0]) > MOST_LEVELS:
        raise too_deep
    return statements[0]


def _levels(statement: exp.Query) -> int:
    """Return how deep a statement is nested; not by recursion itself."""
    levels, level = 0, [statement]
    while level:
        levels, level = levels + 1, [child for node in level for child in node.iter_expressions()]
    return levels


def _where(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return one_line(error)
    first = details[0]
    return f"{first['description']} at line {first['line']}, column {first['col']}, near {first['highlight']!r}"


def _name(table: exp.Table, known: Collection[str]) -> str:
    from sqlglot import exp

    if not isinstance(table.this, exp.Identifier) or table.args.get("db"):
        raise QueryRefused(f"{table.sql()!r} is no table; a statement reads tables: {', '.join(known)}")
    return table.name
