"""`harness query`: ask the tables."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import click

from harness.cli import options
from harness.cli.bounded import Stopped, run
from harness.cli.text import shown

HERE = [sys.executable, "-P", "-m", "harness", "query", "--here"]
"""The command of the process that executes a statement: not even a file in the working folder is imported in it."""


@click.command()
@click.argument("sql")
@options.root
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True, help="To answer in."
)
@click.option("--here", is_flag=True, hidden=True, help="In this process; the statement stands on standard input.")
def command(sql: str, root: str | None, form: str, seconds: float, here: bool) -> None:
    """Print the result of one SELECT over the tables; nothing else is allowed.

    It is stopped when it takes too long, or more than half of the machine's memory.

    \b
    harness query "select method, avg(value) from metrics where metric = 'accuracy' and part = 'test' group by method"
    harness query "select unit, exception, message from failures"
    """
    if here:
        sys.stdout.write(_answer(json.load(sys.stdin), root, form))  # click would take something away
        return
    command = [*HERE, "--format", form, *(["--root", root] if root else []), "-"]
    try:
        ended = run(command, json.dumps(sql), seconds, _own_stdout())
    except Stopped as stopped:
        raise Stopped(f"the statement has no answer: {stopped}") from stopped
    sys.stdout.write(ended.out)
    # What a library says before it gives up is not for whoever asked.
    click.echo(ended.err if ended.code == 0 else "\n".join(ended.err.splitlines()[-1:]), err=True, nl=ended.code > 0)
    sys.exit(ended.code)


def _answer(sql: str, root: str | None, form: str) -> str:
    import polars as pl

    from harness.sql import query

    frame = query(root, sql)
    if form == "csv":
        text = frame.write_csv()
    elif form == "json":
        text = f"{frame.write_json()}\n"
    else:
        with pl.Config(
            tbl_rows=200, tbl_cols=40, fmt_str_lengths=60, tbl_hide_dataframe_shape=True, tbl_width_chars=200
        ):
            text = f"{frame}\n"
    return shown(text) if form == "table" or sys.stdout.isatty() else text


def _own_stdout() -> int:
    """Return what the child writes its answer to: the same as this process, unless that is no file."""
    try:
        return sys.stdout.fileno()
    except io.UnsupportedOperation:
        return subprocess.PIPE
