"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from click.shell_completion import CompletionItem

root = click.option(
    "--root",
    metavar="URI",
    help="Where results live: a folder, s3://BUCKET/FOLDER or gs://. Keys, region and endpoint of an object store are "
    "AWS_... variables, as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.  [$HARNESS_ROOT or runs]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")


def _studies(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a suite by its name, or a file."""
    from harness import registry

    suites = [CompletionItem(name) for name in registry.suites() if name.startswith(begun)]
    return [*suites, CompletionItem(begun, type="file")]


study = click.argument("study", shell_complete=_studies)
data = click.option("--data", metavar="FOLDER", help="Official files of the data sets.  [$HARNESS_DATA or data]")


def _load(context: click.Context, parameter: click.Parameter, modules: tuple[str, ...]) -> tuple[str, ...]:
    from harness import registry

    registry.load(modules)
    return modules


plugin = click.option(
    "--plugin", multiple=True, metavar="MODULE", callback=_load, expose_value=False, help="A module with more tasks."
)

_PLACEMENT = (
    data,
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, or auto."),
    click.option("--local", is_flag=True, help="In this one process, without Ray."),
    click.option("--address", metavar="ADDRESS", help="A Ray cluster: auto, or host:port of its head.  [this machine]"),
    click.option("--workers", type=click.IntRange(min=1), help="Cores of this machine to use.  [all]"),
    click.option("--plugin", multiple=True, metavar="MODULE", help="A module with more tasks. Repeatable."),
)


def placement(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where units run; the command gets them as one argument, `place`."""

    @wraps(command)
    def placed(
        *,
        data: str | None,
        device: str,
        local: bool,
        address: str | None,
        workers: int | None,
        plugin: tuple[str, ...],
        **rest: Any,
    ) -> None:
        from harness.process.supervisor import supervise
        from harness.process.watch import watch

        if local and (address or workers):
            raise click.UsageError("--local is one process without Ray; leave --address and --workers away")
        if local:
            supervise()  # before anything is loaded
        from harness import registry
        from harness.drive import Where
        from harness.schedule import Cluster

        if address and workers:
            raise click.UsageError("--workers is for this machine; a cluster at --address has its own")
        with watch().to_the_end():
            registry.load(plugin)
            command(place=Where(None if local else Cluster(address, workers), device, data, plugin), **rest)

    for option in reversed(_PLACEMENT):
        placed = option(placed)
    return placed
