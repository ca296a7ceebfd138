"""Find, check and read the official files of a data set."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from harness.contracts.dataset import CHECKSUMS, DataCorrupt, DatasetSpec, FilePattern, Images
from harness.errors import HarnessError, one_line

DATA_VARIABLE = "HARNESS_DATA"
UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError)


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
    expected = spec.files.count if isinstance(spec.files, FilePattern) else len(spec.files)
    for files in found:
        if len(files) == expected:
            return files
    fullest = max(range(len(looked)), key=lambda place: len(found[place]))
    raise _incomplete(spec, looked, looked[fullest], found[fullest])


def read(spec: DatasetSpec, data: str | None = None) -> Images:
    """Return the images of a data set after checking every official file, the counts and the labels."""
    located = locate(spec, data)
    contents = dict(_contents(spec, located))
    images = spec.read({name: contents[name] for name in located})  # whatever the order inside an archive
    if len(images.images) != len(images.labels) or len(images.labels) != spec.development + spec.test:
        raise DataCorrupt(
            f"data set {spec.name!r}: the reader gave {len(images.labels)} labels and {len(images.images)} images, "
            f"declared are {spec.development + spec.test}"
        )
    outside = images.labels[(images.labels < 0) | (images.labels >= spec.classes)]
    if len(outside):
        raise DataCorrupt(f"data set {spec.name!r}: label {outside[0]} is not one of 0..{spec.classes - 1}")
    return images


def check(specs: Iterable[DatasetSpec], data: str | None = None) -> None:
    """Raise `DataMissing` or `DataCorrupt` unless every official file of every data set is there and right."""
    for spec in specs:
        located = locate(spec, data)
        if not isinstance(spec.files, FilePattern):  # without checksums there is nothing to read them for
            for _ in _contents(spec, located):
                pass


def _found(spec: DatasetSpec, folder: Path) -> dict[str, Path]:
    if isinstance(spec.files, FilePattern):
        return {path.name: path for path in sorted(folder.glob(spec.files.glob))}
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
    if isinstance(spec.files, FilePattern):
        wrong = "half-downloaded" if len(found) < spec.files.count else "more than the official files"
        return DataCorrupt(
            f"data set {spec.name!r}: {folder} has {len(found):,} files {spec.files.glob}, declared are "
            f"{spec.files.count:,}: {wrong}; {how}"
        )
    missing = ", ".join(name for name in spec.files if name not in found)
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
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _members(archive: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the named members of a tar file in its own order: going back would decompress it anew."""
    missing = set(names)
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = PurePosixPath(member.name).name
                content = opened.extractfile(member) if name in missing else None
                if content is not None:
                    missing.remove(name)
                    yield name, content.read()
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    if missing:
        raise DataCorrupt(f"{archive} lacks {', '.join(sorted(missing))}; replace it by the official file")


def _unreadable(path: Path, error: BaseException) -> DataCorrupt:
    return DataCorrupt(f"{path} cannot be read: {one_line(error)}; replace it by the official file")
