"""What README shows to be asked of the tables works as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import tiny_study

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
QUERIES = README.partition("## Queries\n")[2].partition("\n## ")[0]


def blocks(language: str) -> list[Any]:
    found = re.findall(rf"```{language}\n(.*?)```", QUERIES, re.DOTALL)
    assert found, f"no {language} under Queries"
    return [pytest.param(text, id=f"{language}{number}") for number, text in enumerate(found)]


@pytest.fixture
def beside(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder in which `runs` is the finished root."""
    (tmp_path / "runs").symlink_to(finished)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_ROOT", raising=False)


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("text", blocks("python"))
def test_python(text: str) -> None:
    """The last expression of each block is an answer with rows."""
    *lines, last = text.rstrip().split("\n\n")
    known: dict[str, Any] = {}
    exec("\n\n".join(lines), known)
    assert len(eval(last, known)) > 1


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("text", blocks("sql"))
def test_sql(text: str) -> None:
    """DuckDB and `harness query` are asked what is commented so."""
    first, _, statement = text.partition("\n")
    assert first in ("-- DuckDB", "-- harness query")
    if first == "-- DuckDB":
        assert len(duckdb.sql(statement).fetchall()) > 1
    else:
        answer = tiny_study.harness("query", statement, "--format", "csv")
        assert (answer.code, answer.err) == (0, "")
        assert pl.read_csv(answer.out.encode()).height > 1


@pytest.mark.usefixtures("beside")
def test_both_engines_agree_on_the_accuracy_of_a_method() -> None:
    asked = "from {} where metric = 'accuracy' and part = 'test' and kind = 'unlearn' group by method order by method"
    parquet = "read_parquet('runs/tables/metrics/**/*.parquet')"
    theirs = duckdb.sql(f"select method, avg(value) as mean {asked.format(parquet)}").fetchall()
    ours = tiny_study.harness(
        "query", f"select method, avg(value) as mean {asked.format('metrics')}", "--format", "csv"
    )
    rows = pl.read_csv(ours.out.encode()).rows()
    assert [name for name, _ in rows] == [name for name, _ in theirs]
    assert [mean for _, mean in rows] == pytest.approx([mean for _, mean in theirs])
