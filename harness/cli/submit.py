"""`harness submit`: a study as a job of a Ray cluster."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.secrets import without_secrets

if TYPE_CHECKING:
    from harness.schedule.submit import Job

INTERRUPTED = 130


@click.command()
@options.study
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN OPTIONS]")
@click.option("--address", required=True, metavar="URL", help="The head node's dashboard: http://HOST:8265.")
@click.option("--root", metavar="URI", help="Where results go, as every node reaches it.  [$HARNESS_ROOT]")
@click.option("--data", metavar="FOLDER", help="Official files of the data sets, on the head node.")
@click.option("--plugin", multiple=True, metavar="MODULE", help="A module with more tasks; it is sent too. Repeatable.")
@click.option("--follow/--detach", default=True, show_default=True, help="Show its log to the end, or return at once.")
def command(
    study: str,
    run_options: tuple[str, ...],
    address: str,
    root: str | None,
    data: str | None,
    plugin: tuple[str, ...],
    follow: bool,
) -> None:
    """Run STUDY on a Ray cluster: send code and study file to its head node, and follow the job.

    The exit code is that of the job. Ctrl-C leaves the job running. What follows -- goes to harness run. The token of
    the cluster is read from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, with RAY_AUTH_MODE=token; of a cluster that wants
    none, a line warns. Keys of an object store come from the environment of the nodes: whoever sees the cluster sees
    its jobs, so that a root with keys in it is refused.

    \b
    harness submit digits --address http://head:8265 --root /shared/runs
    harness submit my_study.yaml --address http://head:8265 --root s3://bucket/runs --detach -- --where method=msg
    """
    from harness.cli.run import command as run
    from harness.schedule.submit import shared_root, submit

    root = shared_root(root)
    run.make_context("harness run", [study, *run_options])
    job = submit(study, address, root, plugins=plugin, data=data, options=run_options)
    sys.exit(_look(job, root, follow))


def _look(job: Job, root: str, to_the_end: bool) -> int:
    """Name the job and, if asked to, follow it to its end; return the exit code. Once sent, Ctrl-C only detaches."""
    from harness.schedule.submit import follow

    try:
        click.echo(f"job {job.id} at {without_secrets(job.address)}")
        if to_the_end:
            return follow(job, partial(click.echo, nl=False))
    except KeyboardInterrupt:
        click.echo(f"\ndetached; the job goes on\n{_how_to_look(job, root)}", err=True)
        return INTERRUPTED
    click.echo(_how_to_look(job, root), err=True)
    return 0


def _how_to_look(job: Job, root: str) -> str:
    address = without_secrets(job.address)
    return "\n".join(
        [
            f"how far it is   harness status --address {address}",
            f"by its tables   harness status --root {shlex.quote(root)}",
            f"its log         ray job logs {job.id} --address {address} --follow",
            f"stop it         ray job stop {job.id} --address {address}",
        ]
    )
