"""Intervals against simulation, tests against scipy and their definitions."""

import itertools

import numpy as np
import pytest
import scipy.stats

from benchmark.metrics.significance import bootstrap, holm, mean, median, over_seeds, sign_flip_test


def coverage(draw, truth, statistic=mean, trials=1000, replicates=400):
    """Share of simulated experiments whose interval holds the truth."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap(draw(rng), statistic, replicates=replicates, rng=trial) for trial in range(trials)]
    return np.mean([low <= truth <= high for low, high in intervals])


def test_coverage_of_a_mean_over_images():
    assert 0.93 <= coverage(lambda rng: rng.random((1, 200)) < 0.3, truth=0.3) <= 0.97


def test_coverage_of_a_median_over_images():
    assert 0.93 <= coverage(lambda rng: rng.normal(size=(1, 201)), truth=0, statistic=median) <= 0.97


def test_coverage_where_seeds_share_hard_images():
    """Three models that mostly agree on which images are hard: no more evidence than three times the images."""
    def draw(rng):
        return rng.normal(size=200) + 0.1 * rng.normal(size=(3, 200))

    assert 0.93 <= coverage(draw, truth=0) <= 0.97


def test_coverage_where_many_seeds_differ():
    def draw(rng):
        return rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 20))

    assert 0.93 <= coverage(draw, truth=0, trials=500) <= 0.97


def test_interval_is_that_of_a_loop():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=316)
    medians = [np.median(rng.choice(values, 316)) for _ in range(4000)]
    expected = np.percentile(medians, [2.5, 97.5])
    assert bootstrap([values], median, replicates=4000) == pytest.approx(expected, abs=0.01)


def test_interval_is_reproducible_and_that_of_constants_has_no_width():
    values = np.random.default_rng(2).random((3, 50))
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, rng=1) != bootstrap(values)
    assert bootstrap(np.full((2, 9), 0.25)) == (0.25, 0.25)


def test_values_that_belong_together_stay_together():
    """A ratio of means over pairs whose ratio is 2 on every image."""
    values = np.random.default_rng(3).random((2, 40))
    low, high = bootstrap(np.stack([2 * values, values], axis=-1),
                          lambda pairs, times: np.divide(*mean(pairs, times).T))
    assert low == pytest.approx(2) == high


@pytest.mark.parametrize("statistic, of_a_list", [(mean, np.nanmean), (median, np.nanmedian)])
@pytest.mark.parametrize("images", [1, 2, 30, 31])
def test_a_replicate_is_the_statistic_of_the_images_drawn(statistic, of_a_list, images):
    """Values that do not exist are left out, and equal ones may be drawn."""
    rng = np.random.default_rng(images)
    values = rng.integers(0, 9, images).astype(float)
    values[5:8] = np.nan
    drawn = rng.integers(images, size=(50, images))
    times = np.array([np.bincount(row, minlength=images) for row in drawn], float)
    assert statistic(values, times) == pytest.approx([of_a_list(values[row]) for row in drawn], nan_ok=True)


@pytest.mark.parametrize("seeds", [[], [[]], [[1, 2], [1, 2, 3]]])
def test_bootstrap_refuses_seeds_that_do_not_match(seeds):
    with pytest.raises(ValueError, match="same images"):
        bootstrap(seeds)


@pytest.mark.parametrize("seed", range(10))
def test_one_seed_gives_mcnemars_test_the_binomial_one_of_the_images_that_differ(seed):
    first, second = np.random.default_rng(seed).random((2, 60)) < np.array([[0.5], [0.7]])
    b, c = (first & ~second).sum(), (second & ~first).sum()
    assert sign_flip_test(first, second) == pytest.approx(scipy.stats.binomtest(int(b), int(b + c)).pvalue)
    assert sign_flip_test(first, second) == sign_flip_test(second, first)


@pytest.mark.parametrize("seed", range(5))
def test_with_several_seeds_every_image_flips_its_sign_as_one(seed):
    first, second = np.random.default_rng(seed).random((2, 3, 9)) < np.array([0.4, 0.7])[:, None, None]
    holds(first, second)


@pytest.mark.parametrize("seed", range(5))
def test_successes_less_those_of_a_control_flip_their_sign_as_one(seed):
    own, control, other = np.random.default_rng(seed).random((3, 2, 9)) < np.array([0.9, 0.4, 0.3])[:, None, None]
    holds(own.astype(int) - control, other.astype(int) - control)
    holds(own.astype(int) - control, control.astype(int) - other)


def holds(first, second):
    """p is the share of all ways to sign the images that give a sum as large."""
    differences = (first.astype(int) - second).sum(axis=0)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=9)]
    assert sign_flip_test(first, second) == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum())))


def test_seeds_that_agree_with_each_other_are_not_taken_for_more_images():
    first, second = np.random.default_rng(0).random((2, 60)) < np.array([[0.5], [0.7]])
    assert sign_flip_test([first] * 5, [second] * 5) == pytest.approx(sign_flip_test(first, second))


def test_models_that_agree_have_a_p_of_1_and_lengths_must_match():
    assert sign_flip_test([True, False], [True, False]) == 1
    with pytest.raises(ValueError, match="same images"):
        sign_flip_test([True], [True, False])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_holm_rejects_what_its_steps_reject(seed, level):
    """Holm's procedure: go through the sorted p while p_i <= level / (m - i + 1)."""
    p = np.random.default_rng(seed).beta(0.3, 2, size=12)
    rejected = set()
    for i, index in enumerate(np.argsort(p)):
        if p[index] > level / (len(p) - i):
            break
        rejected.add(index)
    assert set(np.flatnonzero(holm(p) <= level)) == rejected


def test_holm_of_one_test_and_of_none():
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


def test_holm_leaves_out_what_is_no_test():
    p = holm([0.03, np.nan, 0.01])
    assert p[[0, 2]] == pytest.approx(holm([0.03, 0.01])) and np.isnan(p[1])


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_over_seeds_is_the_t_test_and_its_interval(seeds):
    differences = np.random.default_rng(seeds).normal(0.1, 0.1, seeds)
    found, expected = over_seeds(differences), scipy.stats.ttest_1samp(differences, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.mean, found.p) == pytest.approx((differences.mean(), expected.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("differences", [[0.3], [0.25] * 3, [0.0, 0.0], [0.4 - 0.3, 0.5 - 0.4, 0.7 - 0.6]])
def test_one_seed_and_equal_seeds_show_no_spread(differences):
    found = over_seeds(differences)
    assert found.mean == pytest.approx(differences[0]) and np.isnan([found.low, found.high, found.p]).all()


def test_a_test_needs_a_seed():
    with pytest.raises(ValueError, match="at least one seed"):
        over_seeds([])
