"""`harness query`: ask the tables."""

from __future__ import annotations

import click

from harness.cli import options


@click.command()
@click.argument("sql")
@options.root
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def command(sql: str, root: str | None, form: str) -> None:
    """Print the result of one SELECT over the tables; nothing else is allowed.

    \b
    harness query "select method, avg(value) from metrics where metric = 'accuracy' and part = 'test' group by method"
    harness query "select unit, exception, message from failures"
    """
    import polars as pl

    from harness.tables import query

    frame = query(root, sql)
    if form == "csv":
        click.echo(frame.write_csv(), nl=False)
    elif form == "json":
        click.echo(frame.write_json())
    else:
        with pl.Config(
            tbl_rows=200, tbl_cols=40, fmt_str_lengths=60, tbl_hide_dataframe_shape=True, tbl_width_chars=200
        ):
            click.echo(str(frame))
