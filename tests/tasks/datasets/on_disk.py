"""Writers of the formats of the official files, made after their descriptions and not after the readers."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def idx(array: Bytes) -> bytes:
    """The format by Yann LeCun: two zero bytes, type 8 (unsigned byte), rank, sizes as big-endian int32, data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files(train: tuple[Bytes, Bytes], test: tuple[Bytes, Bytes]) -> dict[str, bytes]:
    """The four files of (images, labels) of both parts."""
    files = {}
    for part, (images, labels) in (("train", train), ("t10k", test)):
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
    return files


def cifar(
    rows: Bytes, labels: Sequence[int], key: bytes = b"labels", further: Mapping[bytes, Sequence[int]] | None = None
) -> bytes:
    """A batch as Python 2 and the numpy of its time pickled it (protocol 2): {"data": rows [n, 3072], key: labels}.

    CIFAR-100 has labels of two kinds: `further` holds the others. Written opcode by opcode, for Python 3 pickles
    bytes and arrays in another way.
    """
    lists = {key: labels, **(further or {})}
    pickled = (_text(name) + b"](" + b"".join(map(_number, numbers)) + b"e" for name, numbers in lists.items())
    return b"\x80\x02}(" + _text(b"data") + _array(rows) + b"".join(pickled) + b"u."


def jpeg(pixels: Bytes) -> bytes:
    """Pixels [H, W, 3] or [H, W] as a JPEG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def colour(red: int, green: int, blue: int, side: int = 16) -> bytes:
    """A JPEG file of one colour all over."""
    return jpeg(np.full((side, side, 3), (red, green, blue), dtype=np.uint8))


def marked(level: int, key: int) -> bytes:
    """A JPEG file of 16 x 16 pixels: the left half flat and as bright as `level`, the right half noise by `key`."""
    pixels = np.random.default_rng(key).integers(0, 256, (16, 16)).astype(np.uint8)
    pixels[:, :8] = level
    return jpeg(pixels)


def tiny_imagenet(train: Mapping[str, Sequence[bytes]], val: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    """All files of the official folder, in the order of its archive: `train` by class, `val` of (class, image)."""
    boxes = "\t0\t0\t63\t63"
    files = {"wnids.txt": "\n".join(train).encode(), "words.txt": b"n00001740\tentity"}
    for folder, images in train.items():
        files |= {f"train/{folder}/images/{folder}_{i}.JPEG": image for i, image in enumerate(images)}
        files[f"train/{folder}/{folder}_boxes.txt"] = f"{folder}_0.JPEG{boxes}\n".encode()
    files |= {f"val/images/val_{i}.JPEG": image for i, (_, image) in enumerate(val)}
    files["val/val_annotations.txt"] = "".join(f"val_{i}.JPEG\t{c}{boxes}\n" for i, (c, _) in enumerate(val)).encode()
    return files | {"test/images/test_0.JPEG": jpeg(np.zeros((64, 64, 3), dtype=np.uint8))}


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files, whose names may have folders in them, and return the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def _array(array: Bytes) -> bytes:
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _number(0) + b"\x85" + _text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + _text(b"u1") + _number(0) + _number(1) + b"\x87R"
    dtype += b"(" + _number(3) + _text(b"|") + b"NNN" + _number(-1) + _number(-1) + _number(0) + b"tb"
    shape = b"(" + b"".join(map(_number, array.shape)) + b"t"
    return empty + b"(" + _number(1) + shape + dtype + b"\x89" + _text(array.tobytes()) + b"tb"
