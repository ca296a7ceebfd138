"""What competitors are called: short, and no two alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.labels import labels

SETTINGS = st.lists(st.sampled_from(["lr=0.1", "lr=0.2", "epochs=5", "images=real", "search"]), unique=True)
CONFIGS = SETTINGS.map(lambda one: ",".join(sorted(one)) or "default")
COMPETITORS = st.lists(st.tuples(st.sampled_from(["a", "b"]), CONFIGS))


def test_what_all_settings_of_a_method_share_is_left_out() -> None:
    long = "batch_size=64,steps=9"
    settings = [long, f"{long},images=real", "batch_size=64,lr=0.1,steps=9"]
    found = labels([*(("gan", one) for one in settings), ("m1", long)])
    assert list(found.values()) == ["gan", "gan (images=real)", "gan (lr=0.1)", "m1"]


def test_a_default_beside_a_setting_is_called_so() -> None:
    assert list(labels([("m", "default"), ("m", "lr=0.1")]).values()) == ["m (default)", "m (lr=0.1)"]


@given(COMPETITORS)
def test_no_two_labels_are_alike_and_a_method_alone_is_its_name(competitors: list[tuple[str, str]]) -> None:
    found = labels(competitors)
    assert found.keys() == set(competitors)
    assert len(set(found.values())) == len(found)
    for (method, _), label in found.items():
        assert label.startswith(method)
        if sum(other == method for other, _ in found) == 1:
            assert label == method
