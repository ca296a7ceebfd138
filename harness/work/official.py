"""Find, check and read the official files of a data set."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import CHECKSUMS, DataCorrupt, DatasetSpec, FilePattern, Images
from harness.errors import HarnessError, one_line

DATA_VARIABLE = "HARNESS_DATA"
UNREADABLE = (OSError, EOFError, ValueError, OverflowError, MemoryError, zlib.error, lzma.LZMAError, tarfile.TarError)
MOST_BYTES = 2**30
"""Of an official file, and of all in an archive: no data set has a fifth of that, and a few kB may unpack to more."""


class DataMissing(HarnessError):
    """The official files of a data set, or some of them, are nowhere to be found."""


def folders(spec: DatasetSpec, data: str | None = None) -> list[Path]:
    """Return where a data set is looked for: in `data` (or $HARNESS_DATA, or `data`) its name, then its own folders."""
    configured = Path(data or os.environ.get(DATA_VARIABLE) or "data")
    return [configured / folder for folder in (spec.name, *spec.folders)]


def locate(spec: DatasetSpec, data: str | None = None) -> dict[str, Path]:
    """Return the path of each official file, or of the archive that holds it, from the first folder that has all.

    Raises `DataMissing` where files are missing, `DataCorrupt` where a pattern finds another number than declared.
    """
    looked = folders(spec, data)
    found = [_found(spec, folder) for folder in looked]
    declared = spec.files
    expected = declared.count + len(declared.also) if isinstance(declared, FilePattern) else len(declared)
    for files in found:
        if len(files) == expected:
            return files
    fullest = max(range(len(looked)), key=lambda place: len(found[place]))
    raise _incomplete(spec, looked, looked[fullest], found[fullest])


def read(spec: DatasetSpec, data: str | None = None) -> Images:
    """Return the images of a data set after checking every official file, the counts and the labels."""
    located = locate(spec, data)
    contents = dict(_contents(spec, located))
    images = images_of(spec, {name: contents[name] for name in located})  # whatever the order inside an archive
    if len(images.images) != len(images.labels) or len(images.labels) != spec.development + spec.test:
        raise DataCorrupt(
            f"data set {spec.name!r}: the reader gave {len(images.labels)} labels and {len(images.images)} images, "
            f"declared are {spec.development + spec.test}"
        )
    _check_labels(spec, "label", images.labels, spec.classes)
    _check_subclasses(spec, images)
    return images


def images_of(spec: DatasetSpec, contents: Mapping[str, bytes]) -> Images:
    """Return what the reader of a data set makes of its files; raise `DataCorrupt` where it cannot."""
    try:
        images = spec.read(contents)
    except HarnessError:
        raise
    except Exception as error:  # whatever a reader does with what is no file of its format
        told = f"{type(error).__name__}: {one_line(error)}"
        raise DataCorrupt(f"data set {spec.name!r} cannot be read ({told}); get it: {spec.how_to_get}") from error
    pixels, labels = images.images, images.labels
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or labels.ndim != 1 or labels.dtype != np.int64:
        raise DataCorrupt(f"data set {spec.name!r}: the reader gave no images of 8 bits with a label each")
    return images


def check(specs: Iterable[DatasetSpec], data: str | None = None) -> None:
    """Raise `DataMissing` or `DataCorrupt` unless every official file of every data set is there and right."""
    for spec in specs:
        located = locate(spec, data)
        if not isinstance(spec.files, FilePattern):  # without checksums there is nothing to read them for
            for _ in _contents(spec, located):
                pass


def _check_labels(spec: DatasetSpec, what: str, labels: NDArray[np.int64], count: int) -> None:
    outside = labels[(labels < 0) | (labels >= count)]
    if len(outside):
        raise DataCorrupt(f"data set {spec.name!r}: {what} {outside[0]} is not one of 0..{count - 1}")


def _check_subclasses(spec: DatasetSpec, images: Images) -> None:
    """Raise `DataCorrupt` unless there are as many fine labels as images, each of a subclass inside one class."""
    given = 0 if images.fine is None else len(images.fine)
    if given != (len(images.labels) if spec.subclasses else 0):
        raise DataCorrupt(
            f"data set {spec.name!r}: the reader gave {given} fine labels of {len(images.labels)} images, "
            f"declared are {spec.subclasses} subclasses"
        )
    if images.fine is None:
        return
    _check_labels(spec, "fine label", images.fine, spec.subclasses)
    pairs = np.unique(np.stack([images.fine, images.labels]), axis=1)[0]
    if len(torn := pairs[1:][pairs[1:] == pairs[:-1]]):
        raise DataCorrupt(f"data set {spec.name!r}: subclass {torn[0]} lies in more than one class")


def _found(spec: DatasetSpec, folder: Path) -> dict[str, Path]:
    if isinstance(spec.files, FilePattern):
        matched = sorted(path for path in folder.glob(spec.files.glob) if path.is_file())  # to read a pipe has no end
        named = [folder / name for name in spec.files.also if (folder / name).is_file()]
        return {path.relative_to(folder).as_posix(): path for path in matched + named}
    found = {name: path for name in spec.files if (path := _plain_or_gzipped(folder / name))}
    if len(found) < len(spec.files) and spec.archive and (folder / spec.archive).is_file():
        return dict.fromkeys(spec.files, folder / spec.archive)
    return found


def _plain_or_gzipped(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + ".gz")) if file.is_file()), None)


def _incomplete(spec: DatasetSpec, looked: list[Path], folder: Path, found: Collection[str]) -> HarnessError:
    how = f"get it: {spec.how_to_get}"
    if not found:
        return DataMissing(f"data set {spec.name!r} is not in {' or '.join(map(str, looked))}; {how}")
    named: Collection[str] = spec.files.also if isinstance(spec.files, FilePattern) else spec.files
    matched = len(set(found).difference(named))
    if isinstance(spec.files, FilePattern) and matched != spec.files.count:
        wrong = "half-downloaded" if matched < spec.files.count else "more than the official files"
        return DataCorrupt(
            f"data set {spec.name!r}: {folder} has {matched:,} files {spec.files.glob}, declared are "
            f"{spec.files.count:,}: {wrong}; {how}"
        )
    missing = ", ".join(name for name in named if name not in found)
    return DataMissing(f"data set {spec.name!r} is incomplete: {folder} lacks {missing}; {how}")


def _contents(spec: DatasetSpec, located: dict[str, Path]) -> Iterator[tuple[str, bytes]]:
    """Yield name and checked content of each official file, one in memory at a time."""
    for name, place, content in _unchecked(spec, located):
        if not isinstance(spec.files, FilePattern):
            kind = CHECKSUMS[len(spec.files[name])]
            if hashlib.new(kind, content, usedforsecurity=False).hexdigest() != spec.files[name]:
                raise DataCorrupt(f"{place} is not the official file (its {kind} differs); replace it")
        yield name, content


def _unchecked(spec: DatasetSpec, located: dict[str, Path]) -> Iterator[tuple[str, str, bytes]]:
    for archive in {path for path in located.values() if path.name == spec.archive}:
        for name, content in _members(archive, located):
            yield name, f"{name} in {archive}", content
    for name, path in located.items():
        if path.name != spec.archive:
            yield name, str(path), _content(path)


def _content(path: Path) -> bytes:
    try:
        with _opened(path) as stream:
            content: bytes = stream.read(MOST_BYTES + 1)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if len(content) > MOST_BYTES:
        raise _unreadable(path, _TooLong())
    return content


def _members(archive: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the named members of a tar file in its own order: going back would decompress it anew."""
    missing = set(names)
    try:
        # As a stream that is read once, forwards: nothing is unpacked to a disk, no link followed.
        with _opened(archive) as stream, tarfile.open(fileobj=_Bounded(stream), mode="r|") as opened:
            for member in opened:
                name = PurePosixPath(member.name).name
                content = opened.extractfile(member) if name in missing and member.isreg() else None
                if content is not None and member.size <= MOST_BYTES:
                    missing.remove(name)
                    yield name, content.read()
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    if missing:
        raise DataCorrupt(f"{archive} lacks {', '.join(sorted(missing))}; replace it by the official file")


def _opened(path: Path) -> Any:
    """Open a file for reading, unpacked by its suffix."""
    match path.suffix:
        case ".gz" | ".tgz":
            return gzip.open(path)
        case ".bz2":
            return bz2.open(path)
        case ".xz":
            return lzma.open(path)
    return path.open("rb")


class _TooLong(OSError):
    """More bytes than anything official has."""

    def __str__(self) -> str:
        return f"it is longer than {MOST_BYTES:,} bytes"


class _Bounded(io.RawIOBase):
    """A stream of bytes that ends with an error where it does not end in time."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream, self._left = stream, MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        if self._left <= 0:
            raise _TooLong
        content = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(content)
        return content


def _unreadable(path: Path, error: BaseException) -> DataCorrupt:
    return DataCorrupt(f"{path} cannot be read: {one_line(error)}; replace it by the official file")
