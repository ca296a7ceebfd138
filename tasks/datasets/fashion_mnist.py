"""Fashion-MNIST, read from its four official idx files."""

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
    mean=(0.2860, 0.2860, 0.2860),
    std=(0.3530, 0.3530, 0.3530),
    files={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    recipe=Recipe(epochs=50, batch_size=256, lr=0.1),
    recipes=of_transformers(50),
    augmentation=Augmentation(flip=True),
    folders=("FashionMNIST/raw", "/usr/share/datasets/fashion-mnist"),
    how_to_get="apt-get install dataset-fashion-mnist, or the files of zalandoresearch/fashion-mnist",
    source="Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747",
)
def fashion_mnist(files: Mapping[str, bytes]) -> Images:
    """Fashion-MNIST, grey 28 x 28 resized to 32 x 32 and shown as 3 channels, 70,000 images in 10 classes."""
    return read_four(files, 32)
