"""Two levels of inference: what each is about, and how often a difference is shown that is none."""

import numpy as np
import pytest
import scipy.stats

from benchmark.metrics.paired import Paired, infer
from benchmark.metrics.significance import holm, sign_flip_test


def drawn(rng, seeds, spread, effect=0.0, images=316, share=0.3):
    """Successes of two methods: the share of each counter is that of its method, give or take the spread of seeds."""
    shares = rng.normal([[[share + effect]], [[share]]], spread / np.sqrt(2), (2, seeds, 1))
    return Paired(*(rng.random((2, seeds, images)) < shares))


@pytest.mark.parametrize("seeds", [3, 5])
def test_methods_that_do_not_differ_are_told_apart_by_images_and_not_by_both_levels(seeds):
    """Counters of one method differ between seeds with a standard deviation of .05, as those of the records do."""
    rng = np.random.default_rng(seeds)
    found = [infer([[drawn(rng, seeds, spread=0.05)]])[0][0] for _ in range(1500)]
    assert np.mean([inference.shown_for_counters for inference in found]) > 0.2
    assert np.mean([inference.shown for inference in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def test_methods_that_differ_are_told_apart_by_five_seeds():
    rng = np.random.default_rng(0)
    found = [infer([[drawn(rng, 5, spread=0.05, effect=0.2)]])[0][0] for _ in range(200)]
    assert np.mean([inference.shown for inference in found]) > 0.9


def test_each_level_is_its_own_test():
    pair = drawn(np.random.default_rng(1), 4, spread=0.1, effect=0.1)
    [[inference]] = infer([[pair]])
    by_seed = pair.own.mean(axis=1) - pair.other.mean(axis=1)
    assert inference.by_seed == pytest.approx(by_seed) and inference.value == pytest.approx(by_seed.mean())
    assert inference.p_images == sign_flip_test(pair.own, pair.other)
    assert inference.p_seeds == pytest.approx(scipy.stats.ttest_1samp(by_seed, 0).pvalue)


@pytest.mark.parametrize("seeds, shown", [(4, False), (5, True)])
def test_fewer_than_five_seeds_show_nothing_of_a_method(seeds, shown):
    [[inference]] = infer([[drawn(np.random.default_rng(0), seeds, spread=0, effect=0.4)]])
    assert inference.shown_for_counters and inference.p_seeds < 0.05 and inference.shown == shown


def test_one_seed_shows_nothing_of_a_method():
    [[inference]] = infer([[drawn(np.random.default_rng(0), 1, spread=0, effect=0.4)]])
    assert inference.shown_for_counters and np.isnan(inference.p_seeds) and not inference.shown


def test_a_difference_of_few_images_is_not_shown_however_alike_the_seeds():
    own = np.zeros((5, 316), int)
    own[:, :2] = own[0, 2] = 1
    [[inference]] = infer([[Paired(own, np.zeros_like(own))]])
    assert inference.p_seeds < 0.001 and not inference.shown_for_counters and not inference.shown


def test_images_are_corrected_over_all_families_and_seeds_within_each():
    rng = np.random.default_rng(0)
    families = [[drawn(rng, 3, 0.05, 0.05) for _ in range(number)] for number in (2, 3)]
    found = infer(families)
    every = [pair for pairs in families for pair in pairs]
    assert [each.p_images for family in found for each in family] == pytest.approx(
        holm([sign_flip_test(pair.own, pair.other) for pair in every]))
    for pairs, family in zip(families, found):
        alone = [scipy.stats.ttest_1samp(pair.own.mean(axis=1) - pair.other.mean(axis=1), 0).pvalue for pair in pairs]
        assert [each.p_seeds for each in family] == pytest.approx(holm(alone))
    assert infer([[]]) == [[]]


def test_victims_of_a_seed_count_as_one():
    own, other = np.random.default_rng(0).random((2, 4, 3, 50)) < np.array([0.6, 0.3])[:, None, None, None]
    [[inference]] = infer([[Paired(own, other)]])
    assert inference.by_seed == pytest.approx(own.mean(axis=(0, 2)) - other.mean(axis=(0, 2)))
    assert inference.p_images == sign_flip_test(own.reshape(12, 50), other.reshape(12, 50))
