"""Vision transformers with a class token, as in timm: ViT-B/16, and one for a CPU.

timm's and not torchvision's, which keeps the weights of queries, keys and values in no layer: methods that look at the
inputs of every linear layer would miss them.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import interpolate

from harness.contracts import architecture
from harness.engine.vision import torchvision

SOURCE = "Dosovitskiy et al. 2021, ICLR, arXiv 2010.11929; timm"
OFFICIAL_SIZE = 224
DEPTH_OF_BASE, DEPTH_OF_TINY = 12, 4
MOST_PATCHES = 8
"""Along a side, in `vit_tiny`."""


class Resize(nn.Module):
    """Images [B, C, H, W] of any size to [B, C, `size`, `size`], bilinear with antialiasing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Return the images resized; those of the size itself as they are."""
        if images.shape[2:] == (self.size, self.size):
            return images
        return interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)


@architecture(
    stem=("vit.patch_embed",),
    blocks=tuple(f"vit.blocks.{number}" for number in range(DEPTH_OF_BASE)),
    head="vit.head",
    source=SOURCE,
)
def vit_b16(channels: int, size: int, classes: int) -> nn.Module:
    """ViT-B/16 as in timm, untrained; images of any other size are resized to 224 x 224 inside of the model.

    85,806,346 parameters for 10 classes.
    """
    vit = _vit(channels, OFFICIAL_SIZE, classes, patch=16, width=768, depth=DEPTH_OF_BASE, heads=12, widening=4)
    return nn.Sequential(OrderedDict(resize=Resize(OFFICIAL_SIZE), vit=vit))


@architecture(
    stem=("patch_embed",),
    blocks=tuple(f"blocks.{number}" for number in range(DEPTH_OF_TINY)),
    head="head",
    source=f"this harness, after {SOURCE}",
)
def vit_tiny(channels: int, size: int, classes: int) -> nn.Module:
    """A ViT of width 64 with 4 layers for a CPU; up to 8 x 8 patches: of 4 pixels a side at 28 and 32, of 2 at 8."""
    sides = (side for side in range(MOST_PATCHES, 0, -1) if size % side == 0 and size >= 2 * side)
    patch = size // next(sides, 1)
    return _vit(channels, size, classes, patch=patch, width=64, depth=DEPTH_OF_TINY, heads=4, widening=2)


def _vit(
    channels: int, size: int, classes: int, *, patch: int, width: int, depth: int, heads: int, widening: int
) -> nn.Module:
    torchvision()  # timm imports it, too
    from timm.models.vision_transformer import VisionTransformer

    model: nn.Module = VisionTransformer(
        img_size=size,
        patch_size=patch,
        in_chans=channels,
        num_classes=classes,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=widening,
    )
    return model
