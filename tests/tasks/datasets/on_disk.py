"""Writers of the formats of the official files, made after their descriptions and not after the readers."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

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


def cifar(rows: Bytes, labels: Sequence[int], key: bytes = b"labels") -> bytes:
    """A batch as Python 2 and the numpy of its time pickled it (protocol 2): {"data": rows [n, 3072], key: labels}.

    Written opcode by opcode, for Python 3 pickles bytes and arrays in another way.
    """
    pickled_labels = b"](" + b"".join(map(_number, labels)) + b"e"
    return b"\x80\x02}(" + _text(b"data") + _array(rows) + _text(key) + pickled_labels + b"u."


def jpeg(pixels: Bytes) -> bytes:
    """Pixels [H, W, 3] or [H, W] as a JPEG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


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
