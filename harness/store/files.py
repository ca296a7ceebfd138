"""The bytes of a root: a local folder or a bucket, with writes that happen whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyarrow import fs

from harness.errors import cause, one_line
from harness.store.bucket import Patience, in_one_go, open_bucket
from harness.store.errors import RootInvalid, RootNotWritable
from harness.store.temporary import name as temporary_name

Item = TypeVar("Item")
Result = TypeVar("Result")

SCHEMES = ("file", "s3", "gs")
REQUESTS = 16  # at once, to an object store
LOCK_SECONDS, LOCK_PAUSE = 30.0, 0.01  # how long another process may keep a lock: it needs milliseconds


def allowed() -> None:
    """Let everything be written."""


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

    uri: str = field(repr=False)
    """As it was given, maybe with credentials: never to be shown; `address` is."""
    filesystem: fs.FileSystem = field(repr=False)
    base: str
    writable: bool
    guard: Callable[[], object] = field(default=allowed, repr=False, compare=False)
    """Called before anything is written or removed; what it raises keeps it from happening."""
    patience: Patience = field(default_factory=Patience, repr=False, compare=False)

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
        if scheme == "file":
            return cls(*_local(uri), write)
        return cls(uri, *open_bucket(uri), write)

    def __reduce__(self) -> tuple[Callable[..., Files], tuple[str, bool]]:
        # Opened anew: Arrow would take along how a store is reached, but not how long one that is busy is asked.
        return _reopened, (self.uri, self.writable)

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

    def inside(self, path: str) -> str:
        """Return the full path of `path`; raise `RootInvalid` if that is not below the root, by name or by a link."""
        parts = path.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in path:
            raise RootInvalid(f"{path!r} names no file of a root")
        place = f"{self.base}/{path}"
        if self.local:
            here = self.base
            for part in parts:
                here = f"{here}/{part}"
                if os.path.islink(here) and not _is_below(here, self.base):
                    raise RootInvalid(f"{here} is a link to what is not in the root; put there what it points to")
        return place

    def find(self, folder: str, suffix: str) -> list[File]:
        """Return the files below `folder` whose names end with `suffix`, by path; never temporary ones."""
        selector = fs.FileSelector(self.inside(folder), recursive=True, allow_not_found=True)
        start = len(self.base) + 1
        found = (
            File(info.path[start:], info.size, info.mtime_ns or 0)
            for info in self._ask(folder, lambda: self.filesystem.get_file_info(selector))
            if info.is_file and info.base_name.endswith(suffix) and not info.base_name.startswith(".")
        )
        return sorted(found, key=lambda file: file.path)

    def exists(self, path: str) -> bool:
        place = self.inside(path)
        return bool(self._ask(path, lambda: self.filesystem.get_file_info(place).is_file))

    def read(self, path: str) -> bytes:
        """Return the content of `path`; raise `FileNotFoundError` if there is none."""
        place = self.inside(path)
        return self._ask(path, lambda: self._content(place))

    def write(self, path: str, data: bytes) -> None:
        """Put `data` at `path`, whole or not at all, and durably; raise `RootNotWritable`."""
        self._refuse_if_read_only(path)
        place = self.inside(path)
        try:
            if self.local:
                self._write_and_rename(path, place, data)
            else:
                self.patience.ask(lambda: in_one_go(lambda: self._put(place, data)))
        except OSError as error:
            raise RootNotWritable(f"{self.where(path)} cannot be written: {cause(error)}") from error

    def delete(self, path: str) -> None:
        """Remove `path`; a file that is gone already is no error."""
        self._refuse_if_read_only(path)
        place = self.inside(path)
        try:
            if self.local:
                os.unlink(place)
            else:
                self.patience.ask(lambda: self.filesystem.delete_file(place))
        except FileNotFoundError:
            return
        except OSError as error:
            raise RootNotWritable(f"{self.where(path)} cannot be removed: {cause(error)}") from error

    def move(self, path: str, to: str) -> bool:
        """Give a file another path, at which nothing is; say whether it was there."""
        self._refuse_if_read_only(path)
        source, target = self.inside(path), self.inside(to)
        try:
            if self.local:
                self._refuse_if_gone(self.base)
                _make_folder(os.path.dirname(target))
                os.replace(source, target)
                _sync_folder(os.path.dirname(target))
            else:
                self.patience.ask(lambda: self.filesystem.move(source, target))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise RootNotWritable(f"{self.where(path)} cannot be moved to {to}: {cause(error)}") from error
        return True

    def make_folder(self, folder: str) -> None:
        """Create `folder` on a local disk; object stores have none."""
        if self.local:
            _make_folder(self.inside(folder))

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """Keep every other process out of this block, on a file system that knows locks; else do nothing."""
        self._refuse_if_read_only(folder)
        if not self.local:
            yield
            return
        import fcntl

        try:
            descriptor = os.open(self.inside(folder), os.O_RDONLY)
        except OSError as error:
            raise RootNotWritable(f"{self.where(folder)} cannot be locked: {cause(error)}") from error
        try:
            self._lock(folder, descriptor)
            yield
        finally:
            # As the end of the process does. To close it would not be enough: a child that was forked has it too.
            with contextlib.suppress(OSError):  # where there are no locks at all
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return `function` of every item, in order; many requests at once where each is a round trip."""
        if self.local:
            return [function(item) for item in items]
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(function, items))

    def _lock(self, folder: str, descriptor: int) -> None:
        import fcntl

        last = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > last:
                    why = f"another process has kept it locked for {LOCK_SECONDS:g} s; is one paused?"
                    raise RootNotWritable(f"{self.where(folder)} cannot be locked: {why}") from error
            except OSError as error:
                raise RootNotWritable(f"{self.where(folder)} cannot be locked: {cause(error)}") from error
            time.sleep(LOCK_PAUSE)

    def _ask(self, path: str, question: Callable[[], Result]) -> Result:
        """Return the answer; raise `RootInvalid` if the disk or the network does not give one."""
        try:
            return question() if self.local else self.patience.ask(question)
        except FileNotFoundError:
            raise
        except (OSError, MemoryError) as error:
            raise RootInvalid(f"{self.where(path)} cannot be read: {one_line(error)}") from error

    def _refuse_if_read_only(self, path: str) -> None:
        self.guard()
        if not self.writable:
            raise RootNotWritable(f"{self.where(path)}: this root was opened for reading; open it with write=True")

    def _refuse_if_gone(self, folder: str) -> None:
        """Raise `OSError` for a folder that was there when the root was opened.

        One that is made anew would be on another disk where the right one is no longer mounted.
        """
        if not os.path.isdir(folder):
            raise OSError(f"{folder} is gone; bring the root back, then the same command goes on")

    def _content(self, place: str) -> bytes:
        if self.local and not stat.S_ISREG(os.stat(place).st_mode):
            raise OSError("it is no file")  # to open a pipe may take for ever
        # Not memory-mapped: a driver on another host may delete a commit while it is being read.
        with self.filesystem.open_input_file(place) as stream:
            version = _version(stream)
            data = bytes(stream.read())
        if not self.local:
            # Arrow asks for the size, then for so many bytes: of an object that was replaced between the two it
            # returns a piece, or what lay in memory behind a shorter one.
            with self.filesystem.open_input_file(place) as stream:
                if _version(stream) != version:
                    raise OSError("it was replaced while it was read")
        return data

    def _put(self, place: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(place) as stream:
            stream.write(data)

    def _write_and_rename(self, path: str, target: str, data: bytes) -> None:
        first = f"{self.base}/{path.partition('/')[0]}"
        self._refuse_if_gone(first)
        _make_folder(os.path.dirname(target))
        # Not beside the target: polars.scan_parquet(folder) refuses a folder with files of another kind.
        temporary = f"{first}/{temporary_name()}"
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


def _local(uri: str) -> tuple[str, fs.FileSystem, str]:
    """Return path, file system and path again of a `file://` URI; raise `RootInvalid`."""
    try:
        filesystem, base = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise RootInvalid(f"root {uri!r} cannot be opened: {one_line(error)}") from error
    base = base.rstrip("/")
    if not base:
        raise RootInvalid(f"root {uri!r} names no folder; give one")
    return base, filesystem, base


def _version(stream: Any) -> tuple[int, object]:
    """Return what tells an object from the one that replaces it: its size, and where there is one its ETag."""
    metadata = {str(name).lower(): value for name, value in (stream.metadata() or {}).items()}
    return stream.size(), metadata.get("etag")


def _reopened(uri: str, write: bool) -> Files:
    return Files.open(uri, write=write)


def _is_below(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(f"{os.path.realpath(folder)}/")


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
