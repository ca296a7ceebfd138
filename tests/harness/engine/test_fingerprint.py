"""Any change of any byte shows, wherever it is; what is only looked at does not change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from harness.check import problem
from harness.engine.fingerprint import SMALL, fingerprint
from harness.engine.models import digest, packed

SIZES = (1, 7, 8, SMALL - 1, SMALL + 1, 9 * SMALL + 5, 3 * 2**20 + 3)


def noise(size: int) -> Tensor:
    return torch.randint(0, 256, (size,), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize("size", SIZES)
def test_any_byte_counts(size: int) -> None:
    tensor = noise(size)
    whole = fingerprint([tensor])
    for place in {0, size // 3, size // 2, size - 1}:
        other = tensor.clone()
        other[place] += 1
        assert fingerprint([other]) != whole
    assert fingerprint([tensor.clone()]) == whole


@pytest.mark.parametrize("size", [64, 3 * 2**20])
def test_order_counts(size: int) -> None:
    tensor = noise(size)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    assert fingerprint([tensor[order]]) != fingerprint([tensor])
    halves = tensor.chunk(2)
    swapped = [half.clone() for half in halves[::-1]]
    assert fingerprint(swapped) != fingerprint([half.clone() for half in halves])


@pytest.mark.parametrize(
    "tensors",
    [[], [torch.zeros(0)], [torch.tensor(3)], [torch.ones(3, 4).t()], [torch.ones(2, dtype=torch.bfloat16)]],
)
def test_tensors_of_any_kind_have_one(tensors: Sequence[Tensor]) -> None:
    assert 0 <= fingerprint(tensors) < 2**64
    assert fingerprint(tensors) == fingerprint([tensor.clone() for tensor in tensors])


def test_what_shares_memory_is_read_once() -> None:
    tensor, known = noise(1000), dict[int, int]()
    fingerprint([tensor, tensor[:10], tensor.view(10, 100)], known)
    assert list(known) == [tensor.data_ptr()]
    tensor[999] += 1
    assert fingerprint([tensor], known) == fingerprint([tensor[:3]], known), "what is known is not read again"
    assert fingerprint([tensor[:3]]) != fingerprint([tensor[:3]], known)


@pytest.mark.parametrize("architecture", ["cnn_small", "tinyvit_tiny"])
def test_a_packed_state_is_the_same_in_one_piece(architecture: str) -> None:
    state = problem.initial(architecture).state_dict()
    own = packed(state)
    assert digest(own) == digest(state)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in own.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in state.items()
    }
    assert len({tensor.untyped_storage().data_ptr() for tensor in own.values()}) == 1
    assert not {tensor.data_ptr() for tensor in own.values()} & {tensor.data_ptr() for tensor in state.values()}
    assert all(tensor.data_ptr() % 16 == 0 for tensor in own.values() if tensor.numel())


def test_an_empty_state_is_empty() -> None:
    assert packed({}) == {}
