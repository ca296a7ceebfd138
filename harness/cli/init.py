"""`harness init`: begin a study, or a method."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("study", required=False)
@click.option("--method", metavar="FILE", help="Begin a method instead: my_method.py.")
def command(study: str | None, method: str | None) -> None:
    """Write a commented study to the file STUDY (study.yaml), or a method that `harness check` accepts.

    Nothing is overwritten.

    \b
    harness init my_study.yaml
    harness init --method my_method.py
    """
    from harness.skeleton import write_method, write_study

    if method is not None:
        if study is not None:
            raise click.UsageError("one file at a time: give STUDY, or --method FILE")
        write_method(Path(method))
        click.echo(
            f"wrote {method}\nnext   harness check {method}\nthen   harness run STUDY --plugin {Path(method).stem}"
        )
        return
    path = Path(study or "study.yaml")
    write_study(path)
    click.echo(f"wrote {path}\nnext   harness plan {path}\nthen   harness run {path}")
