"""Several networks of one architecture trained at once, each as `harness.engine.train` would train it alone.

A small network keeps a GPU busy for a fraction of the time that it takes to tell it what to do. Stacked, one call does
the work of a layer for all networks (`torch.func`). Batches, their order and their augmentation are drawn as for one
network: what a network learns in company differs from what it learns alone by rounding, and in double precision by
1e-11 after some steps of a ResNet18.

Networks have batches of different sizes where they train on different numbers of images: the shorter ones are padded,
what is padded has no loss, and BatchNorm does not see it. A network whose epoch has fewer steps rests in the last ones.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from harness.contracts.recipe import Recipe
from harness.engine.data import DeviceData, PartSamples, batch_bounds
from harness.engine.run import TrainingRun
from harness.engine.seeding import seeded
from harness.engine.train import optimizer_of, schedule_of

TRIAL_IMAGES = 16
TRIAL_TOLERANCE = 1e-6
"""How far a step of stacked networks may be from that of each alone in double precision, relative to its norm."""

_SLOW = "There is a performance drop because we have not yet implemented the batching rule"
"""What torch says of some operations of attention on a CPU."""


@dataclass(frozen=True)
class Member:
    """One of the networks: the untrained model, its own images and labels, and its run."""

    model: nn.Module
    samples: PartSamples
    run: TrainingRun


@dataclass(frozen=True)
class Batches:
    """One batch for each of k networks, padded to the longest: index, labels and augmentation [k, B], sizes [k].

    Networks that have no batch any more are `resting`.
    """

    index: Tensor
    labels: Tensor
    sizes: Tensor
    changes: tuple[Tensor | None, ...]
    resting: tuple[int, ...]

    def images(self, data: DeviceData) -> Tensor:
        """Return the images [k, B, C, H, W]."""
        flat = (None if change is None else change.flatten(0, 1) for change in self.changes)
        images = data.batch(self.index.flatten(), *flat)
        return images.view(*self.index.shape, *images.shape[1:])


class Stack:
    """The weights and buffers of k networks: the trainable weights of each side by side in one row of `flat` [k, P]."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        first = copy.deepcopy(models[0]).train()
        self._network, self._norms = first, _masked(first)
        trained = {name: one for name, one in first.named_parameters() if one.requires_grad}
        self._shapes = {name: one.shape for name, one in trained.items()}
        states = [model.state_dict() for model in models]
        self.flat = torch.stack([torch.cat([state[name].reshape(-1) for name in trained]) for state in states])
        self.rest = {name: torch.stack([state[name] for state in states]) for name in states[0].keys() - trained.keys()}
        self.rows = [nn.Parameter(row) for row in self.flat]
        self._gradients = vmap(grad(self._loss, has_aux=True))

    def backward(self, images: Tensor, labels: Tensor, sizes: Tensor, resting: Sequence[int] = ()) -> None:
        """Set the gradient of each row, and count the images [k, B, C, H, W] in the statistics of BatchNorm.

        Labels are [k, B], sizes [k] say how many of the images count. Those of `resting` networks do not.
        """
        gradients, noted = self._gradients(self.flat, self.rest, images, labels, sizes)
        for row, gradient in zip(self.rows, gradients, strict=True):
            row.grad = gradient
        for name, new in noted.items():
            for number in resting:
                new[number] = self.rest[name][number]
        self.rest |= noted

    def state(self, number: int) -> dict[str, Tensor]:
        """Return the weights and buffers of one network."""
        return self._unpacked(self.flat[number]) | {name: stacked[number] for name, stacked in self.rest.items()}

    def _unpacked(self, row: Tensor) -> dict[str, Tensor]:
        pieces = torch.split(row, [shape.numel() for shape in self._shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}

    def _loss(
        self, row: Tensor, rest: Mapping[str, Tensor], images: Tensor, labels: Tensor, size: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of the first `size` images of one network, and its new running statistics."""
        counted = torch.arange(len(labels), device=labels.device) < size
        self._norms.begin(counted, size)
        logits = functional_call(self._network, (self._unpacked(row), dict(rest)), (images,))
        losses = cross_entropy(logits, labels, reduction="none")
        return (losses * counted).sum() / size.clamp(min=1), self._norms.noted


@dataclass
class _Norms:
    """What the BatchNorm layers of a network share in one forward pass: which images [B] count, and how many do;
    `noted` are the new running statistics."""

    counted: Tensor = field(default_factory=lambda: torch.empty(0))
    size: Tensor = field(default_factory=lambda: torch.empty(0))
    noted: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, counted: Tensor, size: Tensor) -> None:
        """Forget the pass before."""
        self.counted, self.size, self.noted = counted, size, {}

    def normalise(self, name: str, layer: _BatchNorm, inputs: Tensor) -> Tensor:
        """Do what a BatchNorm layer does in train mode with the images that count."""
        over = [axis for axis in range(inputs.dim()) if axis != 1]
        wide = (1, -1, *[1] * (inputs.dim() - 2))
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        count = self.size * values[0, 0].numel()
        weights = (self.counted.to(values.dtype) / count.clamp(min=1)).view(-1, *[1] * (inputs.dim() - 1))
        mean = (values * weights).sum(over)
        centred = values - mean.view(wide)
        variance = (centred.square() * weights).sum(over)
        if layer.track_running_stats:
            self._note(name, layer, mean.detach(), variance.detach(), count)
        found = centred * torch.rsqrt(variance + layer.eps).view(wide)
        if layer.affine:
            found = found * layer.weight.view(wide) + layer.bias.view(wide)
        return found.to(inputs.dtype)

    def _note(self, name: str, layer: _BatchNorm, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert layer.num_batches_tracked is not None
        batches = layer.num_batches_tracked + 1
        share = 1 / batches if layer.momentum is None else layer.momentum
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.noted[f"{name}.num_batches_tracked"] = batches
        for statistic, now in (("running_mean", mean), ("running_var", unbiased)):
            before = getattr(layer, statistic)
            self.noted[f"{name}.{statistic}"] = before + share * (now - before)


def _masked(network: nn.Module) -> _Norms:
    """Have the BatchNorm layers of a network count only some of the images; return what they share."""
    norms = _Norms()
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = partial(norms.normalise, name, layer)  # type: ignore[method-assign]
    return norms


def obstacle(members: Sequence[Member]) -> str:
    """Return why networks cannot be trained together, empty if they can: one step is tried, stacked and one by one.

    Networks that draw random numbers are among those that cannot: alone, each has its own stream of them.
    """
    samples = members[0].samples
    index, labels = samples.index[:TRIAL_IMAGES], samples.labels[:TRIAL_IMAGES]
    images = samples.data.batch(index).double()
    models = [copy.deepcopy(member.model).double() for member in (members[0], members[-1])]
    sizes = [len(index), len(index) - 1]
    with seeded("stacked"), torch.autocast(images.device.type, enabled=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SLOW)
        try:
            stack = Stack(models)
            stack.backward(images.repeat(2, 1, 1, 1, 1), labels.repeat(2, 1), torch.tensor(sizes).to(images.device))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {str(error).partition('. ')[0]}"
        same = [
            _is_step(model, stack, n, images[:size], labels[:size])
            for n, (model, size) in enumerate(zip(models, sizes, strict=True))
        ]
    return "" if all(same) else "a step of several at once is not what it is alone"


def _is_step(model: nn.Module, stack: Stack, number: int, images: Tensor, labels: Tensor) -> bool:
    """Whether a stacked step had the gradient and left the buffers of a step of one model alone."""
    trained = [one for one in model.train().parameters() if one.requires_grad]
    cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    if any(one.grad is None for one in trained):
        return False  # an optimiser leaves such weights as they are
    gradient = torch.cat([one.grad.reshape(-1) for one in trained if one.grad is not None])
    found = stack.state(number)
    pairs = [(stack.rows[number].grad, gradient)]
    pairs += [(found[name].double(), buffer.double()) for name, buffer in model.named_buffers() if name in found]
    return all(one is not None and bool((one - own).norm() <= TRIAL_TOLERANCE * own.norm()) for one, own in pairs)


def train_together(members: Sequence[Member], recipe: Recipe) -> None:
    """Train each model on its own augmented samples by the recipe, in place, as `train` would.

    All samples are of one data set with one set of labels. Raises what torch raises where it cannot stack the networks;
    `obstacle` says so before.
    """
    stack = Stack([member.model for member in members])
    optimizers = [optimizer_of(nn.ParameterList([row]), recipe) for row in stack.rows]
    epochs = [
        member.run.epochs(recipe.epochs, member.model, optimizer, schedule_of(optimizer, recipe))
        for member, optimizer in zip(members, optimizers, strict=True)
    ]
    data = members[0].samples.data
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SLOW)
        for _ in zip(*epochs, strict=True):
            for batches in epoch_of([member.samples for member in members], recipe.batch_size):
                stack.backward(batches.images(data), batches.labels, batches.sizes, batches.resting)
                for number, (member, optimizer) in enumerate(zip(members, optimizers, strict=True)):
                    member.run.check()
                    if number not in batches.resting:
                        optimizer.step()
                        member.run.steps += 1
    for number, member in enumerate(members):
        member.model.train().load_state_dict(stack.state(number))


def epoch_of(samples: Sequence[PartSamples], size: int) -> Iterator[Batches]:
    """Yield the batches of one pass over each of the samples, which `PartSamples.draw` draws as for one network."""
    bounds = [list(batch_bounds(len(one), size)) for one in samples]
    steps = max(map(len, bounds))
    longest = max(stop - start for own in bounds for start, stop in own)
    passes = [_padded(one, own, steps, longest) for one, own in zip(samples, bounds, strict=True)]
    index = torch.stack([one for one, _, _ in passes], dim=1)
    labels = torch.stack([one for _, one, _ in passes], dim=1)
    drawn = zip(*(one for _, _, one in passes), strict=True)
    changes = [None if one[0] is None else torch.stack(one, dim=1) for one in drawn]
    counts = [[stop - start for start, stop in own] + [0] * (steps - len(own)) for own in bounds]
    sizes = torch.tensor(counts).T.to(samples[0].data.device)
    for step in range(steps):
        now = tuple(None if change is None else change[step] for change in changes)
        resting = tuple(number for number, own in enumerate(bounds) if step >= len(own))
        yield Batches(index[step], labels[step], sizes[step], now, resting)


def _padded(
    samples: PartSamples, bounds: Sequence[tuple[int, int]], steps: int, size: int
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Draw one pass: index, labels and each kind of augmentation, [steps, size]; what is padded is some image."""
    order, changes = samples.draw(augment=True)
    starts = torch.tensor([start for start, _ in bounds] + [0] * (steps - len(bounds)))
    slots = (starts[:, None] + torch.arange(size)).clamp(max=len(samples) - 1)
    positions, slots = order[slots].to(samples.data.device), slots.to(samples.data.device)
    own = [None if change is None else change[slots] for change in changes]
    return samples.index[positions], samples.labels[positions], own
