"""How originals and retrains are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum, or AdamW; the learning rate follows the schedule, stepped once per epoch.

    `epochs` passes over the data, `batch_size` images a step, `lr` at the start, `precision` of the forward
    pass (`fp32`, or `bf16` by autocast). `momentum` is the first beta of AdamW, whose second is 0.999 and whose weight
    decay is that of all parameters, too. The defaults are those of Cadet et al. 2024, arXiv 2410.01276.
    """

    epochs: int = 50
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    precision: Literal["fp32", "bf16"] = "fp32"
    optimizer: Literal["sgd", "adamw"] = "sgd"
