"""Data in shared memory: the same images, and nobody can write to them."""

from __future__ import annotations

import mmap
import subprocess
import sys

import numpy as np
import pytest

from harness.contracts import Images
from harness.schedule.shared import PAD, packed, unpacked

rng = np.random.default_rng(0)
IMAGES = Images(rng.integers(0, 256, (37, 1, 8, 8)).astype(np.uint8), rng.integers(0, 4, 37), rng.integers(0, 9, 37))


@pytest.mark.parametrize("images", [IMAGES, Images(IMAGES.images[::2], IMAGES.labels[::2])])
def test_what_is_unpacked_is_what_was_packed(images: Images) -> None:
    found = unpacked(packed(images))
    assert np.array_equal(found.images, images.images)
    assert np.array_equal(found.labels, images.labels)
    assert (found.fine is None) == (images.fine is None)
    assert images.fine is None or np.array_equal(found.fine, images.fine)
    assert (found.images.dtype, found.labels.dtype) == (images.images.dtype, images.labels.dtype)


def test_memory_of_this_process_alone_stays_open() -> None:
    found = unpacked(packed(IMAGES))
    found.images[0] = 0
    assert not found.images[0].any()


WRITER = """
import faulthandler, mmap, sys
import numpy as np, torch
from harness.contracts import Images
from harness.schedule.shared import PAD, packed, unpacked
faulthandler.enable()
images = Images(np.ones((37, 1, 8, 8), dtype=np.uint8), np.zeros(37, dtype=np.int64))
shared = {}
for name, (room, dtype, shape) in packed(images).items():
    memory = np.frombuffer(mmap.mmap(-1, room.nbytes + 100), dtype=np.uint8)[100:]  # anonymous memory is MAP_SHARED
    memory[:] = room
    shared[name] = memory, dtype, shape
found = unpacked(shared)
rooms = {name: np.frombuffer(parts[0], dtype=np.uint8) for name, parts in shared.items()}
shared.clear()
assert torch.from_numpy(found.images).sum() == found.images.size
rooms["images"][0] = rooms["images"][-1] = 7  # beside the pages of the array, others may write
if len(sys.argv) > 1:
    name, place = sys.argv[1], int(sys.argv[2])
    tensor = torch.from_numpy(getattr(found, name)).view(-1)
    del found
    tensor[place] = 5
    print("written")
else:
    del found
    rooms["images"][PAD] = 5
    print("open again")
"""


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WRITER, *args], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("name", "place"), [("images", "0"), ("images", "-1"), ("images", "1000"), ("labels", "36")])
def test_who_writes_to_shared_memory_crashes_where_it_writes(name: str, place: str) -> None:
    done = run(name, place)
    assert (done.returncode, done.stdout) == (-11, ""), done
    assert "Segmentation fault" in done.stderr


def test_memory_that_nobody_uses_any_more_is_open_again() -> None:
    """Ray gives it to other objects."""
    done = run()
    assert (done.returncode, done.stdout) == (0, "open again\n"), done


def test_the_pad_is_a_page_of_any_machine() -> None:
    assert PAD >= mmap.PAGESIZE
    assert PAD % mmap.PAGESIZE == 0
