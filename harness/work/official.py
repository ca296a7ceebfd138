"""Find, check and read the official files of a data set."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import sys
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
MOST_MEMBERS = 10_000
"""Of an archive that are looked at: a few kB may unpack to millions."""
_PIECE = 2**20
_WITHOUT_CONTENT = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
)


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
    found = [_looked_through(spec, folder) for folder in looked]
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


def _looked_through(spec: DatasetSpec, folder: Path) -> dict[str, Path]:
    try:
        return _found(spec, folder)
    except (OSError, RecursionError) as error:  # a name that is too long, folders in folders in folders
        told = f"{folder} cannot be looked through: {one_line(error)}"
        raise DataCorrupt(f"data set {spec.name!r}: {told}; get it: {spec.how_to_get}") from error


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
            return _Bounded(stream).read()
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _members(archive: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the named members of a tar file in its own order: going back would decompress it anew."""
    missing = set(names)
    try:
        with _opened(archive) as stream:
            for name, content in _files_in(_Bounded(stream), missing):
                missing.remove(name)
                yield name, content
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    if missing:
        raise DataCorrupt(f"{archive} lacks {', '.join(sorted(missing))}; replace it by the official file")


def _files_in(stream: _Bounded, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the regular files of a tar stream that have one of the names, in whatever folder they are said to be.

    Read once, forwards: nothing is unpacked to a disk, no link followed. What comes before a member to tell more of it
    is passed over: Python's own reader keeps every member, calls itself for each such header, and may take hours for
    one. Official archives have none.
    """
    for _ in range(MOST_MEMBERS):
        head = stream.read(tarfile.BLOCKSIZE)
        if not head.strip(b"\0"):
            return
        member = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        if member.type in _WITHOUT_CONTENT:
            continue
        name = PurePosixPath(member.name).name
        if name in names and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield name, stream.exactly(member.size)
        else:
            stream.skip(member.size)
        stream.skip(-member.size % tarfile.BLOCKSIZE)


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


class _Bounded:
    """A stream of bytes that ends with an error where it does not end in time."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._left = stream, MOST_BYTES

    def read(self, size: int = sys.maxsize) -> bytes:
        """Return the next bytes, or as many as there are; raise `_TooLong` for more than `MOST_BYTES` in all."""
        return b"".join(self._pieces(size))

    def exactly(self, size: int) -> bytes:
        """Return the next bytes; raise EOFError if there are fewer."""
        content = self.read(size)
        if len(content) != size:
            raise EOFError("it ends too early")
        return content

    def skip(self, size: int) -> None:
        """Pass over the next bytes; raise EOFError if there are fewer."""
        if sum(map(len, self._pieces(size))) != size:
            raise EOFError("it ends too early")

    def _pieces(self, size: int) -> Iterator[bytes]:
        # Never all at once: room would be made for what is only promised.
        while size > 0 and (piece := self._stream.read(min(size, _PIECE))):
            self._left -= len(piece)
            if self._left < 0:
                raise _TooLong
            size -= len(piece)
            yield piece


def _unreadable(path: Path, error: BaseException) -> DataCorrupt:
    return DataCorrupt(f"{path} cannot be read: {one_line(error)}; replace it by the official file")
