"""Weights come back bit for bit, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store import ModelCorrupt, ModelMissing, Store
from harness.store.models import digest

torch.set_num_threads(1)


def state() -> dict[str, torch.Tensor]:
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    return {
        "weight": weights,
        "tied": weights,
        "transposed": weights.T,
        "half": weights.to(torch.bfloat16),
        "steps": torch.tensor(7),
        "mask": weights > 0,
        "empty": torch.empty(0, 5),
        "trained": torch.nn.Parameter(weights * 2),
    }


def test_weights_come_back_bit_for_bit(store: Store) -> None:
    sha256 = store.save_model("unit", state())
    assert store.has_model("unit")
    loaded = store.load_model("unit")
    assert loaded.keys() == state().keys()
    for name, tensor in state().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
        assert not loaded[name].requires_grad
    assert digest(loaded) == sha256 == store.save_model("again", state())
    loaded["weight"].add_(1)  # it is the caller's own memory
    assert torch.equal(store.load_model("unit")["weight"], state()["weight"])
    store.drop_model("unit")
    store.drop_model("unit")
    assert not store.has_model("unit")


def test_any_difference_is_another_digest() -> None:
    base = {"a": torch.zeros(2, 2), "b": torch.ones(1)}
    others = [
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4), "b": torch.ones(1)},
        {"a": torch.zeros(2, 2, dtype=torch.int32), "b": torch.ones(1)},
        {"a": torch.zeros(2, 2), "c": torch.ones(1)},
        {"a": torch.tensor([[0.0, 0.0], [0.0, -0.0]]), "b": torch.ones(1)},
    ]
    assert digest(dict(reversed(base.items()))) == digest(base)
    assert len({digest(other) for other in [base, *others]}) == 6


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_altered_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("root")
    store = Store.open(str(root), write=True)
    store.save_model("unit", state())
    path = root / "models" / "unit.safetensors"
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    altered = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    path.write_bytes(data.draw(st.sampled_from([whole[:at], whole[:at] + altered + whole[at + 1 :]])))
    try:
        loaded = store.load_model("unit")
    except ModelCorrupt as error:
        message = str(error)
    else:  # padding of the header, or a synonym in its JSON
        assert digest(loaded) == digest(state())
        return
    assert str(path) in message
    assert "\n" not in message


def test_missing_weights_are_named(root: Path) -> None:
    with pytest.raises(ModelMissing, match="the weights of unit were not kept"):
        Store.open(str(root)).load_model("unit")
