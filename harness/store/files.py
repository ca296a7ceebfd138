"""The bytes of a root: a local folder or a bucket, with writes that happen whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from pyarrow import fs

from harness.errors import one_line
from harness.store.errors import RootInvalid, RootNotWritable

Item = TypeVar("Item")
Result = TypeVar("Result")

SCHEMES = ("file", "s3", "gs")
REQUESTS = 16  # at once, to an object store


@dataclass(frozen=True)
class File:
    """One stored file: path below the root with `/`, size in bytes, time of its last change in ns."""

    path: str
    size: int
    changed: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Files:
    """The files below one root; every path is relative to it."""

    uri: str
    filesystem: fs.FileSystem = field(repr=False)
    base: str
    writable: bool

    @classmethod
    def open(cls, uri: str, *, write: bool) -> Files:
        """Resolve `uri`, creating nothing; raise `RootInvalid` if it cannot be a root."""
        scheme, separator, _ = uri.partition("://")
        if not separator:
            path = os.path.abspath(os.path.expanduser(uri))
            return cls(path, fs.LocalFileSystem(), path, write)
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise RootInvalid(f"root {uri!r} is not supported; give a folder or a URI of {known}")
        # An object as large as a commit is then one request; else it is three.
        options = ("&" if "?" in uri else "?") + "allow_delayed_open=true" if scheme == "s3" else ""
        try:
            filesystem, base = fs.FileSystem.from_uri(uri + options)
        except (OSError, ValueError) as error:
            raise RootInvalid(f"root {scheme}:// cannot be opened: {one_line(error)}") from error
        base = base.rstrip("/")
        if not base:
            raise RootInvalid(f"root {uri!r} names no bucket; give one, and a folder in it")
        return cls(base if scheme == "file" else uri, filesystem, base, write)

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def address(self) -> str:
        """The root for a person to read: without the options and credentials that a URI may carry."""
        scheme = "" if self.local else self.uri.partition("://")[0] + "://"
        return f"{scheme}{self.base}"

    def where(self, path: str) -> str:
        """Return the address of `path` for a person to read."""
        return f"{self.address}/{path}"

    def find(self, folder: str, suffix: str) -> list[File]:
        """Return the files below `folder` whose names end with `suffix`, by path; never temporary ones."""
        selector = fs.FileSelector(f"{self.base}/{folder}", recursive=True, allow_not_found=True)
        start = len(self.base) + 1
        found = (
            File(info.path[start:], info.size, info.mtime_ns or 0)
            for info in self._ask(folder, lambda: self.filesystem.get_file_info(selector))
            if info.is_file and info.base_name.endswith(suffix) and not info.base_name.startswith(".")
        )
        return sorted(found, key=lambda file: file.path)

    def exists(self, path: str) -> bool:
        return bool(self._ask(path, lambda: self.filesystem.get_file_info(f"{self.base}/{path}").is_file))

    def read(self, path: str) -> bytes:
        """Return the content of `path`; raise `FileNotFoundError` if there is none."""

        def content() -> bytes:
            # Not memory-mapped: a driver on another host may delete a commit while it is being read.
            with self.filesystem.open_input_file(f"{self.base}/{path}") as stream:
                return bytes(stream.read())

        return self._ask(path, content)

    def write(self, path: str, data: bytes) -> None:
        """Put `data` at `path`, whole or not at all, and durably; raise `RootNotWritable`."""
        self._refuse_if_read_only(path)
        try:
            if self.local:
                self._write_and_rename(path, data)
            else:
                with self.filesystem.open_output_stream(f"{self.base}/{path}") as stream:
                    stream.write(data)
        except OSError as error:
            raise RootNotWritable(f"{self.where(path)} cannot be written: {one_line(error)}") from error

    def delete(self, path: str) -> None:
        """Remove `path`; a file that is gone already is no error."""
        self._refuse_if_read_only(path)
        try:
            if self.local:
                os.unlink(f"{self.base}/{path}")
            else:
                self.filesystem.delete_file(f"{self.base}/{path}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise RootNotWritable(f"{self.where(path)} cannot be removed: {one_line(error)}") from error

    def make_folder(self, folder: str) -> None:
        """Create `folder` on a local disk; object stores have none."""
        if self.local:
            _make_folder(f"{self.base}/{folder}")

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """Keep every other process out of this block, on a file system that knows locks; else do nothing."""
        self._refuse_if_read_only(folder)
        if not self.local:
            yield
            return
        descriptor = self._lock(folder)
        try:
            yield
        finally:
            os.close(descriptor)  # which unlocks it, as the end of the process does

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return `function` of every item, in order; many requests at once where each is a round trip."""
        if self.local:
            return [function(item) for item in items]
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(function, items))

    def _lock(self, folder: str) -> int:
        import fcntl

        try:
            descriptor = os.open(f"{self.base}/{folder}", os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise RootNotWritable(f"{self.where(folder)} cannot be locked: {one_line(error)}") from error
        return descriptor

    def _ask(self, path: str, question: Callable[[], Result]) -> Result:
        """Return the answer; raise `RootInvalid` if the disk or the network does not give one."""
        try:
            return question()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RootInvalid(f"{self.where(path)} cannot be read: {one_line(error)}") from error

    def _refuse_if_read_only(self, path: str) -> None:
        if not self.writable:
            raise RootNotWritable(f"{self.where(path)}: this root was opened for reading; open it with write=True")

    def _write_and_rename(self, path: str, data: bytes) -> None:
        target = f"{self.base}/{path}"
        _make_folder(os.path.dirname(target))
        # Not beside the target: polars.scan_parquet(folder) refuses a folder with files of another kind.
        temporary = f"{self.base}/{path.partition('/')[0]}/.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(os.path.dirname(target))


def _make_folder(folder: str) -> None:
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    _sync_folder(parent)


def _sync_folder(folder: str) -> None:
    """Make the entries of `folder` survive a power cut; a rename alone does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
