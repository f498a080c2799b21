"""Intervals and tests over users.

Users are sampled, seeds are repetitions on the same users: most functions take one row per user, with the mean over the
seeds. The same random seed gives the same results. All columns share the same resamples, so that the result of a column
does not depend on the other columns.

A resample costs what the users cost. Of more than MANY users it is drawn from what it depends on alone, in time and
memory that do not grow with the users: how many have which value (``_grouped``). How often the users of a value are
drawn with replacement is multinomial, and how many of them keep their sign is binomial, so the distribution is the same
but for values that lie so close that they count as one. Where seeds are drawn as well, a user is a value for each seed,
of which there are too many to count; there the means of that many users are drawn from the normal distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "BLOCK",
    "FLIPS",
    "MANY",
    "bootstrap_interval",
    "holm",
    "interval_over_seeds",
    "mean_of_few",
    "paired_test",
    "two_groups",
    "within",
]

Array = npt.NDArray[np.float64]
FLIPS = 10_000
"""Number of sign patterns for each p-value."""
ELEMENTS = 1 << 23
"""Size of the largest array that is drawn at once, in elements."""
MANY = 250_000
"""The most users that are drawn one by one."""
BLOCK = 1 << 17
"""Users that are looked at at once, among more: what is computed of them stays in the caches."""
GROUPS = 1_024
"""The most values that are told apart among more users: those within a GROUPS-th of their range count as their mean."""
ROUNDING = 1e-12
"""Values of metrics that differ by less are equal. The last bits of a mean over seeds depend on their order and number,
maybe for all users to the same side: a test would tell two runs with the same ranks apart."""


def _blocks(total: int, width: int) -> Iterator[int]:
    """Divide ``total`` rows of ``width`` elements into blocks of at most ELEMENTS; yields rows per block."""
    size = max(1, ELEMENTS // max(1, width))
    for start in range(0, total, size):
        yield min(size, total - start)


def bootstrap_interval(
    values: Array, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0
) -> tuple[Array, Array]:
    """Percentile interval of the mean over users, by resampling users with replacement.

    Args:
        values: [U, M] one value per user and column.
        resamples: number of resamples.
        level: coverage.
        seed: of the resamples.

    Returns:
        lower ends [M] and upper ends [M].
    """
    users = len(values)
    if users > MANY:
        columns = [_means_of_many(column, resamples, np.random.default_rng(seed)) for column in values.T]
        return _ends(np.stack(columns, axis=1), level)
    generator = np.random.default_rng(seed)
    means = []
    for rows in _blocks(resamples, users):
        means.append(_counts(generator, rows, users) @ values / users)
    return _ends(np.concatenate(means), level)


def interval_over_seeds(
    one: Array, other: Array, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0
) -> tuple[Array, Array]:
    """Percentile interval of the difference of two runs, by resampling users and each run's seeds with replacement.

    It says how much the difference would change with other users and with the training repeated. With few seeds the
    latter is underestimated; with one it is left out.

    Args:
        one: [S, U, M] one value per seed, user and column.
        other: [T, U, M] of the other run, for the same users.
        resamples: number of resamples.
        level: coverage.
        seed: of the resamples.

    Returns:
        lower ends [M] and upper ends [M] of the mean of ``one`` minus that of ``other``.
    """
    users = one.shape[1]
    if users > MANY:
        pairs = zip(np.moveaxis(one, 2, 0), np.moveaxis(other, 2, 0), strict=True)
        columns = [_differences_of_many(*pair, resamples, np.random.default_rng(seed)) for pair in pairs]
        return _ends(np.stack(columns, axis=1), level)
    generator = np.random.default_rng(seed)
    differences = []
    for rows in _blocks(resamples, users):
        counts = _counts(generator, rows, users)
        means = []
        for values in (one, other):
            per_seed = np.stack([counts @ column / users for column in values], axis=1)  # [rows, S, M]
            share = _counts(generator, rows, len(values)) / len(values)
            means.append(np.einsum("rs,rsm->rm", share, per_seed))
        differences.append(means[0] - means[1])
    return _ends(np.concatenate(differences), level)


def _ends(means: Array, level: float) -> tuple[Array, Array]:
    """The percentile interval of resampled means, [resamples, M]."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _counts(generator: np.random.Generator, rows: int, size: int) -> Array:
    """How often each of ``size`` is drawn in each of ``rows`` resamples, [rows, size]."""
    drawn = generator.integers(0, size, size=(rows, size))
    drawn += np.arange(rows)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def _grouped(values: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Values [D] and how many of ``values`` [U] each stands for, [D]; their mean is that of ``values``.

    Their variance lacks that within the groups, at most (range / GROUPS)^2 / 4.
    """
    low, span = values.min(), np.ptp(values) or 1.0
    counts, sums = np.zeros(GROUPS, dtype=np.int64), np.zeros(GROUPS)
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK]
        places = np.minimum((part - low) * (GROUPS / span), GROUPS - 1).astype(np.int64)
        counts += np.bincount(places, minlength=GROUPS)
        sums += np.bincount(places, part, GROUPS)
    return sums[counts > 0] / counts[counts > 0], counts[counts > 0]


def _means_of_many(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Means [resamples] of users drawn with replacement; values: [U]."""
    means, counts = _grouped(values)
    shares = counts / len(values)
    drawn = [generator.multinomial(len(values), shares, rows) @ means for rows in _blocks(resamples, len(means))]
    result: Array = np.concatenate(drawn) / len(values)
    return result


def _differences_of_many(one: Array, other: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Differences [resamples] of the means of two runs, with users and seeds drawn; [S, U] and [T, U]."""
    values = np.concatenate([one, other])  # [S + T, U], users drawn for all together
    centre = values.mean(axis=1)
    values -= centre[:, None]
    users = values.shape[1]
    means = generator.multivariate_normal(centre, values @ values.T / users / users, resamples, method="eigh")
    first, second = np.split(means, [len(one)], axis=1)
    shares = [_counts(generator, resamples, len(run)) / len(run) for run in (one, other)]
    result: Array = (shares[0] * first).sum(axis=1) - (shares[1] * second).sum(axis=1)
    return result


def paired_test(differences: Array, *, flips: int = FLIPS, seed: int = 0) -> Array:
    """Two-sided p-values of a paired permutation test: is the mean difference of two runs on the same users zero?

    If the runs are equally good, each user's difference is as likely with the opposite sign. The p-value is the share
    of random sign patterns whose mean is at least as far from zero as the observed one. The observed pattern is counted
    too: (hits + 1) / (flips + 1), which is never 0 and valid for any number of flips. The test is preferred to
    Student's t-test because most differences are exactly zero and the others are few, discrete and heavy-tailed: in a
    small data set the mean need not be normally distributed. In a large data set both tests give the same. The smallest
    p-value, about 1e-4, is small enough for a correction over the comparisons of one table.

    Args:
        differences: [U, M] first run minus second run, per user (mean over seeds) and column.
        flips: number of sign patterns.
        seed: of the patterns.

    Returns:
        [M] p-values.
    """
    users, columns = differences.shape
    if users > MANY:
        return np.array([_paired_test_of_many(column, flips, np.random.default_rng(seed)) for column in differences.T])
    differences = np.where(np.abs(differences) > ROUNDING, differences, 0.0)
    total = differences.sum(axis=0)
    # Sums of the same numbers in another order differ in the last bits, and ties are frequent with discrete metrics.
    threshold = np.abs(total) - 1e-12 * np.abs(differences).sum(axis=0)
    generator = np.random.default_rng(seed)
    extreme = np.zeros(columns, dtype=np.int64)
    for rows in _blocks(flips, users):
        random = generator.integers(0, 256, size=(rows, (users + 7) // 8), dtype=np.uint8)
        signs = np.unpackbits(random, axis=1, count=users).astype(np.float64)  # 1 keeps the sign, 0 turns it
        extreme += (np.abs(2 * (signs @ differences) - total) >= threshold).sum(axis=0)
    result: Array = (extreme + 1) / (flips + 1)
    return result


def _paired_test_of_many(differences: Array, flips: int, generator: np.random.Generator) -> float:
    """The same for one column [U]. A sum depends on how many of the users of each distance from 0 keep their sign."""
    differences = differences[np.abs(differences) > ROUNDING]
    distances = np.abs(differences)
    if not len(distances):
        return 1.0
    sums = np.zeros(flips)
    for distance, users in zip(*_grouped(distances), strict=True):
        sums += distance * (2 * generator.binomial(users, 0.5, flips) - users)
    # As above; the mean of a group is a sum over up to all users.
    threshold = np.abs(differences.sum()) - 1e-9 * distances.sum()
    return float((np.abs(sums) >= threshold).sum() + 1) / (flips + 1)


def two_groups(one: Array, other: Array, *, level: float = 0.95) -> tuple[float, float, float, float]:
    """Difference of the means of two independent groups, its interval, and p, by Welch's t-test.

    Args:
        one: [n] values, two or more.
        other: [m] values, two or more.
        level: coverage.

    Returns:
        difference, low, high, p. Groups without any spread give no error to measure the difference by: p is 1.
    """
    from scipy.stats import ttest_ind

    difference = float(one.mean() - other.mean())
    if max(np.ptp(one), np.ptp(other)) <= ROUNDING:
        return difference, difference, difference, 1.0
    test = ttest_ind(one, other, equal_var=False)
    low, high = test.confidence_interval(level)
    return difference, float(low), float(high), float(test.pvalue)


def mean_of_few(values: Array, *, level: float = 0.95) -> tuple[float, float, float, float]:
    """A mean over few repetitions, its interval, and p of being zero, by Student's t-test.

    Args:
        values: [n] values, two or more.
        level: coverage.

    Returns:
        mean, low, high, p. Values without any spread give no error to measure by: p is 1.
    """
    from scipy.stats import ttest_1samp

    mean = float(values.mean())
    if np.ptp(values) <= ROUNDING:
        return mean, mean, mean, 1.0
    test = ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(level)
    return mean, float(low), float(high), float(test.pvalue)


def within(values: Array, low: float, high: float) -> float:
    """p of a mean outside of ``low`` to ``high``: the larger of two one-sided t-tests (Schuirmann 1987).

    Args:
        values: [n] values, two or more.
        low: lower end.
        high: upper end.
    """
    from scipy.stats import ttest_1samp

    if np.ptp(values) <= ROUNDING:
        return 1.0
    above = ttest_1samp(values, low, alternative="greater").pvalue
    below = ttest_1samp(values, high, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Sequence[float]) -> Array:
    """Holm's step-down correction (Holm 1979): adjusts p-values to limit the probability of any false claim.

    Args:
        p_values: the p-values of one family of tests.

    Returns:
        adjusted p-values in the order given, at most 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * (len(values) - np.arange(len(values)))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
