"""Recipes of vision transformers, which SGD at the rates of convolutional networks hardly trains."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Recipe

RATES = {"vit_tiny": 3e-3, "vit_b16": 1e-4}


def of_transformers(epochs: int, batch_size: int = 128) -> Mapping[str, Recipe]:
    """Return the recipes of a data set for transformers: AdamW from scratch.

    This harness's choice: those of arXiv 2606.00380 (AdamW, 5e-5, weight decay 0.01) are for weights from ImageNet.
    """
    return {
        name: Recipe(epochs, batch_size, rate, weight_decay=0.05, optimizer="adamw") for name, rate in RATES.items()
    }
