"""TinyViT: a convolutional stage, then three stages of windowed attention."""

from __future__ import annotations

from torch import nn

from harness.contracts import architecture
from harness.engine.vision import torchvision

STEM = ("patch_embed",)
BLOCKS = ("stages.1", "stages.2", "stages.3")  # those with attention; stages.0 is convolutional
HEAD = "head.fc"
SOURCE = "Wu et al. 2022, ECCV, arXiv 2207.10666; timm"

Sizes = tuple[int, int, int, int]
"""One number for each stage."""


@architecture(stem=STEM, blocks=BLOCKS, head=HEAD, source=SOURCE)
def tinyvit_11m(channels: int, size: int, classes: int) -> nn.Module:
    """TinyViT-11M as in timm, untrained; it takes images of any size."""
    return _tinyvit(channels, classes, (64, 128, 256, 448), (2, 2, 6, 2), (2, 4, 8, 14), (7, 7, 14, 7))


@architecture(stem=STEM, blocks=BLOCKS, head=HEAD, source=SOURCE)
def tinyvit_tiny(channels: int, size: int, classes: int) -> nn.Module:
    """TinyViT with one layer a stage and narrow ones, for a CPU and for tests."""
    return _tinyvit(channels, classes, (16, 24, 32, 48), (1, 1, 1, 1), (1, 1, 2, 2), (2, 2, 2, 2))


def _tinyvit(channels: int, classes: int, widths: Sizes, depths: Sizes, heads: Sizes, windows: Sizes) -> nn.Module:
    torchvision()  # timm imports it, too
    from timm.models.tiny_vit import TinyVit

    model: nn.Module = TinyVit(
        in_chans=channels,
        num_classes=classes,
        embed_dims=widths,
        depths=depths,
        num_heads=heads,
        window_sizes=windows,
        drop_path_rate=0.1,
    )
    for layer in model.modules():
        if hasattr(layer, "attention_bias_cache"):
            layer.register_forward_pre_hook(_gather_biases_again)
    return model


def _gather_biases_again(layer: nn.Module, inputs: object) -> None:
    """Drop the biases that timm keeps from one forward pass in eval mode for the next.

    They belong to the graph of that pass, or to none: methods that train in eval mode would crash or leave the biases
    as they are.
    """
    layer.attention_bias_cache.clear()  # type: ignore[operator, union-attr]
