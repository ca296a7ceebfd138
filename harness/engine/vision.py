"""Import torchvision beside a CPU-only torch.

torchvision's wheel on the package index is a CUDA build. Beside a CPU torch its import dies, because two
operators are not registered; declaring them cures it. Where the import works by itself, nothing is touched.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []  # a Library withdraws its operators when it is collected


def torchvision() -> ModuleType:
    """Return the torchvision module; every import of it (and of timm) goes through here."""
    try:
        return _import()
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return _import()


def _import() -> ModuleType:
    return import_module("torchvision")
