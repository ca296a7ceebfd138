"""Images on a sheet, as they are stored."""

from __future__ import annotations

import base64
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

IN_A_ROW = 8


def as_png(images: Tensor) -> str:
    """Return images [n, C, H, W], pixels in [0, 1], side by side: a PNG file in base64. What is not finite is black."""
    rows = -(-len(images) // IN_A_ROW)
    # A white line on the right of and below each image; white where the last row has none.
    framed = pad(torch.nan_to_num(images, nan=0.0).clamp(0, 1), (0, 1, 0, 1), value=1.0)
    framed = pad(framed, (0, 0, 0, 0, 0, 0, 0, rows * IN_A_ROW - len(images)), value=1.0)
    _, channels, height, width = framed.shape
    grid = framed.view(rows, IN_A_ROW, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(rows * height, IN_A_ROW * width, channels).mul(255).round().byte().numpy()
    file = BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
