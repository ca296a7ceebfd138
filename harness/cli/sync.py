"""`harness sync`: bring MLflow up to date with a study."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from harness.cli import options
from harness.cli.text import say


@click.command()
@click.argument("study")
@options.root
@options.as_json
def command(study: str, root: str | None, as_json: bool) -> None:
    """Write the results of STUDY, the name of a study or the id of a plan, to MLflow.

    MLflow is $MLFLOW_TRACKING_URI, or a database in the root. What it says already is not touched.

    \b
    harness sync digits
    MLFLOW_TRACKING_URI=http://mlflow.example.org harness sync digits --root s3://bucket/runs
    """
    from harness.store import Store
    from harness.tracking import sync_stored

    reports = sync_stored(Store.open(root), study)
    if as_json:
        say(json.dumps([asdict(report) for report in reports], indent=2))
        return
    for report in reports:
        counts = f"{report.created} runs new, {report.updated} changed, {report.unchanged} as they were"
        say(f"{report.plan}: {counts}; {report.uri}")
