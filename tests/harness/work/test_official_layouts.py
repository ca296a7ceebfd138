"""Official files in folders and archives that people already have, half of them, md5 sums, and labels out of range."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.check import problem as tiny
from harness.contracts import DatasetSpec, Images
from harness.contracts.dataset import DataCorrupt, FilePattern, InvalidDataset
from harness.work import official
from harness.work.official import DataMissing

CONTENTS = {"labels.bin": bytes([2, 0, 1]), "images.bin": bytes(range(3 * 3 * 4))}
ARCHIVE = "three.tar.gz"


def read_in_order(files: Mapping[str, bytes]) -> Images:
    """Three images; the files are taken in the order in which they come."""
    labels, pixels = files.values()
    return Images(np.frombuffer(pixels, np.uint8).reshape(3, 3, 2, 2), np.frombuffer(labels, np.uint8).astype(np.int64))


def checksums(kind: str = "sha256") -> dict[str, str]:
    return {name: hashlib.new(kind, content).hexdigest() for name, content in CONTENTS.items()}


SPEC = replace(
    tiny.SPEC,
    name="three",
    read=read_in_order,
    classes=3,
    development=2,
    test=1,
    files=checksums(),
    folders=("Three/raw", "."),
    archive=ARCHIVE,
    how_to_get="ask for it",
)


def put(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def pack(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    """Write the archive, members in reverse order and behind a folder and a link of the same names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as opened:
        directory, link = tarfile.TarInfo("labels.bin"), tarfile.TarInfo("x/readme")
        directory.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(directory)
        opened.addfile(link)
        for name, content in reversed(contents.items()):
            member = tarfile.TarInfo(f"x/{name}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return folder / ARCHIVE


def refused(error: type[Exception], spec: DatasetSpec, data: Path) -> str:
    """Return the line with which reading and checking end."""
    lines = []
    for action in (official.read, lambda spec, data: official.check([spec], data)):
        with pytest.raises(error) as caught:
            action(spec, str(data))
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert "\n" not in lines[0]
    return lines[0]


@pytest.mark.parametrize("place", ["three", "Three/raw", "."])
@pytest.mark.parametrize("write", [put, pack])
def test_files_or_archive_are_found_in_each_folder_inside_the_data_folder(
    tmp_path: Path, place: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / place)
    official.check([SPEC], str(tmp_path))
    found = official.read(SPEC, str(tmp_path))
    assert found.labels.tolist() == [2, 0, 1]
    assert found.images.tobytes() == CONTENTS["images.bin"]


def test_an_archive_stands_in_for_files_of_which_some_are_missing(tmp_path: Path) -> None:
    put(tmp_path / "three", {"images.bin": b"half"})
    archive = pack(tmp_path / "three")
    assert official.locate(SPEC, str(tmp_path)) == dict.fromkeys(CONTENTS, archive)
    assert official.read(SPEC, str(tmp_path)).labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_both_kinds_of_checksum_are_checked_in_files_and_in_archives(tmp_path: Path, kind: str) -> None:
    spec = replace(SPEC, files=checksums(kind))
    put(tmp_path / "right/three")
    assert len(official.read(spec, str(tmp_path / "right")).labels) == 3
    wrong = {**CONTENTS, "images.bin": bytes(36)}
    put(tmp_path / "files/three", wrong)
    says = f"is not the official file (its {kind} differs); replace it"
    place = tmp_path / "files/three/images.bin"
    assert refused(DataCorrupt, spec, tmp_path / "files") == f"{place} {says}"
    archive = pack(tmp_path / "archive/three", wrong)
    assert refused(DataCorrupt, spec, tmp_path / "archive") == f"images.bin in {archive} {says}"


def test_something_that_is_no_checksum_cannot_be_declared() -> None:
    with pytest.raises(InvalidDataset, match=r"'three': the checksum of 'a' has 40 digits; a sha256 has 64, an md5"):
        replace(SPEC, files={"a": "0" * 40})


def test_an_archive_that_lacks_a_file_or_is_cut_short_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path, {"labels.bin": CONTENTS["labels.bin"]})
    assert refused(DataCorrupt, SPEC, tmp_path) == f"{archive} lacks images.bin; replace it by the official file"
    whole = pack(tmp_path).read_bytes()
    for content in (b"", b"no archive", whole[:10], whole[: len(whole) // 2]):
        archive.write_bytes(content)
        message = refused(DataCorrupt, SPEC, tmp_path)
        assert message.startswith((f"{archive} cannot be read: ", f"{archive} lacks "))


def test_a_half_downloaded_data_set_says_what_is_missing_and_where(tmp_path: Path) -> None:
    put(tmp_path / "Three/raw", {"images.bin": CONTENTS["images.bin"]})
    message = refused(DataMissing, SPEC, tmp_path)
    assert message == f"data set 'three' is incomplete: {tmp_path}/Three/raw lacks labels.bin; get it: ask for it"


@pytest.mark.parametrize("outside", [3, -1])
def test_a_label_outside_of_the_classes_is_refused(tmp_path: Path, outside: int) -> None:
    put(tmp_path / "three")
    spec = replace(SPEC, read=lambda files: Images(read_in_order(files).images, np.array([2, outside, 0])))
    with pytest.raises(DataCorrupt) as caught:
        official.read(spec, str(tmp_path))
    assert str(caught.value) == f"data set 'three': label {outside} is not one of 0..2"


FINE = {
    "fewer": (np.array([3, 0]), "the reader gave 2 fine labels of 3 images, declared are 4 subclasses"),
    "none": (None, "the reader gave 0 fine labels of 3 images, declared are 4 subclasses"),
    "outside": (np.array([3, 4, 1]), "fine label 4 is not one of 0..3"),
    "torn": (np.array([3, 1, 1]), "subclass 1 lies in more than one class"),
}


@pytest.mark.parametrize("case", FINE)
def test_fine_labels_must_be_those_of_subclasses_that_lie_inside_one_class(tmp_path: Path, case: str) -> None:
    put(tmp_path / "three")
    fine, message = FINE[case]
    spec = replace(SPEC, subclasses=4, read=lambda files: replace(read_in_order(files), fine=fine))
    with pytest.raises(DataCorrupt) as caught:
        official.read(spec, str(tmp_path))
    assert str(caught.value) == f"data set 'three': {message}"
    right = np.array([3, 0, 1])
    spec = replace(spec, read=lambda files: replace(read_in_order(files), fine=right))
    assert official.read(spec, str(tmp_path)).fine is right
    with pytest.raises(DataCorrupt, match="gave 3 fine labels of 3 images, declared are 0 subclasses"):
        official.read(replace(spec, subclasses=0), str(tmp_path))


def test_files_of_a_pattern_are_counted_and_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    spec = replace(SPEC, files=FilePattern("*.bin", 2, "none"), read=read_by_name)
    put(tmp_path / "three", {"images.bin": CONTENTS["images.bin"]})
    put(tmp_path / "Three/raw")
    assert list(official.locate(spec, str(tmp_path))) == ["images.bin", "labels.bin"]
    assert official.read(spec, str(tmp_path)).labels.tolist() == [2, 0, 1]
    put(tmp_path / "Three/raw", {"more.bin": b""})
    message = refused(DataCorrupt, spec, tmp_path)
    assert message.startswith(f"data set 'three': {tmp_path}/Three/raw has 3 files *.bin, declared are 2: more than")


def read_by_name(files: Mapping[str, bytes]) -> Images:
    """The same three images, whatever the order of the files."""
    return read_in_order({name: files[name] for name in CONTENTS})
