"""`harness doctor`: is this machine ready?"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import click

from harness.cli import options
from harness.cli.text import columns
from harness.errors import HarnessError

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "polars", "pyarrow")

Finding = tuple[bool, str, str]


@click.command()
@options.root
@options.data
def command(root: str | None, data: str | None) -> None:
    """Check Python, packages, devices, data sets and the root. Exit code 1: something that a study needs is missing.

    \b
    harness doctor
    harness doctor --root s3://bucket/runs
    """
    findings = [*_machine(), *_packages(), *_datasets(data), _root(root)]
    click.echo(columns([["ok" if good else "--", what, text] for good, what, text in findings]))
    needed = [what for good, what, _ in findings if not good and not what.startswith("data set")]
    sys.exit(1 if needed else 0)


def _machine() -> Iterator[Finding]:
    import torch

    yield sys.version_info >= (3, 11), "python", platform.python_version()
    yield True, "cores", str(os.cpu_count())
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield True, "gpu", ", ".join(names) or "none: units run on the CPU, one thread each"


def _packages() -> Iterator[Finding]:
    from harness.engine.vision import torchvision

    for name in PACKAGES:
        try:
            yield True, name, version(name)
        except PackageNotFoundError:
            yield False, name, f"missing; pip install {name}"
    try:
        torchvision()
    except (ImportError, RuntimeError) as error:
        yield False, "torchvision", f"cannot be imported: {error}; install the version that belongs to your torch"


def _datasets(data: str | None) -> Iterator[Finding]:
    from harness import registry
    from harness.contracts.dataset import DATASETS, FilePattern
    from harness.work import official

    registry.load()
    for name in DATASETS:
        try:
            official.check([DATASETS[name]], data)
            known = not isinstance(DATASETS[name].files, FilePattern)
            yield True, f"data set {name}", f"found, {'checksums right' if known else 'as many files as declared'}"
        except HarnessError as error:
            yield False, f"data set {name}", str(error)


def _root(root: str | None) -> Finding:
    from harness.store import Store

    try:
        return True, "root", f"{Store.open(root, write=True).address} can be written"
    except HarnessError as error:
        return False, "root", str(error)
