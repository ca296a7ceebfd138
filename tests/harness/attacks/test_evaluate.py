from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.attacks.curves import auc, tpr_at_fpr
from harness.attacks.errors import AttackError
from harness.attacks.evaluate import audit, evaluate, null_tpr
from harness.attacks.intervals import paired_difference
from harness.attacks.joint import jackknife_joint, ulira_joint
from harness.attacks.ulira import jackknife, ulira

Draw = Callable[..., Any]


def toy(rng: np.random.Generator, draw: Draw, shadows: int = 16, examples: int = 30, effect: float = 1.0) -> Any:
    u, cluster = draw(rng, shadows, examples)
    return rng.normal(size=(shadows, examples)) + effect * u, u, ~u, cluster


def test_results_are_the_pooled_statistics_of_the_scores(pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(0), pairs)
    llr = ulira(phi, u, o, cluster)
    area, tenth, bacc = evaluate(llr, u, o, cluster, (0.1,), refits=jackknife(phi, u, o, cluster))
    point = tpr_at_fpr(llr[u], llr[o], 0.1)
    assert [r.metric for r in (area, tenth, bacc)] == ["auc", "tpr@0.1", "bacc@0"]
    assert area.value == auc(llr[u], llr[o])
    assert (tenth.value, tenth.realised_fpr, tenth.false_positives) == (point.tpr, 0.1, 24)
    assert bacc.value == pytest.approx(((llr[u] > 0).mean() + (llr[o] < 0).mean()) / 2)
    assert [r.null_floor for r in (area, tenth, bacc)] == [0.5, 25 / 241, 0.5]
    assert {(r.n, r.k_u, r.k_o, r.examples, r.clusters, r.flags) for r in (area, tenth, bacc)} == {
        (16, 8, 8, 30, 8, ())
    }
    assert audit(phi, u, o, cluster, fprs=(0.1,)) == [area, tenth, bacc]


def test_interval_is_the_jackknife_with_refit_by_brute_force(pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(1), pairs)
    replicates = []
    for deleted in range(8):
        rest = cluster != deleted
        llr = ulira(phi[rest], u[rest], o[rest], cluster[rest])
        replicates.append(sum((a > b) + 0.5 * (a == b) for a in llr[u[rest]] for b in llr[o[rest]]) / (7 * 30) ** 2)
    result = audit(phi, u, o, cluster)[0]
    trials = 240 * 240
    values = (trials * np.array(replicates) + 0.5) / (trials + 1)
    probit = stats.norm.ppf(values)
    sd = np.sqrt(7 / 8 * ((probit - probit.mean()) ** 2).sum())
    centre = stats.norm.ppf((trials * result.value + 0.5) / (trials + 1))
    t = stats.t.ppf(0.975, 7)
    np.testing.assert_allclose([result.low, result.high], stats.norm.cdf([centre - t * sd, centre + t * sd]))
    np.testing.assert_allclose(result.se, np.sqrt(7 / 8 * ((np.array(replicates) - np.mean(replicates)) ** 2).sum()))
    np.testing.assert_allclose(result.p_value, 2 * stats.t.sf(abs(centre / sd), 7))


def test_scores_that_are_not_refitted_are_flagged(pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(2), pairs)
    results = evaluate(ulira(phi, u, o, cluster), u, o, cluster)
    assert all("fixed_scores" in r.flags for r in results)
    assert results[0].se < audit(phi, u, o, cluster)[0].se
    # a threshold on phi fits nothing, so nothing is to be refitted
    assert not any("fixed_scores" in r.flags for r in audit(phi, u, o, cluster, level="L0"))


def test_a_missing_refit_is_an_error_and_not_a_smaller_jackknife(pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(2), pairs)
    refits = list(jackknife(phi, u, o, cluster))
    with pytest.raises(AttackError, match="7 refits for 8 clusters"):
        evaluate(ulira(phi, u, o, cluster), u, o, cluster, refits=refits[:-1])


@pytest.mark.slow
def test_interval_covers_the_mean_of_the_attack_and_the_null_is_rarely_rejected(pairs: Draw) -> None:
    rng = np.random.default_rng(3)
    effects, spread = rng.random(30), np.exp(0.4 * rng.normal(size=30))
    for effect, power in ((0.0, 0.0), (1.0, 0.9)):
        rows = []
        for _ in range(100):
            u, cluster = pairs(rng, 16, 30)
            shared = 0.3 * rng.normal(size=(16, 1))
            phi = spread * (2 * effect * effects * u + shared + rng.normal(size=(16, 30)))
            r = audit(phi, u, ~u, cluster)[0]
            rows.append((r.value, r.low, r.high, r.p_value))
        value, low, high, p = np.array(rows).T
        assert 0.92 <= np.mean((low <= value.mean()) & (value.mean() <= high)) <= 1.0
        assert np.mean(p < 0.05) >= power if effect else np.mean(p < 0.05) <= 0.05
        assert np.std(value) < np.mean(high - low) / 2


@given(st.integers(0, 10_000), st.sampled_from([6, 8, 12]), st.integers(1, 6), st.floats(-8, 8), st.booleans())
@settings(deadline=None, max_examples=60)
def test_intervals_stay_inside_the_unit_interval_and_hold_their_value(
    pairs: Draw, seed: int, shadows: int, examples: int, effect: float, coarse: bool
) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(seed), pairs, shadows, examples, effect)
    for level in ("L0", "L2"):
        for r in audit(np.round(phi) if coarse else phi, u, o, cluster, level=level):
            assert 0 <= r.value <= 1
            if r.low is None:
                assert r.flags[0] == "no_interval"
                assert (r.se, r.high, r.p_value) == (None, None, None)
            else:
                assert 0 <= r.low <= r.value <= r.high <= 1
                assert 0 <= r.p_value <= 1


def test_too_few_observations_are_said_and_not_valued(pairs: Draw) -> None:
    rng = np.random.default_rng(4)
    for r in audit(*toy(rng, pairs, shadows=4)):
        assert r.flags == ("insufficient",)
        assert (r.value, r.se, r.low, r.high, r.p_value) == (None,) * 5
        assert (r.n, r.k_u, r.k_o, r.examples) == (4, 2, 2, 0)
    for r in audit(*toy(rng, pairs, shadows=6)):  # enough to score, not enough to refit without a pair
        assert "no_interval" in r.flags
        assert r.value is not None
        assert r.low is None
    phi, u, o, cluster = toy(rng, pairs)
    u[:14, 3], o[:14, 3] = False, False
    result = audit(phi, u, o, cluster)[0]
    assert result.flags == ("dropped_examples:1",)
    assert (result.examples, result.k_u) == (29, 8)
    np.testing.assert_allclose(result.value, audit(*(np.delete(a, 3, axis=1) for a in (phi, u, o)), cluster)[0].value)


def test_an_empty_farm_is_insufficient() -> None:
    empty = np.zeros((0, 5), dtype=bool)
    assert {r.flags for r in audit(empty, empty, empty, np.zeros(0, dtype=int))} == {("insufficient",)}
    nobody = np.zeros((6, 5), dtype=bool)
    assert {r.flags for r in audit(nobody, nobody, nobody, np.arange(6))} == {("insufficient",)}


def test_one_cluster_gives_a_value_without_interval() -> None:
    rng = np.random.default_rng(0)
    u = rng.random((2, 100)) < 0.5
    (area, *_) = audit(rng.normal(size=(2, 100)) + u, u, ~u, [0, 0], level="L0")
    assert area.value > 0.5
    assert area.flags == ("no_interval",)


def test_perfect_separation_is_not_certainty(pairs: Draw) -> None:
    result = audit(*toy(np.random.default_rng(5), pairs, effect=1000.0))[0]
    assert (result.value, result.high, result.se) == (1.0, 1.0, 0.0)
    assert result.low == pytest.approx(0.025 ** (1 / 8))
    assert result.p_value == pytest.approx(2 * 0.5**8)


def test_thresholds_with_few_false_positives_are_flagged(pairs: Draw) -> None:
    results = audit(*toy(np.random.default_rng(6), pairs, shadows=32, examples=140), fprs=(0.01, 0.001))
    assert ["insufficient_negatives" in r.flags for r in results] == [False, False, True, False]


@pytest.mark.parametrize("level", ["L0", "L2"])
def test_diverged_releases_are_counted_and_scored_as_uninformative(pairs: Draw, level: Any) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(7), pairs, effect=5.0)
    phi[:4] = np.nan
    result = audit(phi, u, o, cluster, level=level)[0]
    assert "nonfinite:120" in result.flags
    # 3/4 of the cells are told apart; a cell at the median or at odds of 1 beats half of the others
    assert result.value == pytest.approx(0.75**2 + 2 * 0.75 * 0.25 * 0.75 + 0.25**2 / 2, abs=0.15)
    assert result.value < audit(phi[4:], u[4:], o[4:], cluster[4:], level=level)[0].value


@pytest.mark.parametrize("level", ["L0", "L1", "L2"])
@pytest.mark.parametrize("world", ["u", "o"])
def test_a_method_whose_releases_all_diverged_has_no_value(pairs: Draw, level: Any, world: str) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(7), pairs, effect=1.0)
    broken = np.where(u if world == "u" else o, np.nan, phi)
    for result in audit(broken, u, o, cluster, level=level, fit_phi=phi if level == "L1" else None):
        assert result.value is None
        assert result.low is None
        assert "insufficient" in result.flags


def test_only_the_level_that_fits_elsewhere_takes_another_matrix(pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(8), pairs)
    with pytest.raises(AttackError, match="level L1 without fit_phi"):
        audit(phi, u, o, cluster, level="L1")
    with pytest.raises(AttackError, match="level L2 with fit_phi"):
        audit(phi, u, o, cluster, fit_phi=phi)
    with pytest.raises(AttackError, match="level L3 without before_phi"):
        audit(phi, u, o, cluster, level="L3")
    with pytest.raises(AttackError, match="level L2 with before_phi"):
        audit(phi, u, o, cluster, before_phi=phi)
    with pytest.raises(AttackError, match=r"before_phi is \[8, 30\], phi \[16, 30\]"):
        audit(phi, u, o, cluster, level="L3", before_phi=phi[:8])
    with pytest.raises(AttackError, match="it has per_example, pooled, moderated"):
        audit(phi, u, o, cluster, level="L3", before_phi=phi, variance="moderated_common")
    with pytest.raises(AttackError, match="unknown level 'L9'"):
        audit(phi, u, o, cluster, level="L9")
    assert [r.metric for r in audit(phi, u, o, cluster, level="L0")] == ["auc", "tpr@0.01", "tpr@0.001"]


@given(st.integers(1, 60), st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_null_tpr_is_the_mean_over_exchangeable_scores(negatives: int, fpr: float) -> None:
    # every rank of one positive among the negatives is equally likely
    rates = [tpr_at_fpr([rank - 0.5], np.arange(negatives), fpr).tpr for rank in range(negatives + 1)]
    assert null_tpr(fpr, negatives) == pytest.approx(np.mean(rates))


def test_the_observer_of_both_models_fits_them_together(pairs: Draw) -> None:
    rng = np.random.default_rng(9)
    before, u, o, cluster = toy(rng, pairs, shadows=32)
    # forgetting took 1 off the members and added little noise: visible in the difference alone
    release = before - u + 0.3 * rng.normal(size=before.shape)
    both = (before, release)
    expected = evaluate(ulira_joint(both, u, o, cluster), u, o, cluster, refits=jackknife_joint(both, u, o, cluster))
    results = audit(release, u, o, cluster, level="L3", before_phi=before)
    assert results == expected
    assert results[0].low > 0.95
    assert audit(release, u, o, cluster)[0].high < 0.7
    # a method that does nothing shows the observer nothing new
    same, alone = audit(before, u, o, cluster, level="L3", before_phi=before), audit(before, u, o, cluster)
    assert [r.value for r in same] == pytest.approx([r.value for r in alone])
    before[0, :3] = np.nan
    assert "nonfinite:3" in audit(release, u, o, cluster, level="L3", before_phi=before)[0].flags


def test_replicates_are_handed_out_on_request_and_make_a_paired_difference(pairs: Draw) -> None:
    rng = np.random.default_rng(10)
    phi, u, o, cluster = toy(rng, pairs, shadows=32)
    other = phi + 0.3 * u + 0.1 * rng.normal(size=phi.shape)  # leaks a little more, on the same shadows
    one, two = (audit(p, u, o, cluster, keep_replicates=True)[0] for p in (phi, other))
    rest = cluster != 5
    assert one.replicates[5] == pytest.approx(audit(phi[rest], u[rest], o[rest], cluster[rest])[0].value)
    difference = paired_difference(two.value, two.replicates, one.value, one.replicates)
    assert difference.low > 0
    assert difference.se < 0.5 * np.hypot(one.se, two.se)
    plain = audit(phi, u, o, cluster)[0]
    assert plain.replicates is None
    assert "replicates" not in repr(one)
    assert evaluate(phi, u, o, cluster, keep_replicates=True)[0].replicates is not None
