"""Tests over images and over seeds, against scipy and their definitions."""

import itertools

import numpy as np
import pytest
import scipy.stats

from benchmark.metrics.significance import holm, over_seeds, sign_flip_test


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
    assert found.mean == pytest.approx(differences[0]) and np.isnan([found.low, found.high]).all()
    assert np.isnan(found.p) if len(differences) == 1 else found.p == 1


def test_a_test_needs_a_seed():
    with pytest.raises(ValueError, match="at least one seed"):
        over_seeds([])
