"""Intervals of the bootstrap against simulation, loops and lists of what is drawn."""

import numpy as np
import pytest

from benchmark.metrics.bootstrap import bootstrap, mean, median


def coverage(draw, truth, statistic=mean, trials=1000, replicates=400):
    """Share of simulated experiments whose interval holds the truth."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap(draw(rng), statistic, replicates=replicates, draw_seed=trial) for trial in range(trials)]
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
    assert bootstrap(values, draw_seed=1) != bootstrap(values)
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
