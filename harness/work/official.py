"""Find, check and read the official files of a data set."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from harness.contracts.dataset import DatasetSpec, Images
from harness.errors import HarnessError

DATA_VARIABLE = "HARNESS_DATA"


class DataMissing(HarnessError):
    """The official files of a data set are nowhere to be found."""


class DataCorrupt(HarnessError):
    """An official file is there, but its content is not the official one."""


def folders(spec: DatasetSpec, data: str | None = None) -> list[Path]:
    """Return where a data set is looked for: `data` (or $HARNESS_DATA, or `data`) / its name, then its own folders."""
    configured = Path(data or os.environ.get(DATA_VARIABLE) or "data")
    return [configured / spec.name, *map(Path, spec.folders)]


def locate(spec: DatasetSpec, data: str | None = None) -> dict[str, Path]:
    """Return the path of each official file, plain or gzipped, from the first folder that has all of them."""
    looked = folders(spec, data)
    for folder in looked:
        found = {name: path for name in spec.files if (path := _plain_or_gzipped(folder / name))}
        if len(found) == len(spec.files):
            return found
    places = " or ".join(map(str, looked))
    raise DataMissing(f"data set {spec.name!r} is not in {places}; get it: {spec.how_to_get}")


def read(spec: DatasetSpec, data: str | None = None) -> Images:
    """Return the images of a data set after checking the sha256 of every official file."""
    contents = {name: _checked(path, spec.files[name]) for name, path in locate(spec, data).items()}
    images = spec.read(contents)
    if len(images.images) != len(images.labels) or len(images.labels) != spec.development + spec.test:
        raise DataCorrupt(
            f"data set {spec.name!r}: the reader gave {len(images.labels)} labels and {len(images.images)} images, "
            f"declared are {spec.development + spec.test}"
        )
    return images


def check(specs: Iterable[DatasetSpec], data: str | None = None) -> None:
    """Raise `DataMissing` or `DataCorrupt` unless every official file of every data set is there and right."""
    for spec in specs:
        for name, path in locate(spec, data).items():
            _checked(path, spec.files[name])


def _plain_or_gzipped(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + ".gz")) if file.is_file()), None)


def _checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{path} cannot be read: {error}; replace it by the official file") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataCorrupt(f"{path} is not the official file (its sha256 differs); replace it")
    return content
