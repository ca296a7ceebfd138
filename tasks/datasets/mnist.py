"""MNIST, read from its four official idx files."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Augmentation, Images, Recipe, dataset
from tasks.datasets._idx import read_four
from tasks.datasets._recipes import of_transformers


@dataset(
    classes=10,
    shape=(3, 32, 32),
    development=60_000,
    test=10_000,
    mean=(0.1307, 0.1307, 0.1307),
    std=(0.3081, 0.3081, 0.3081),
    files={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    recipe=Recipe(epochs=50, batch_size=256, lr=0.1),
    recipes=of_transformers(50),
    augmentation=Augmentation(flip=True),
    folders=("MNIST/raw",),
    how_to_get="the four .gz files of https://ossci-datasets.s3.amazonaws.com/mnist/",
    source="LeCun, Bottou, Bengio and Haffner 1998, Proceedings of the IEEE 86(11)",
)
def mnist(files: Mapping[str, bytes]) -> Images:
    """MNIST, grey 28 x 28 resized to 32 x 32 and shown as 3 channels, 70,000 images in 10 classes."""
    return read_four(files, 32)
