"""Options that several commands share."""

from __future__ import annotations

import click

root = click.option(
    "--root", metavar="URI", help="Where results live: a folder, s3:// or gs://.  [$HARNESS_ROOT or runs]"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")
study = click.argument("study")
data = click.option("--data", metavar="FOLDER", help="Official files of the data sets.  [$HARNESS_DATA or data]")
