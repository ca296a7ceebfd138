"""The published 0/1 attack, against a loop over observations, and its two known faults."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from harness.attacks import AttackError, audit, ulira_deep_unlearn

MODELS, EXAMPLES = 40, 30


def worlds(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return correctness, U and O; a cell in five is in neither world, because the image was retained."""
    rng = np.random.default_rng(seed)
    role = rng.choice(3, (MODELS, EXAMPLES), p=[0.3, 0.5, 0.2])
    return rng.random((MODELS, EXAMPLES)) < rng.uniform(0.3, 1.0, EXAMPLES), role == 0, role == 1


def test_each_probability_is_that_of_two_gaussians_fitted_to_all_observations() -> None:
    correct, forgotten, never = worlds()
    correct[:, 0] = True  # all agree: no spread, so no number
    found = ulira_deep_unlearn(correct, forgotten, never)
    for example in range(EXAMPLES):
        u, o = (correct[world[:, example], example].astype(float) for world in (forgotten, never))
        assert np.isnan(found[~forgotten[:, example], example]).all()
        if u.std() == 0 or o.std() == 0:
            assert np.isnan(found[:, example]).all()
            continue
        densities = norm.pdf(u, u.mean(), u.std()), norm.pdf(u, o.mean(), o.std())
        np.testing.assert_allclose(found[forgotten[:, example], example], densities[0] / sum(densities))
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found).sum() > 100


def test_it_accuses_where_nothing_leaks_and_the_audit_does_not() -> None:
    """It scores what it fitted: where forgetting made no difference, images still look forgotten on average."""
    rng = np.random.default_rng(1)
    heads = rng.random((8, 2000)) < 0.5
    forgotten = np.stack((heads, ~heads), axis=1).reshape(16, -1)
    phi = rng.normal(size=forgotten.shape)  # whether an image was forgotten makes no difference
    published = ulira_deep_unlearn(phi > 0, forgotten, ~forgotten)
    assert np.nanmean(published) > 0.52
    result = audit(phi, forgotten, ~forgotten, np.arange(16) // 2)[0]
    assert result.low < 0.5 < result.high


def test_what_does_not_fit_is_named() -> None:
    correct, forgotten, never = worlds()
    with pytest.raises(AttackError, match=r"O is \[30, 40\] where correct is \[40, 30\]"):
        ulira_deep_unlearn(correct, forgotten, never.T)
    with pytest.raises(AttackError, match=r"U and O overlap in row 0, example \d+: \d+ cells are in both worlds"):
        ulira_deep_unlearn(correct, forgotten, np.ones_like(never))
    twice = correct.astype(int)
    twice[1, 2] = 2
    with pytest.raises(AttackError, match=r"correct is 2 in row 1, example 2"):
        ulira_deep_unlearn(twice, forgotten, never)
    never[:, 4] = False
    with pytest.raises(AttackError, match=r"example 4 has no row in O"):
        ulira_deep_unlearn(correct, forgotten, never)
