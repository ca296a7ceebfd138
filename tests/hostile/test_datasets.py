"""Official files that are not: images or one line that names what is wrong, and nothing unpacked, waited for, run."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import on_disk
import pytest
import tiny_study
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from tiny_hostile import BAD_NAMES, ESCAPE, asked, fuzz, judge, kept_to, lanes, listing, outcome
from tiny_mutants import damaged, edits

from harness import registry
from harness.contracts import DATASETS, DataCorrupt, DatasetSpec, FilePattern, Images
from harness.work import official
from harness.work.official import DataMissing
from tasks.datasets import _pictures
from tasks.datasets._idx import read_four
from tasks.datasets.svhn import read_mat
from tasks.datasets.tiny_imagenet import ANNOTATIONS, val_folders

registry.load()
RANDOM = np.random.default_rng(0)


def noise(*shape: int) -> Any:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def mat(**arrays: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=len(arrays["y"]) == 2)
    return file.getvalue()


def picture(kind: str, side: int = 12) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(side, side, 3)).save(stream, kind)
    return stream.getvalue()


FILES: dict[str, dict[str, bytes]] = {
    "mnist": on_disk.idx_files((noise(3, 28, 28), np.arange(3, dtype=np.uint8)), (noise(2, 28, 28), np.ones(2, "u1"))),
    "cifar10": {name: on_disk.cifar(noise(1, 3072), [i]) for i, name in enumerate(DATASETS["cifar10"].files)},
    "cifar100": {
        name: on_disk.cifar(noise(1, 3072), [50 + i], b"fine_labels", {b"coarse_labels": [i]})
        for i, name in enumerate(DATASETS["cifar100"].files)
    },
    "svhn": {
        "train_32x32.mat": mat(X=noise(32, 32, 3, 2), y=np.array([[10], [7]], dtype=np.uint8)),
        "test_32x32.mat": mat(X=noise(32, 32, 3, 1), y=np.array([[3]], dtype=np.uint8)),
    },
    "utkface": {
        f"{20 * i}_0_0_x.jpg": picture(kind) for i, kind in enumerate(["JPEG", "PNG", "GIF", "BMP", "WEBP", "MPO"])
    },
}
"""A few images in every format."""
COUNTS = {"mnist": (3, 2), "cifar10": (5, 1), "cifar100": (1, 1), "svhn": (2, 1), "utkface": (5, 1)}


def declared(name: str, files: Mapping[str, bytes]) -> DatasetSpec:
    """Return a data set of which these are the official files."""
    spec, (development, test) = DATASETS[name], COUNTS[name]
    if isinstance(spec.files, FilePattern):
        return replace(spec, files=replace(spec.files, count=len(files)), development=development, test=test)
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    return replace(spec, files=sums, development=development, test=test)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    return on_disk.put(folder, {os.fsdecode(os.fsencode(name)): content for name, content in files.items()})


@contextmanager
def frugal(limit: int = 2**26) -> Iterator[None]:
    """Fail if the block makes room for more bytes at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def judged(read: Images | str, spec: DatasetSpec, *names: str) -> bool:
    """Say whether it was refused, by a line that names a file or the data set; else images must be as declared."""
    if isinstance(read, str):
        assert any(name in read for name in (repr(spec.name), *names)), read
        return True
    assert read.images.shape == (spec.development + spec.test, read.images.shape[1], *spec.shape[1:])
    assert read.images.shape[1] in (1, spec.shape[0]), "one channel is shown as several later"
    assert read.images.dtype == np.uint8
    assert 0 <= read.labels.min() <= read.labels.max() < spec.classes
    return False


@pytest.mark.parametrize("name", FILES)
@lanes(short=60, full=3000)
def test_any_bytes_behind_a_right_checksum_are_images_or_one_line(name: str, examples: int, tmp_path: Path) -> None:
    """Checksums do not keep off who declares them, and pictures have none."""
    good = FILES[name]
    put(tmp_path / name, good)
    assert not judged(outcome(lambda: official.read(declared(name, good), str(tmp_path))), declared(name, good))
    refused = 0

    def check(which: int, change: list[tuple[str, int, int]] | bytes) -> None:
        nonlocal refused
        file = list(good)[which % len(good)]
        files = {**good, file: change if isinstance(change, bytes) else damaged(good[file], change)}
        put(tmp_path / name, files)
        spec = declared(name, files)
        with kept_to():
            refused += judged(outcome(lambda: official.read(spec, str(tmp_path))), spec, *good)
        put(tmp_path / name, {file: good[file]})

    changes = edits(min(map(len, good.values()))) | edits(200) | st.binary(max_size=100)
    fuzz(check, st.integers(0, 5), changes, examples=examples)
    assert refused >= examples / 5


PACKED = ("mnist", "cifar10")


def archive(files: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def packed(name: str) -> tuple[str, bytes]:
    """Return a packed file of a data set by its name: a gzipped one, or an archive of all."""
    if name == "mnist":
        return "train-images-idx3-ubyte.gz", FILES[name]["train-images-idx3-ubyte"]
    return "cifar-10-python.tar.gz", archive(FILES[name])


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("where", ["packed", "within"])
@lanes(short=60, full=3000)
def test_whatever_is_packed_is_the_official_content_or_one_line(
    name: str, where: str, examples: int, tmp_path: Path
) -> None:
    """Bytes that are changed before they are packed, or after it."""
    spec, folder = declared(name, FILES[name]), tmp_path / name
    file, content = packed(name)
    put(folder, FILES[name] if name == "mnist" else {})
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(gzip.compress(content))
    (folder / file.removesuffix(".gz")).unlink(missing_ok=True)
    right = official.read(spec, str(tmp_path))
    before = set(listing(folder))

    def check(change: list[tuple[str, int, int]] | bytes) -> None:
        def changed(data: bytes) -> bytes:
            return change if isinstance(change, bytes) else damaged(data, change)

        (folder / file).write_bytes(
            changed(gzip.compress(content, 1, mtime=0)) if where == "packed" else gzip.compress(changed(content), 1)
        )
        with kept_to():
            read = outcome(lambda: official.read(spec, str(tmp_path)))
            checked = outcome(lambda: official.check([spec], str(tmp_path)))
        assert set(listing(folder)) == before
        if judged(read, spec, file):
            assert checked == read, "what is not read is not let through before a run"
            return
        np.testing.assert_array_equal(read.images, right.images)

    fuzz(check, edits(600) | edits(len(content)) | st.binary(max_size=1000), examples=examples)


SAID = ["../../data_batch_1", "/data_batch_1", "/etc/data_batch_1", "data_batch_1/", "data_batch_1", "x/data_batch_1"]
KINDS = b"\x001234567SLKxgXAMV"


def head(name: bytes, kind: int, size: bytes, link: bytes = b"/etc/passwd", tail: bytes = b"ustar\x0000") -> bytes:
    """Return the head of a member of a tar file, by hand: with a right sum, whatever stands in it."""
    fields = [(name, 100), (b"0000777", 8), (b"0" * 7, 8), (b"0" * 7, 8), (size, 12), (b"0" * 11, 12), (b" " * 8, 8)]
    block = b"".join(field.ljust(length, b"\0")[:length] for field, length in fields) + bytes([kind])
    block = (block + link.ljust(100, b"\0")[:100] + tail).ljust(512, b"\0")[:512]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


names = st.sampled_from([*SAID, *BAD_NAMES]).map(lambda name: name.encode("utf-8", "surrogatepass"))
sizes = st.one_of(
    st.integers(0, 8**11 - 1).map(lambda size: b"%011o" % size),
    st.sampled_from([0, 1, 512, 513, 1024]).map(lambda size: b"%011o" % size),
    st.integers(-(256**11), 256**11 - 1).map(lambda size: bytes([128 if size >= 0 else 255]) + _in_bytes(size)),
    st.binary(max_size=12),
)


def _in_bytes(number: int) -> bytes:
    return (number % 256**11).to_bytes(11, "big")


@lanes(short=150, full=10_000)
def test_any_members_of_an_archive_are_passed_over_or_refused(examples: int, tmp_path: Path) -> None:
    spec, good = declared("cifar10", FILES["cifar10"]), archive(FILES["cifar10"], tarfile.USTAR_FORMAT)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    passed_over = 0

    def check(members: list[tuple[bytes, int, bytes, bytes]]) -> None:
        nonlocal passed_over
        before = b"".join(head(name, kind, size) + more for name, kind, size, more in members)
        (folder / "cifar-10-python.tar.gz").write_bytes(gzip.compress(before + good, 1))
        with kept_to():
            passed_over += not judged(outcome(lambda: official.read(spec, str(tmp_path))), spec, "cifar-10-python")
        assert list(listing(tmp_path)) == ["cifar10", "cifar10/cifar-10-python.tar.gz"]

    contents = st.sampled_from([b"", b"", bytes(512), b"7 path=x\n".ljust(512, b"\0"), b"9" * 512])
    fuzz(check, st.lists(st.tuples(names, st.sampled_from(KINDS), sizes, contents), max_size=4), examples=examples)
    assert passed_over > examples / 20


def test_links_devices_and_folders_of_the_official_names_are_none_of_the_files(tmp_path: Path) -> None:
    files = FILES["cifar10"]
    spec, path = declared("cifar10", files), tmp_path / "cifar10" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    lacking = {name: content for name, content in files.items() if name != "data_batch_3"}
    for kind in b"123456":
        other = head(b"../../data_batch_3", kind, b"%011o" % 0, os.fsencode(path.parent / "elsewhere"))
        (path.parent / "elsewhere").write_bytes(files["data_batch_3"])
        for content in (other + archive(lacking), archive(lacking)[:-10240] + other + bytes(1024)):
            path.write_bytes(gzip.compress(content))
            with pytest.raises(DataCorrupt, match=r"cifar-10-python\.tar\.gz (lacks data_batch_3|cannot be read)"):
                official.read(spec, str(tmp_path))
        path.write_bytes(gzip.compress(other + archive(files)))
        assert not judged(official.read(spec, str(tmp_path)), spec)


def sparse() -> bytes:
    """Return an archive whose only member is said to be 1 TB of nothing, in the words of GNU tar."""
    said = b"ustar  \0".ljust(129, b"\0") + b"%011o\0" % 0 * 2 + bytes(73) + b"%011o\0" % (8**11 - 1)
    return head(b"data_batch_1", ord("S"), b"%011o" % 0, tail=said) + bytes(1024)


ZEROS = bytes(2**26)
SMALL = 2**22
"""In place of the most bytes that a file may have."""
LONG_NAME = head(b"././@LongLink", ord("L"), b"%011o" % 2) + b"a".ljust(512, b"\0")
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a gzip of zeros": ("mnist", lambda: gzip.compress(ZEROS)),
    "a gzip of many": ("mnist", lambda: gzip.compress(bytes(2**20)) * 64),
    "a gzip in a gzip": ("mnist", lambda: gzip.compress(gzip.compress(ZEROS))),
    "an archive of zeros": ("cifar10", lambda: gzip.compress(ZEROS)),
    "a member of zeros": ("cifar10", lambda: gzip.compress(head(b"a", 48, b"%011o" % len(ZEROS)) + ZEROS)),
    "an official member of zeros": (
        "cifar10",
        lambda: gzip.compress(head(b"data_batch_1", 48, b"%011o" % len(ZEROS)) + ZEROS),
    ),
    "a member that is promised": ("cifar10", lambda: gzip.compress(head(b"data_batch_1", 48, b"\x80" + b"\x7f" * 11))),
    "a member of less than nothing": ("cifar10", lambda: gzip.compress(head(b"data_batch_1", 48, b"\xff" * 12) * 9)),
    "a sparse member": ("cifar10", lambda: gzip.compress(sparse())),
    "members without an end": ("cifar10", lambda: gzip.compress(head(b"a", 48, b"0" * 11) * 7000, 1)),
    "names of names of names": ("cifar10", lambda: gzip.compress(LONG_NAME * 3500, 1)),
    "a header of digits": ("cifar10", lambda: gzip.compress(head(b"x", ord("x"), b"%011o" % 2**21) + b"9" * 2**21)),
    "a header of the whole archive": (
        "cifar10",
        lambda: gzip.compress(head(b"x", ord("g"), b"%011o" % 2**21) + b"12 hdrcharset=" * 2**17),
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content = BOMBS[bomb]
    file = {"mnist": "train-images-idx3-ubyte.gz", "cifar10": "cifar-10-python.tar.gz"}[name]
    put(tmp_path / name, {**(FILES[name] if name == "mnist" else {}), file: content()})
    (tmp_path / name / file.removesuffix(".gz")).unlink(missing_ok=True)
    monkeypatch.setattr(official, "MOST_BYTES", SMALL)
    spec = declared(name, FILES[name])
    for action in (lambda: official.read(spec, str(tmp_path)), lambda: official.check([spec], str(tmp_path))):
        with kept_to(), frugal(4 * SMALL), pytest.raises(DataCorrupt) as caught:
            action()
        assert judged(str(caught.value), spec, str(tmp_path / name / file))


def test_a_long_file_that_takes_no_room_on_the_disk_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "MOST_BYTES", SMALL)
    for name in ("mnist", "svhn", "utkface"):
        put(tmp_path / name, FILES[name])
        first = min(FILES[name])
        with (tmp_path / name / first).open("r+b") as stream:
            stream.truncate(2**40)
        spec = declared(name, FILES[name])
        with frugal(4 * SMALL), pytest.raises(DataCorrupt, match="it is longer than") as caught:
            official.read(spec, str(tmp_path))
        assert str(tmp_path / name / first) in str(caught.value)


def test_more_members_than_any_archive_has_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    many = head(b"a", 48, b"0" * 11) * official.MOST_MEMBERS
    path.write_bytes(gzip.compress(many + archive(FILES["cifar10"]), 1))
    with pytest.raises(DataCorrupt, match="lacks data_batch_1, "):
        official.read(declared("cifar10", FILES["cifar10"]), str(tmp_path))


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_not_waited_for(kind: str, name: str, tmp_path: Path) -> None:
    put(tmp_path / name, FILES[name])
    path = tmp_path / name / list(FILES[name])[1]
    path.unlink()
    for place in (path, path.with_name(path.name + ".gz"), path.with_name(DATASETS[name].archive or "none")):
        NO_FILES[kind](place)
    spec = declared(name, FILES[name])
    for action in (lambda: official.read(spec, str(tmp_path)), lambda: official.check([spec], str(tmp_path))):
        with pytest.raises((DataMissing, DataCorrupt)) as caught:
            action()
        assert judged(outcome(action), spec)
        assert path.name in str(caught.value) or "half-downloaded" in str(caught.value)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A data folder with more folders in folders than Python calls functions in functions."""
    folder = tmp_path / "deep" / "tiny_imagenet" / "train"
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=descriptor)
        inner = os.open("a", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    yield tmp_path / "deep"
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)  # pytest could not


def test_folders_in_folders_and_names_beyond_all_length_are_one_line(deep: Path) -> None:
    for name, data in (("tiny_imagenet", str(deep)), *((name, "x" * 300) for name in FILES)):
        with pytest.raises(DataCorrupt, match="cannot be looked through") as caught:
            official.locate(DATASETS[name], data)
        assert judged(str(caught.value), DATASETS[name])
    assert isinstance(outcome(lambda: official.locate(DATASETS["mnist"], "x/" * 3000)), str)
    with pytest.raises(DataMissing):
        official.locate(DATASETS["mnist"], "nul\0")


def matlab(depth: int, name: bytes = b"X") -> bytes:
    """Return a MATLAB 5 file with a number in a cell in a cell in a cell."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content

    def start(kind: int, name: bytes) -> bytes:
        named = struct.pack("<II", 1, len(name)) + name.ljust(8 * bool(name), b"\0")
        return element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<2i", 1, 1)) + named

    parts = [element(14, start(6, b"") + element(9, struct.pack("<d", 1)))]
    size = len(parts[0])
    for level in range(depth):
        began = start(1, name if level == depth - 1 else b"")
        parts.append(struct.pack("<II", 14, len(began) + size) + began)
        size += 8 + len(began)
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x100) + b"IM" + b"".join(reversed(parts))


MATLAB: dict[str, bytes] = {
    "cells in cells": matlab(200_000),
    "labels in cells": matlab(3, b"y"),
    "text": mat(X="x" * 100, y=np.ones((1, 1), np.uint8)),
    "a structure": mat(X={"a": {"b": 1}}, y=np.ones((1, 1), np.uint8)),
    "objects": mat(X=np.array([[1, "x"]], dtype=object), y=np.ones((1, 1), np.uint8)),
    "labels that are no whole numbers": mat(X=noise(32, 32, 3, 1), y=np.array([[np.nan]])),
    "an array of four gigabytes": FILES["svhn"]["test_32x32.mat"].replace(
        struct.pack("<II", 2, 3072), struct.pack("<II", 2, 2**32 - 8)
    ),
    "more images than bytes": FILES["svhn"]["test_32x32.mat"].replace(
        struct.pack("<4i", 32, 32, 3, 1), struct.pack("<4i", 2**20, 2**20, 2**20, 2**20)
    ),
    "a packed element that is none": b"MATLAB 5.0".ljust(124)
    + struct.pack("<H", 0x100)
    + b"IM"
    + struct.pack("<II", 15, 2**31)
    + zlib.compress(ZEROS),
    "MATLAB 7.3": b"MATLAB 7.3".ljust(124) + struct.pack("<H", 0x200) + b"IM" + bytes(1000),
}


@pytest.mark.parametrize("name", MATLAB)
def test_what_is_no_array_of_whole_numbers_is_named(name: str) -> None:
    assert MATLAB[name] != FILES["svhn"]["test_32x32.mat"]
    with kept_to(), pytest.raises(DataCorrupt, match=r"^train_32x32\.mat "):
        read_mat("train_32x32.mat", MATLAB[name])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((10**7, 0, 0), np.uint8),
        np.zeros((10**5, 1, 1), np.uint8),
        np.zeros((2, 28, 29), np.uint8),
        np.zeros(5, np.uint8),
    ],
)
def test_images_of_another_size_are_not_made_large(images: Any) -> None:
    files = on_disk.idx_files((images, np.zeros(2, np.uint8)), (noise(1, 28, 28), np.zeros(1, np.uint8)))
    with frugal(), pytest.raises(DataCorrupt, match=r"^train-images-idx3-ubyte holds an array \(\d"):
        read_four(files, 32)


def test_a_head_that_promises_more_than_there_is_is_refused() -> None:
    for sizes_ in ((2**32 - 1,) * 3, (2**31, 28, 28), (2**32 - 1,) * 255):
        content = struct.pack(f">BBBB{len(sizes_)}I", 0, 0, 8, len(sizes_), *sizes_)
        with frugal(), pytest.raises(DataCorrupt, match=r"^train-images-idx3-ubyte: not an idx file"):
            read_four({**FILES["mnist"], "train-images-idx3-ubyte": content}, 32)


def png(width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a grey PNG file, whatever its size is said to be."""
    first = b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [first, *chunks, (b"IDAT", data), (b"IEND", b"")]
    packed_ = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed_)


def saved(kind: str, size: tuple[int, int] = (12, 12), **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("L", size).save(stream, kind, **options)
    return stream.getvalue()


PICTURES: dict[str, Callable[[], bytes]] = {
    "a picture of 4 billion pixels": lambda: png(2**16, 2**16, zlib.compress(ZEROS)),
    "one of 2^62": lambda: png(2**31 - 1, 2**31 - 1, b""),
    "one just too large": lambda: png(_pictures.MOST_PIXELS + 1, 1, zlib.compress(ZEROS)),
    "one of no pixels": lambda: png(0, 5, b""),
    "text that unpacks": lambda: png(9, 9, b"", *[(b"zTXt", b"a\0\0" + zlib.compress(ZEROS))] * 9),
    "a profile that unpacks": lambda: png(9, 9, b"", (b"iCCP", b"a\0\0" + zlib.compress(ZEROS))),
    "a TIFF": lambda: saved("TIFF"),
    "an EPS, which is a program": lambda: (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touched) (w) file closefile\n"
    ),
    "a PDF": lambda: b"%PDF-1.4\n" * 100,
    "an ICO of a PNG": lambda: saved("ICO"),
    "an SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "a page": lambda: b"<html>" * 1000,
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_that_is_a_bomb_or_of_another_kind_is_named(kind: str, tmp_path: Path) -> None:
    put(tmp_path / "utkface", {**FILES["utkface"], "0_0_0_x.jpg": PICTURES[kind]()})
    spec = declared("utkface", FILES["utkface"])
    with (
        kept_to(),
        frugal(2**27),
        pytest.raises(DataCorrupt, match=r"^0_0_0_x\.jpg is not an image that can be read; "),
    ):
        official.read(spec, str(tmp_path))


@lanes(short=100, full=6000)
def test_any_name_of_a_picture_is_an_age_or_one_line(examples: int, tmp_path: Path) -> None:
    spec, content = DATASETS["utkface"], on_disk.colour(1, 2, 3)

    def check(name: str) -> None:
        with kept_to():
            read = outcome(lambda: official.images_of(spec, {name: content}))
        if not isinstance(read, str):
            assert name[0] in "0123456789"
            assert "_" in name[:4]

    ages = st.sampled_from(["0", "20", "150", "151", "-1", "1e2", "00", "٣", "9" * 5000, "+5", " 5", "", *BAD_NAMES])
    fuzz(check, st.tuples(ages, st.text(max_size=5)).map("_".join) | st.text(max_size=9), examples=examples)


def test_names_that_no_terminal_should_see_are_shown_without_being_obeyed(tmp_path: Path) -> None:
    bad = [os.fsencode(ESCAPE.replace("\0", "")), b"\xff\xfe"]
    for name in (b"20_%s.jpg" % part for part in bad):
        folder = put(tmp_path / name.hex() / "utkface", FILES["utkface"])
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"no picture")
        spec = replace(declared("utkface", {**FILES["utkface"], "one more": b""}), development=6)
        read = outcome(lambda: official.read(spec, str(folder.parent)))  # noqa: B023
        assert isinstance(read, str)
        assert "is not an image that can be read" in read


@lanes(short=100, full=6000)
def test_any_list_of_labels_fits_the_pictures_or_is_one_line(examples: int) -> None:
    good = b"val_0.JPEG\tn01\t0\t0\t63\t63\nval_1.JPEG\tn02\t0\t0\t63\t63\n"
    files = {f"val/images/val_{i}.JPEG": b"" for i in range(2)}

    def check(change: list[tuple[str, int, int]] | bytes) -> None:
        text = change if isinstance(change, bytes) else damaged(good, change)
        with kept_to():
            found = outcome(lambda: val_folders({**files, ANNOTATIONS: text}))
        assert isinstance(found, str) or found.keys() == files.keys()

    fuzz(check, edits(len(good)) | st.binary(max_size=50), examples=examples)


@pytest.mark.parametrize("bomb", [None, "a gzip of zeros", "names of names of names"])
def test_a_run_on_broken_data_ends_with_one_line_and_leaves_no_root(bomb: str | None, tmp_path: Path) -> None:
    name = BOMBS[bomb][0] if bomb else "cifar10"
    file = {"mnist": "train-images-idx3-ubyte.gz", "cifar10": "cifar-10-python.tar.gz"}[name]
    data = put(tmp_path / "data" / name, {**(FILES[name] if name == "mnist" else {})})
    data.mkdir(parents=True, exist_ok=True)
    (data / file.removesuffix(".gz")).unlink(missing_ok=True)
    (data / file).write_bytes(BOMBS[bomb][1]() if bomb else b"")
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, datasets=[name])
    before = listing(tmp_path)
    with kept_to(tmp_path / "runs"):
        answer = asked("run", study, "--data", tmp_path / "data", "--root", tmp_path / "runs", "--local")
    assert judge(answer)
    assert str(data / file) in answer.err
    assert {place: what for place, what in listing(tmp_path).items() if not place.startswith("runs")} == before
