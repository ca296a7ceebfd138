"""Whatever a test declares is forgotten when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS, METHODS


@contextmanager
def restored() -> Iterator[None]:
    """Leave the catalogs of data sets, architectures and methods as they were found."""
    registry.load()
    with ExitStack() as stack:
        for catalog in (DATASETS, ARCHITECTURES, METHODS):
            stack.enter_context(patch.object(catalog, "_specs", dict(catalog._specs)))  # type: ignore[attr-defined]
        yield
