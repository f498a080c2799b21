"""Intervals and tests over users."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from decorec.evaluation import significance
from decorec.evaluation.significance import (
    bootstrap_interval,
    holm,
    interval_over_seeds,
    mean_of_few,
    paired_test,
    two_groups,
    within,
)


def test_bootstrap_equals_a_plain_loop() -> None:
    values = np.random.default_rng(1).random((37, 3))
    generator = np.random.default_rng(9)
    means = [values[generator.integers(0, 37, size=37)].mean(axis=0) for _ in range(500)]
    low, high = bootstrap_interval(values, resamples=500, level=0.9, seed=9)
    np.testing.assert_allclose(low, np.quantile(means, 0.05, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(means, 0.95, axis=0), rtol=1e-12)


def test_bootstrap_of_many_users_is_the_normal_interval() -> None:
    values = (np.random.default_rng(2).random((4_000, 1)) < 0.15).astype(float)
    low, high = bootstrap_interval(values, resamples=4_000)
    error = values.std() / np.sqrt(len(values))
    assert low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_bootstrap_covers_the_true_mean() -> None:
    generator = np.random.default_rng(3)
    samples = generator.exponential(1.0, size=(120, 400))  # 400 data sets of 120 users
    low, high = bootstrap_interval(samples, resamples=400, level=0.9)
    assert 0.84 < np.mean((low <= 1.0) & (high >= 1.0)) < 0.94


def test_results_do_not_depend_on_blocks_or_other_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(0.1, 1, size=(64, 5))
    interval, p_values = bootstrap_interval(values), paired_test(values)
    np.testing.assert_array_equal(interval, bootstrap_interval(values), err_msg="the same seed, the same figures")
    np.testing.assert_array_equal(p_values, paired_test(values))
    np.testing.assert_allclose(bootstrap_interval(values[:, 2:3])[0], interval[0][2:3], rtol=1e-12)
    np.testing.assert_array_equal(paired_test(values[:, 2:3]), p_values[2:3])
    assert not np.array_equal(bootstrap_interval(values, seed=1), interval)
    monkeypatch.setattr(significance, "ELEMENTS", 64 * 16)
    np.testing.assert_allclose(bootstrap_interval(values), interval, rtol=1e-12)
    np.testing.assert_array_equal(paired_test(values), p_values)


def test_paired_test_equals_all_sign_patterns() -> None:
    """Nine users with discrete differences (many ties): all 512 patterns enumerated."""
    differences = np.array([0.2, 0.4, 0.2, -0.2, 0.6, 0.0, 0.2, -0.4, 1.0])
    means = [np.dot(signs, differences) for signs in itertools.product((-1, 1), repeat=9)]
    exact = np.mean(np.abs(means) >= abs(differences.sum()) - 1e-9)
    found = paired_test(differences[:, None], flips=40_000)[0]
    assert 0.05 < exact < 0.5
    assert found == pytest.approx(exact, abs=0.012)


def test_paired_test_agrees_with_the_t_test_on_many_users() -> None:
    differences = np.random.default_rng(6).normal(0.03, 1.0, size=(3_000, 1))
    expected = stats.ttest_1samp(differences[:, 0], 0.0).pvalue
    assert 0.01 < expected < 0.5
    assert paired_test(differences)[0] == pytest.approx(expected, abs=0.02)


def test_paired_test_has_its_level_and_its_power() -> None:
    generator = np.random.default_rng(7)
    sparse = generator.normal(size=(60, 1_000)) * (generator.random((60, 1_000)) < 0.3)
    assert 0.03 < np.mean(paired_test(sparse, flips=999) <= 0.05) < 0.07
    assert np.mean(paired_test(sparse + 0.5, flips=999) <= 0.05) > 0.9


def test_paired_test_at_its_ends() -> None:
    assert paired_test(np.zeros((50, 2))).tolist() == [1.0, 1.0], "no difference"
    assert paired_test(np.ones((50, 1)))[0] == pytest.approx(1 / 10_001), "never zero"
    mixed = np.random.default_rng(8).normal(0.3, 1, size=(50, 1))
    assert paired_test(mixed)[0] == paired_test(-mixed)[0], "two-sided"


def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has more than one user has many."""
    monkeypatch.setattr(significance, "MANY", 1)


@pytest.mark.parametrize("many", [10, 1_000])
def test_the_last_bits_of_means_over_seeds_are_no_difference(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of three equal values need not be the value, and that of three values depends on their order."""
    monkeypatch.setattr(significance, "MANY", many)
    equal = np.full(100, np.spacing(0.5))
    assert paired_test(equal[:, None])[0] == 1.0
    assert paired_test(np.append(equal, [0.5] * 12)[:, None])[0] == pytest.approx(2 / 2**12, abs=5e-4)
    noisy = np.array([0.5, 0.5 + np.spacing(0.5)])
    assert np.ptp(noisy) > 0
    assert two_groups(noisy, np.zeros(2))[3] == mean_of_few(noisy)[3] == within(noisy, 0.4, 0.6) == 1.0
    apart = np.array([0.5, 0.5 + 1e-6])
    assert two_groups(apart, np.zeros(2))[3] < 1e-3 and mean_of_few(apart)[3] < 1e-3 and within(apart, 0.4, 0.6) < 1e-3


def test_intervals_of_many_users_are_those_of_users_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(12)
    hits = (random.random((2_000, 3)) < 0.1).mean(axis=1)  # of three seeds: four values
    gains = random.normal(0.02, 0.3, 2_000)  # more values than are told apart
    rare = np.where(np.arange(2_000) < 5, 1.0, 0.0)  # far from normal
    values = np.stack([hits, gains, rare], axis=1)
    usual = np.array(bootstrap_interval(values, resamples=4_000))
    many(monkeypatch)
    monkeypatch.setattr(significance, "GROUPS", 512)
    found = np.array(bootstrap_interval(values, resamples=4_000))
    assert (np.abs(found - usual) < 0.15 * values.std(axis=0) / np.sqrt(2_000)).all()
    np.testing.assert_array_equal(found[:, 1:2], bootstrap_interval(values[:, 1:2], resamples=4_000))


def test_tests_of_many_users_are_those_of_signs_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(13)
    columns = {
        "few values": random.choice([-1.0, -1 / 3, 0.0, 0.0, 1 / 3, 1.0], 900, p=[0.05, 0.1, 0.6, 0.05, 0.12, 0.08]),
        "as many as users": random.normal(0.06, 1.0, 900),
        "hardly any": np.where(np.arange(900) < 9, [0.2, 0.4, 0.2, -0.2, 0.6, 0.1, 0.2, -0.4, 1.0] * 100, 0.0),
        "none": np.zeros(900),
    }
    values = np.stack(list(columns.values()), axis=1)
    usual = paired_test(values)
    assert ((usual > 0.01) & (usual < 0.9))[:3].all()
    many(monkeypatch)
    monkeypatch.setattr(significance, "GROUPS", 512)
    found = paired_test(values)
    np.testing.assert_allclose(found, usual, atol=0.02)
    assert found[3] == 1.0 and paired_test(np.ones((50, 1)))[0] == pytest.approx(1 / 10_001), "never zero"
    np.testing.assert_array_equal(found, paired_test(-values), err_msg="two-sided")


def test_intervals_over_users_and_seeds_of_many_users(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(14)
    hard = random.normal(size=(2_000, 2))
    one, other = (random.normal(level, 1, (seeds, 2_000, 2)) + hard for level, seeds in ((-1.0, 3), (-1.1, 2)))
    one, other = (one > 0).astype(float), (other > 0).astype(float)
    usual = np.array(interval_over_seeds(one, other, resamples=4_000))
    many(monkeypatch)
    found = np.array(interval_over_seeds(one, other, resamples=4_000))
    assert (np.abs(found - usual) < 0.05 * (usual[1] - usual[0])).all()


def test_values_that_are_far_apart_are_counted_as_they_are_and_others_as_their_mean() -> None:
    values = np.array([0.5, 0.0, 1 / 3, 0.5, 1.0, 0.0, 0.5])
    found, counts = significance._grouped(values)
    np.testing.assert_allclose(found, [0.0, 1 / 3, 0.5, 1.0], rtol=1e-15)
    assert counts.tolist() == [2, 1, 3, 1]
    values = np.random.default_rng(15).normal(size=50_000)
    found, counts = significance._grouped(values)
    assert len(found) <= significance.GROUPS and counts.sum() == 50_000
    assert found @ counts / 50_000 == pytest.approx(values.mean(), rel=1e-9)
    assert found**2 @ counts / 50_000 == pytest.approx((values**2).mean(), rel=1e-5)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.02]), [0.02])
    assert holm([]).shape == (0,)


def test_holm_bounds_false_claims() -> None:
    generator = np.random.default_rng(10)
    families = generator.random((2_000, 6))
    assert np.mean([holm(family).min() <= 0.05 for family in families]) < 0.065


def test_an_interval_over_seeds_is_that_over_users_where_seeds_agree_and_wider_where_they_do_not() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 200, 3))
    agreeing = interval_over_seeds(np.stack([one] * 4), other[None], resamples=400, level=0.9)
    np.testing.assert_allclose(
        agreeing, bootstrap_interval(one - other, resamples=400, level=0.9), rtol=1e-9, atol=1e-12
    )
    apart = one + np.array([-0.6, -0.2, 0.2, 0.6])[:, None, None]
    low, high = interval_over_seeds(apart, other[None], resamples=400, level=0.9)
    assert (low < agreeing[0] - 0.1).all() and (high > agreeing[1] + 0.1).all()
    again = interval_over_seeds(np.stack([one] * 4), other[None], resamples=400, level=0.9)
    np.testing.assert_array_equal(again, agreeing, err_msg="the same seed, the same figures")
