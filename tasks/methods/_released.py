"""A quirk of the released code: in eval mode its TinyViT gives the attention biases no gradient."""

from __future__ import annotations

from torch import nn

from harness.errors import HarnessError

ATTENTION_BIASES = "attention_biases"
"""How the name of every such parameter ends."""


class ReleasedCodeCrashes(HarnessError):
    """A model on which the released code of a method ends in an exception."""


def freeze_attention_biases(model: nn.Module) -> None:
    """Take the attention biases out of training; a model without any stays as it is."""
    for name, parameter in model.named_parameters():
        if name.endswith(ATTENTION_BIASES):
            parameter.requires_grad_(False)


def refuse_attention_biases(model: nn.Module, method: str) -> None:
    """Raise `ReleasedCodeCrashes` for a model with attention biases."""
    if any(name.endswith(ATTENTION_BIASES) for name, _ in model.named_parameters()):
        raise ReleasedCodeCrashes(
            f"{method}, variant reference: the released code crashes on a model with attention biases; "
            "use another variant or another architecture"
        )
