"""What stands below a figure: its table, what that means, and a command that prints the rows."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.metrics import derive
from harness.report import ReportData
from harness.report.page import render
from harness.report.statements import of_attacks, of_ranks, of_signals
from harness.store import Store, query

Parse = Callable[[str], Any]
FIGURES = {"ranks", "tradeoff", "values", "curves", "audit"}


def figures(html: str) -> list[tuple[str, str]]:
    """Return the section and the HTML of every figure of a page."""
    found = []
    for figure in re.finditer("<figure.*?</figure>", html, re.DOTALL):
        sections = re.findall('<section id="([^"]+)"', html[: figure.start()])
        found.append((sections[-1], figure.group()))
    return found


def statements(figure: str, parse: Parse) -> list[str]:
    """Return the statements that the commands of a figure run."""
    commands = [shlex.split(code.text) for code in parse(figure).named("code")]
    assert all(command[:2] == ["harness", "query"] and len(command) == 3 for command in commands)
    return [command[2] for command in commands]


@pytest.mark.parametrize("cells", [1, 2])
def test_every_figure_has_its_table_its_definitions_and_its_rows(
    cells: int, make: Callable[..., ReportData], with_audit: Callable[[ReportData], ReportData], parse: Parse
) -> None:
    places = (("digits", "random:0.1", "cnn_small"), ("digits", "class:3", "cnn_small"))[:cells]
    html = render(with_audit(make(cells=places, methods=("msg", "ct"), curves=3)))
    ids = set(re.findall(r'id="([^"]+)"', html))
    found = figures(html)
    assert {name for name, _ in found} >= (FIGURES if cells == 1 else FIGURES - {"curves"})
    assert len([name for name, _ in found if name == "audit"]) == 5
    for _, figure in found:
        page = parse(figure)
        assert all(len(rows) > 1 for rows in page.tables.values())
        assert page.tables
        links = [link.attributes["href"] for link in page.named("a")]
        assert links
        assert {link[1:] for link in links} <= ids
        assert len(statements(figure, parse)) == 1


def test_each_command_prints_the_rows_of_its_figure(finished: Path, parse: Parse) -> None:
    store = Store.open(str(finished))
    html = (finished / "reports" / "tiny" / "index.html").read_text("utf-8")
    units, metrics = (store.scan(name).collect() for name in ("units", "metrics"))
    trials = derive(units, metrics)
    seen = set()
    for section, figure in figures(html):
        (sql,) = statements(figure, parse)
        rows = query(store, sql)
        assert rows.height, sql
        table = re.findall(r" from (\w+) where", sql)[0]
        seen.add((section, table))
        if table == "metrics":  # all that the drawn numbers are computed from, and of no other kind of unit
            names = re.findall(r'href="#def-([\w-]+)"', figure.partition("Defined below")[2])
            again = derive(units, rows.select("unit", "part", "metric", "value"))
            drawn = pl.col("metric").str.replace_all("_", "-").is_in(names)
            assert again.filter(drawn).drop("flag").equals(trials.filter(drawn).drop("flag"))
            assert set(rows["kind"]) <= {"retrain", "unlearn", "timing"}
        if table == "rankings":
            shown = next(iter(parse(figure).tables.values()))
            assert rows.n_unique(["method", "config"]) == len({row[0].text for row in shown[1:]})
    assert {table for _, table in seen} == {"rankings", "metrics", "epochs"}
    assert {section for section, _ in seen} == FIGURES - {"audit"}


def test_the_commands_of_an_audit_print_its_rows(finished: Path) -> None:
    """The farm of the tiny study is too small for a figure, but not for rows."""
    store = Store.open(str(finished))
    attacks = store.scan("attacks").filter(pl.col("study") == "tiny").collect()
    rows = query(store, shlex.split(of_attacks("tiny", "auc", ["L2"]))[2])
    drawn = attacks.filter(pl.col("metric") == "auc", pl.col("level") == "L2").select(rows.columns)
    assert rows.height
    assert rows.sort(rows.columns).equals(drawn.sort(rows.columns))
    of_farm = pl.col("pool").is_in(["canary", "clean"]) & pl.col("kind").str.starts_with("shadow")
    signals = store.scan("signals").filter(of_farm).collect()
    rows = query(store, shlex.split(of_signals(attacks))[2])
    assert sorted(rows.select("unit", "pool", "query").rows()) == sorted(signals.select("unit", "pool", "query").rows())


def test_names_reach_the_statement_through_the_shell_and_stay_text() -> None:
    hostile = 'it\'s $HOME `id` \\ "x" or 1=1 --'
    # A real shell: within double quotes shlex takes no backslash away from a $ or a `.
    command = of_ranks(hostile, ["overall", "o'clock"])
    script = f'set -- {command}; printf %s "$3"'
    sql = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "study = '" + hostile.replace("'", "''") + "'" in sql
    assert "metric in ('overall', 'o''clock')" in sql
