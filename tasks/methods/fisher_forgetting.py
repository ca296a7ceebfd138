"""Fisher forgetting: noise where the retain part leaves the weights free."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from harness.contracts import REFERENCE, RETAIN, Run, Samples, View, log_uniform, method, ranges, variants
from harness.engine.weights import add_noise
from tasks.methods._released import refuse_attention_biases


@method(reads={RETAIN}, source="Golatkar et al. 2020, CVPR, arXiv 1911.04933")
class FisherForgetting:
    """Add Gaussian noise to every weight, the less of it the more Fisher information on retain the weight holds.

    The information is the square of the gradient of a batch's mean loss, not the mean of squared gradients, so the
    batch size matters. `reference` refuses a model with attention biases, on which the released code crashes.
    `fixed` searches `alpha` on a log scale around the small values that leave a model useful.
    """

    alpha: float = ranges.share(0.2)
    batch_size: int = ranges.batch_size(64)
    variant: str = variants("reference", fixed={"alpha": log_uniform(1e-9, 1e-1, default=1e-6)})

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with noise of variance `noise_variance` on every parameter."""
        if self.variant == REFERENCE:
            refuse_attention_biases(model, "fisher_forgetting")
        model.eval()
        information = fisher_information(model, data.retain, data.classes, self.batch_size, run)
        for parameter, value in zip(model.parameters(), information, strict=True):
            add_noise(parameter, noise_variance(value, self.alpha, data.classes).sqrt(), run.generator)
        return model


def fisher_information(model: nn.Module, samples: Samples, classes: int, batch_size: int, run: Run) -> list[Tensor]:
    """Return for every parameter, in its shape, the mean over batches of sum_y p_y x gradient(CE_y)^2.

    CE_y is the mean cross-entropy of the batch if all labels were y, p_y the batch's mean probability of class y.
    """
    parameters = list(model.parameters())
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    batches = 0
    for images, _, _ in samples.batches(batch_size, shuffle=False):
        run.check()
        logarithms = log_softmax(model(images), dim=1)
        weights = logarithms.detach().exp().mean(0)
        for label in range(classes):
            loss = -logarithms[:, label].mean()
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
            for total, gradient in zip(totals, gradients, strict=True):
                total.add_(weights[label] * gradient.square())
        batches += 1
    return [total / batches for total in totals]


def noise_variance(information: Tensor, alpha: float, classes: int) -> Tensor:
    """Return alpha / information of one parameter, bounded; broadcasts to the parameter's shape.

    A first dimension of one entry per class (the classifier) has a lower bound; it and vectors get ten times as much.
    The inputs of a layer (dimension 1) share one variance, their mean.
    """
    per_class = information.shape[:1] == (classes,)
    variance = alpha * (1 / (information + 1e-8)).clamp(max=1e2 if per_class else 1e3)
    if information.ndim > 1:
        variance = variance.mean(dim=1, keepdim=True)
    return 10 * variance if per_class or information.ndim == 1 else variance
