"""Official files: where they are looked for, and that nothing but the official content is ever read."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness import registry
from harness.contracts import DATASETS, Augmentation, DatasetSpec, Images, Recipe
from harness.contracts.dataset import DataCorrupt
from harness.work import official
from harness.work.official import DataMissing

CONTENTS = {"images.bin": bytes(range(60)), "labels.bin": b"\x00\x01\x02\x03\x04"}
PACK: Mapping[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress}


def read_both(files: Mapping[str, bytes]) -> Images:
    """Five images of 2 x 2 pixels in three colours."""
    pixels = np.frombuffer(files["images.bin"], np.uint8).reshape(-1, 3, 2, 2)
    return Images(pixels, np.frombuffer(files["labels.bin"], np.uint8).astype(np.int64))


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    return DatasetSpec(
        name="five",
        read=read_both,
        classes=5,
        shape=(3, 2, 2),
        development=3,
        test=2,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        files={name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()},
        recipe=Recipe(),
        augmentation=Augmentation(),
        version=1,
        source="tests",
        folders=(str(tmp_path / "system"),),
        how_to_get="ask for it",
    )


def put(folder: Path, suffix: str = "", contents: Mapping[str, bytes] = CONTENTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}{suffix}").write_bytes(PACK[suffix](content))


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("place", ["data/five", "system"])
def test_files_are_read_plain_or_gzipped_from_either_place(
    spec: DatasetSpec, tmp_path: Path, suffix: str, place: str
) -> None:
    put(tmp_path / place, suffix)
    data = str(tmp_path / "data")
    official.check([spec], data)
    images = official.read(spec, data)
    assert images.images.tobytes() == CONTENTS["images.bin"]
    assert images.labels.tolist() == [0, 1, 2, 3, 4]


def test_the_data_folder_comes_before_the_folders_of_the_data_set(spec: DatasetSpec, tmp_path: Path) -> None:
    put(tmp_path / "system")
    put(tmp_path / "data/five", ".gz")
    found = official.locate(spec, str(tmp_path / "data"))
    assert found == {name: tmp_path / "data/five" / f"{name}.gz" for name in CONTENTS}


def test_a_folder_that_lacks_a_file_is_passed_over(spec: DatasetSpec, tmp_path: Path) -> None:
    put(tmp_path / "data/five", contents={"images.bin": CONTENTS["images.bin"]})
    (tmp_path / "data/five/labels.bin").mkdir()  # a folder is not a file
    put(tmp_path / "system")
    found = official.locate(spec, str(tmp_path / "data"))
    assert {path.parent for path in found.values()} == {tmp_path / "system"}


def test_the_data_folder_is_the_one_given_then_the_variable_then_data(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(official.DATA_VARIABLE, raising=False)
    assert official.folders(spec)[0] == Path("data/five")
    monkeypatch.setenv(official.DATA_VARIABLE, str(tmp_path))
    assert official.folders(spec)[0] == tmp_path / "five"
    assert official.folders(spec, "given")[0] == Path("given/five")


def test_missing_files_are_answered_with_where_they_were_sought_and_how_to_get_them(
    spec: DatasetSpec, tmp_path: Path
) -> None:
    for action in (official.locate, official.read, lambda spec, data: official.check([spec], data)):
        with pytest.raises(DataMissing) as caught:
            action(spec, str(tmp_path / "data"))
        message = str(caught.value)
        assert "\n" not in message
        for part in ("'five'", str(tmp_path / "data/five"), str(tmp_path / "system"), "ask for it"):
            assert part in message


@given(position=st.integers(0, 59), change=st.integers(1, 255), suffix=st.sampled_from(sorted(PACK)))
@settings(max_examples=40, deadline=None)
def test_every_changed_byte_is_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int, suffix: str
) -> None:
    content = bytearray(CONTENTS["images.bin"])
    content[position] ^= change
    refused(tmp_path_factory.mktemp("changed"), f"images.bin{suffix}", PACK[suffix](bytes(content)))


@given(data=st.data(), change=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_of_a_compressed_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, change: int
) -> None:
    content = bytearray(gzip.compress(CONTENTS["images.bin"]))
    content[data.draw(st.integers(10, len(content) - 1))] ^= change  # behind the header, which holds a time
    assume(not _still_unpacks(bytes(content)))
    refused(tmp_path_factory.mktemp("changed"), "images.bin.gz", bytes(content))


def _still_unpacks(content: bytes) -> bool:
    """Say whether a changed archive holds the same bytes all the same: a few bits of its last byte fill it up."""
    with suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(content) == CONTENTS["images.bin"]
    return False


@given(kept=st.floats(0, 1, exclude_max=True), suffix=st.sampled_from(sorted(PACK)))
@settings(max_examples=40, deadline=None)
def test_every_truncated_file_is_refused(tmp_path_factory: pytest.TempPathFactory, kept: float, suffix: str) -> None:
    whole = PACK[suffix](CONTENTS["images.bin"])
    refused(tmp_path_factory.mktemp("cut"), f"images.bin{suffix}", whole[: int(kept * len(whole))])


@given(content=st.binary(max_size=80).filter(lambda content: content != CONTENTS["images.bin"]))
@settings(max_examples=40, deadline=None)
def test_other_content_is_refused_also_where_it_is_no_gzip_at_all(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    refused(tmp_path_factory.mktemp("other"), "images.bin.gz", content)


def refused(folder: Path, name: str, content: bytes) -> None:
    """Assert that the content is refused in one line that names the file, by reading and by checking."""
    (folder / name).write_bytes(content)
    digests = {"images.bin": hashlib.sha256(CONTENTS["images.bin"]).hexdigest()}
    registry.load()
    spec = replace(DATASETS["digits"], name="five", files=digests, folders=(str(folder),))
    for action in (official.read, lambda spec, data: official.check([spec], data)):
        with pytest.raises(DataCorrupt) as caught:
            action(spec, str(folder / "nowhere"))
        assert str(folder / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("declared", [{"development": 4}, {"test": 1}])
def test_a_reader_that_gives_another_count_than_declared_is_refused(
    spec: DatasetSpec, tmp_path: Path, declared: dict[str, Any]
) -> None:
    put(tmp_path / "system")
    with pytest.raises(DataCorrupt, match=r"'five': the reader gave 5 labels and 5 images, declared are [46]"):
        official.read(replace(spec, **declared), str(tmp_path / "data"))


def test_the_digits_are_at_hand() -> None:
    registry.load()
    official.check([DATASETS["digits"]])
    images = official.read(DATASETS["digits"])
    assert images.images.shape == (1797, 1, 8, 8)
    assert sorted(set(images.labels.tolist())) == list(range(10))
