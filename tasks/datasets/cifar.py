"""CIFAR-10, -100 and -20, read from their official pickles by an unpickler that makes numpy arrays and nothing else."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Augmentation, DataCorrupt, Images, Recipe, dataset
from tasks.datasets._recipes import of_transformers

PIXELS, MOST_LABELS, MOST_REMEMBERED, MOST_TUPLES = 3 * 32 * 32, 1000, 1_000_000, 1000
SOURCE = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
RECIPE = Recipe(epochs=182, batch_size=256, lr=0.1)
OF_ALLCNN = {classes: Recipe(epochs, 256, lr=0.1, weight_decay=1e-4) for classes, epochs in ((10, 50), (100, 200))}
"""As ISPF (arXiv 2412.13790) trains AllCNN, but with the cosine schedule of all recipes here. Its script for 100
classes is lost: their epochs are this harness's choice."""
OF_KIT = Recipe(epochs=182, batch_size=128, lr=0.1)
"""As the starting kit says that its weights were trained; it says no epochs: they are those of `RECIPE`."""
AUGMENTATION = Augmentation(crop_padding=4, flip=True)
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
OFFICIAL_10 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

OFFICIAL_100 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
# fmt: off
COARSE = np.array((
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11,
    6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5,
    5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13,
    16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
), dtype=np.int64)
# fmt: on
"""The class of each subclass of CIFAR-20: the coarse label of each fine label of CIFAR-100."""


@dataset(
    classes=10,
    shape=(3, 32, 32),
    development=50_000,
    test=10_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    files=OFFICIAL_10,
    recipe=RECIPE,
    recipes={"allcnn": OF_ALLCNN[10], **of_transformers(182)},
    augmentation=AUGMENTATION,
    folders=("cifar-10-batches-py", "cifar10/cifar-10-batches-py", "."),
    archive="cifar-10-python.tar.gz",
    how_to_get="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    source=SOURCE,
)
def cifar10(files: Mapping[str, bytes]) -> Images:
    """CIFAR-10, colour 32 x 32, 60,000 images in 10 classes."""
    return read_batches({name: files[name] for name in BATCHES}, b"labels")


@dataset(
    classes=10,
    shape=(3, 32, 32),
    development=50_000,
    test=10_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    files=OFFICIAL_10,
    val="test",
    recipe=OF_KIT,
    recipes={"allcnn": OF_ALLCNN[10], **of_transformers(182)},
    augmentation=AUGMENTATION,
    folders=("cifar-10-batches-py", "cifar10_kit/cifar-10-batches-py", "cifar10", "cifar10/cifar-10-batches-py", "."),
    archive="cifar-10-python.tar.gz",
    how_to_get="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    source=f"{SOURCE}; cut as in the starting kit of the NeurIPS 2023 unlearning challenge",
)
def cifar10_kit(files: Mapping[str, bytes]) -> Images:
    """CIFAR-10 as the NeurIPS 2023 starting kit cuts it: 50,000 train, 10,000 halved into test and val."""
    return cifar10(files)


@dataset(
    classes=100,
    shape=(3, 32, 32),
    development=50_000,
    test=10_000,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    files=OFFICIAL_100,
    recipe=RECIPE,
    recipes={"allcnn": OF_ALLCNN[100], **of_transformers(182)},
    augmentation=AUGMENTATION,
    folders=("cifar-100-python", "cifar100/cifar-100-python", "."),
    archive="cifar-100-python.tar.gz",
    how_to_get="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    source=SOURCE,
)
def cifar100(files: Mapping[str, bytes]) -> Images:
    """CIFAR-100 with its fine labels, colour 32 x 32, 60,000 images in 100 classes."""
    return read_batches(_parts(files), b"fine_labels")


@dataset(
    classes=20,
    subclasses=100,
    shape=(3, 32, 32),
    development=50_000,
    test=10_000,
    mean=(0.50708, 0.48655, 0.44092),
    std=(0.26733, 0.25644, 0.27615),
    files=OFFICIAL_100,
    # Epochs as in arXiv 2606.00380, where the learning rate falls in steps: recipes here know none, hence cosine.
    recipe=replace(RECIPE, epochs=40),
    recipes=of_transformers(40),
    augmentation=replace(AUGMENTATION, rotation=15.0),
    folders=("cifar-100-python", "cifar20/cifar-100-python", "cifar100", "cifar100/cifar-100-python", "."),
    archive="cifar-100-python.tar.gz",
    how_to_get="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    source=f"{SOURCE}; as arXiv 2308.07707 and 2606.00380 use it to forget subclasses",
)
def cifar20(files: Mapping[str, bytes]) -> Images:
    """CIFAR-20: CIFAR-100 under its 20 coarse labels, with its 100 fine labels as subclasses, five in each class."""
    images = read_batches(_parts(files), b"coarse_labels", b"fine_labels")
    if images.fine is None or not np.array_equal(COARSE[images.fine], images.labels):
        raise DataCorrupt("the coarse labels of CIFAR-100 are not those that its fine labels belong to")
    return images


def _parts(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: files[name] for name in ("train", "test")}


def read_batches(contents: Mapping[str, bytes], labels: bytes, fine: bytes | None = None) -> Images:
    """Return the images of the pickled batches, in order, with the labels (and the fine ones) of the given keys.

    A row of `data` [n, 3072] is an image: the red plane, the green, the blue, each row by row.
    """
    keys = [key for key in (labels, fine) if key is not None]
    batches = [_named(name, content, keys) for name, content in contents.items()]
    pixels = np.concatenate([batch[b"data"] for batch in batches])

    def joined(key: bytes) -> NDArray[np.int64]:
        return np.concatenate([batch[key] for batch in batches])

    return Images(pixels.reshape(-1, 3, 32, 32), joined(labels), None if fine is None else joined(fine))


def _named(name: str, content: bytes, keys: Sequence[bytes]) -> dict[bytes, NDArray[Any]]:
    """Return what `_batch` does; its error names the file."""
    try:
        return _batch(content, keys)
    except DataCorrupt as error:
        raise DataCorrupt(f"{name}: {error}") from error


def _batch(content: bytes, keys: Sequence[bytes]) -> dict[bytes, NDArray[Any]]:
    """Return the pixels [n, 3072] of a batch, and its labels [n] of each key; raise `DataCorrupt`."""
    found = unpickle(content)
    pixels = found.get(b"data") if isinstance(found, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise DataCorrupt(f"a pickle holds no array of rows of {PIXELS} bytes as 'data'")
    batch: dict[bytes, NDArray[Any]] = {b"data": pixels}
    for key in keys:
        labels = found.get(key)
        if not isinstance(labels, list) or not all(type(one) is int and 0 <= one < MOST_LABELS for one in labels):
            raise DataCorrupt(f"a pickle holds no list of labels as {key.decode()!r}")
        batch[key] = np.array(labels, dtype=np.int64)
    return batch


def unpickle(content: bytes) -> Any:
    """Return what a pickle of Python 2 holds, strings as bytes; raise `DataCorrupt` if it is more than arrays of bytes.

    The md5 sums that were published keep off damage, but not intent: hence this, also behind a right checksum.
    """
    tuples = 0
    try:
        for opcode, argument, _ in pickletools.genops(content):
            tuples += opcode.name.startswith("TUPLE") or opcode.name == "FROZENSET"
            if tuples > MOST_TUPLES:
                raise ValueError("tuples in tuples")  # as a key they would be hashed, and so many end the process
            if opcode.name.startswith("EXT"):
                raise ValueError("a name by a number")  # what it has stood for before is not asked for again
            if "PUT" in opcode.name and int(argument or 0) > MOST_REMEMBERED:
                raise ValueError("it remembers more than it can hold")  # Python would make room for so much at once
        return _made(_ArraysOnly(io.BytesIO(content), encoding="bytes").load())
    except DataCorrupt:
        raise
    except Exception as error:  # whatever bytes that are no pickle make of an unpickler
        raise DataCorrupt(
            f"a pickle cannot be read: {type(error).__name__}; replace it by the official file"
        ) from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise DataCorrupt(f"a pickle calls for {module}.{name}; nothing but numpy arrays is read from pickles")
        return ALLOWED[module, name]()


class _Named:
    """What a pickle may name; it stands for something of numpy, and numpy itself is never called."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise DataCorrupt("a pickle changes what it names; nothing but numpy arrays is read from pickles")


class _Ndarray(_Named):
    """`numpy.ndarray`, which is only ever named as the kind of an array."""

    __slots__ = ()


class _Dtype(_Named):
    """`numpy.dtype`; called, it gives the type of bytes."""

    __slots__ = ()

    def __call__(self, code: object, *of: object) -> _Bytes:
        if code not in (b"u1", b"|u1"):
            told = repr(code) if isinstance(code, bytes) else "that is none"  # lists of lists may be endless to tell
            raise DataCorrupt(f"a pickle holds numbers of a type {told}; nothing but bytes is read from pickles")
        return _Bytes()


class _Bytes(_Named):
    """The type of bytes, which has no order of them: there is nothing more to tell of it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Take what numpy says of every type."""


class _Reconstruct(_Named):
    """`numpy.core.multiarray._reconstruct`, its name in the numpy that wrote the files; it gives an empty array."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if not isinstance(kind, _Ndarray):
            raise DataCorrupt("a pickle holds something else than a numpy array")
        return _Array()


class _Array:
    """An array: what numpy says of it is its content."""

    __slots__ = ("values",)

    def __setstate__(self, state: tuple[object, tuple[int, ...], object, object, bytes]) -> None:
        _, shape, dtype, is_fortran, content = state
        sizes = isinstance(shape, tuple) and all(
            type(size) is int for size in shape
        )  # of texts, it would be a long one
        if (
            not isinstance(dtype, _Bytes)
            or not isinstance(content, bytes)
            or not sizes
            or math.prod(shape) != len(content)
        ):
            raise DataCorrupt("a pickle holds an array that is none of bytes, or not all of it")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _made(found: Any) -> Any:
    """Return a dictionary with its arrays in place of what stands for them."""
    if not isinstance(found, dict):
        return found
    return {key: getattr(value, "values", None) if isinstance(value, _Array) else value for key, value in found.items()}


ALLOWED: dict[tuple[str, str], type[_Named]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
}
"""All that the official files refer to."""
