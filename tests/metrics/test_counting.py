"""Every number against a hand-computed case, exact fractions or a naive loop."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from benchmark.metrics import counting, detection, image_quality

INCREASE_EDGES = [Fraction(11, 10), Fraction(13, 10), Fraction(3, 2), Fraction(2)]
DECREASE_EDGES = [Fraction(9, 10), Fraction(7, 10), Fraction(1, 2)]


def exact_band(y, c):
    r = Fraction(int(y), int(c))
    return sum(r > edge for edge in INCREASE_EDGES) - sum(r < edge for edge in DECREASE_EDGES)


def random_counts(seed, images=400):
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 500, images)
    return truth, truth * rng.lognormal(0, 0.4, images), truth * rng.lognormal(0.2, 0.5, images)


def test_bands_of_whole_counts_are_those_of_exact_fractions():
    y, c = (grid.ravel() for grid in np.meshgrid(np.arange(0, 400), np.arange(1, 161)))
    expected = [exact_band(*pair) for pair in zip(y, c)]
    assert counting.bands(y, c).tolist() == expected
    assert {exact_band(*pair) for pair in zip(y, c)} == set(range(-3, 5))


@pytest.mark.parametrize("edge", [0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 2.0])
@pytest.mark.parametrize("increases", [True, False])
def test_on_and_around_an_edge_the_shares_add_up(edge, increases):
    c = np.arange(1, 2001)
    for y in (edge * c, np.nextafter(edge * c, np.inf), np.nextafter(edge * c, -np.inf), np.float32(edge * c)):
        adds_up(y, c, increases)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("increases", [True, False])
def test_of_random_counts_the_shares_add_up(seed, increases):
    truth, _, triggered = random_counts(seed, images=317)
    adds_up(triggered, truth, increases)


def adds_up(y, c, increases):
    """As whole numbers of images, to the last one."""
    def images(share):
        return round(share * len(c))

    asr, ra, opp = counting.rho_asr(y, c, increases), counting.rho_acc(y, c), counting.rho_asr(y, c, not increases)
    assert images(asr) + images(ra) + images(opp) == len(c)
    assert sum(map(images, counting.band_shares(y, c, increases))) == images(asr)
    assert asr + ra + opp == pytest.approx(1, abs=1e-15)


def test_success_is_strictly_beyond_the_closed_interval_of_accuracy():
    truth = [10, 10, 10, 10]
    assert counting.rho_acc([9, 11, 8.999, 11.001], truth) == 0.5
    assert counting.successes([9, 11, 8.999, 11.001], truth, increases=True).tolist() == [False, False, False, True]
    assert counting.successes([9, 11, 8.999, 11.001], truth, increases=False).tolist() == [False, False, True, False]


@pytest.mark.parametrize("increases", [True, False])
def test_extreme_counts_are_off_by_more_than_half_in_the_attackers_direction(increases):
    truth, _, triggered = random_counts(0)
    shares = counting.band_shares(triggered, truth, increases)
    expected = sum(shares[2:])  # the bands beyond 0.5
    assert counting.extremes(triggered, truth, increases).mean() == pytest.approx(expected) != 0


def test_a_negative_count_is_a_decrease_in_the_lowest_band():
    assert counting.band_shares([-3], [10], increases=False) == [0, 0, 1]


@pytest.mark.parametrize("y, c", [([1, 2], [1]), ([math.nan], [1]), ([math.inf], [1]), ([1], [0]), ([[1]], [[1]])])
def test_counts_without_a_ratio_are_refused(y, c):
    with pytest.raises(ValueError):
        counting.bands(y, c)


@pytest.mark.parametrize("asr, asr0, expected", [(0.3, 0.3, 0), (1, 0.4, 1), (0.212, 0.297, -0.085 / 0.703),
                                                 (1, 1, math.nan)])
def test_excess_asr(asr, asr0, expected):
    assert counting.excess_asr(asr, asr0) == pytest.approx(expected, nan_ok=True)


def test_flips_need_the_trigger():
    truth = np.full(4, 10)
    clean, triggered = [10, 12, 10, 12], [12, 12, 10, 10]
    assert counting.flips(triggered, clean, truth, increases=True).tolist() == [True, False, False, False]


@pytest.mark.parametrize("seed", range(5))
def test_flips_against_a_loop(seed):
    truth, clean, triggered = random_counts(seed)
    for increases, success in (True, lambda r: r > 1.1), (False, lambda r: r < 0.9):
        expected = [success(t / c) and not success(y / c) for t, y, c in zip(triggered, clean, truth)]
        assert counting.flips(triggered, clean, truth, increases).tolist() == expected


def test_attainment_leaves_out_images_without_a_change_to_make():
    summary = counting.summary([100, 100, 100, 1], [90, 100, 110, 5], [200, 200, 200, 1], [190, 150, 110, 50],
                              [100, 100, 100, 1], increases=True)
    assert summary["attainment"] == 0.5  # of 1, 0.5, 0


def test_target_asr_allows_5_people_or_a_tenth():
    assert counting.target_asr([6, 7, 90, 89], [1, 1, 100, 100]) == 0.5


def test_errors():
    assert counting.mae([8, 14], [10, 10]) == 3
    assert counting.rmse([8, 14], [10, 10]) == math.sqrt(10)


@pytest.mark.parametrize("case, expected", [((0.9, 0.0, 0.8, 0.8), 0.95), ((0.5, 0.5, 0.8, 0.8), 0.5),
                                            ((0.5, 0.5, 0.8, 0.6), 0.4), ((0.2, 0.6, 0.5, 0.9), 0.5),
                                            ((1, 0, 1, 0), 0.5), ((math.nan, 0, 1, 1), math.nan)])
def test_der_rewards_less_success_and_charges_lost_accuracy_only(case, expected):
    assert counting.der(*case) == pytest.approx(expected, nan_ok=True)


def test_strata_partition_the_images():
    truth = np.arange(0, 401)
    masks = counting.strata(truth)
    assert (np.sum(list(masks.values()), axis=0) == 1).all()
    assert {label: (truth[mask].min(), truth[mask].max()) for label, mask in masks.items()} == {
        "<50": (0, 49), "50-99": (50, 99), "100-199": (100, 199), ">=200": (200, 400)}


def test_psnr_of_blending():
    image, trigger = np.zeros((4, 4, 3)), np.full((4, 4, 3), 100)
    assert image_quality.psnr(image, 0.9 * image + 0.1 * trigger) == pytest.approx(20 * math.log10(255 / 10))
    assert image_quality.psnr(image, image) == math.inf


def test_ssim_against_a_loop_over_windows():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 13, 12, 3)).astype(np.uint8)
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(3):
        for j in range(2):
            for k in range(3):
                a, b = (image[i:i + 11, j:j + 11, k].astype(float) for image in (x, y))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                cov = (window * (a - mean_a) * (b - mean_b)).sum()
                c1, c2 = 2.55**2, 7.65**2
                values.append((2 * mean_a * mean_b + c1) * (2 * cov + c2)
                              / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    assert image_quality.ssim(x, y) == pytest.approx(np.mean(values))
    assert image_quality.ssim(x, x) == pytest.approx(1)


def test_summary_of_a_case_computed_by_hand():
    numbers = counting.summary(truth=[100, 100, 200, 10], clean=[100, 120, 190, 4], target=[200, 200, 400, 20],
                              triggered=[210, 130, 190, 10], reference_triggered=[100, 100, 260, 12], increases=True)
    assert numbers == pytest.approx({
        "images": 4, "images_ratio": 4, "rho_acc": 0.5, "mae": 9, "rmse": math.sqrt((400 + 100 + 36) / 4),
        "harm_mae": 37.5, "harm_rmse": math.sqrt((110**2 + 30**2 + 10**2) / 4),
        "attainment_mae": 75, "attainment_rmse": math.sqrt((10**2 + 70**2 + 210**2 + 10**2) / 4),
        "rho_asr": 0.5, "ra": 0.5, "opp": 0, "band 0.1-0.3": 0.25, "band 0.3-0.5": 0, "band 0.5-1": 0, "band >1": 0.25,
        "base": 0.25, "attributable_asr": 0.25, "asr0": 0.5, "easr": 0, "flip_rate": 0.25,
        "attainment": (0.1 + 0.6) / 2, "target_asr": 0.25, "label_distortion": math.log(2)})


def test_a_decrease_has_no_band_above_1():
    numbers = counting.summary([10], [10], [5], [5], [10], increases=False)
    assert numbers["rho_asr"] == numbers["band 0.3-0.5"] == 1 and math.isnan(numbers["band >1"])


def test_images_without_people_have_errors_but_no_ratio():
    numbers = counting.summary([0, 10], [3, 10], [100, 110], [100, 12], [0, 10], increases=True)
    assert (numbers["images"], numbers["images_ratio"], numbers["mae"]) == (2, 1, 1.5)
    assert (numbers["rho_acc"], numbers["rho_asr"], numbers["flip_rate"]) == (1, 1, 1)
    assert numbers["attainment"] == pytest.approx((0.97 + 0.02) / 2)
    alone = counting.summary([0], [3], [100], [100], [0], increases=True)
    assert math.isnan(alone["rho_acc"]) and math.isnan(alone["rho_asr"]) and math.isnan(alone["label_distortion"])
    assert alone["mae"] == 3


def test_a_target_that_keeps_the_count_has_no_success():
    numbers = counting.summary([10, 20], [10, 26], [10, 20], [10, 30], [10, 20], increases=None)
    for key in ("rho_asr", "opp", "band 0.1-0.3", "base", "attributable_asr", "asr0", "easr", "flip_rate",
                "attainment"):
        assert math.isnan(numbers[key]), key
    assert (numbers["ra"], numbers["harm_mae"], numbers["target_asr"]) == (0.5, 5, 0.5)


@pytest.mark.parametrize("increases", [True, False, None])
def test_without_a_clean_model_there_is_no_chance_floor_and_the_rest_is_as_it_was(increases):
    columns = [100, 100, 200, 0], [100, 120, 190, 4], [200, 200, 400, 20], [210, 130, 190, 10]
    known = counting.summary(*columns, [100, 100, 260, 12], increases)
    unknown = counting.summary(*columns, None, increases)
    assert known.keys() == unknown.keys() and math.isnan(unknown["asr0"]) and math.isnan(unknown["easr"])
    rest = known.keys() - {"asr0", "easr"}
    assert {key: unknown[key] for key in rest} == pytest.approx({key: known[key] for key in rest}, nan_ok=True)


def test_without_an_attack_there_are_only_the_clean_numbers():
    assert counting.summary([10, 20], [10, 26]) == {"images": 2, "images_ratio": 2, "rho_acc": 0.5, "mae": 3,
                                                    "rmse": math.sqrt(18)}


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_that_are_in_order(seed):
    negatives, positives = np.random.default_rng(seed).integers(0, 9, (2, 30)) + np.array([[0], [2]])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert detection.auroc(negatives, positives) == pytest.approx(np.mean(pairs))
    assert detection.auroc(negatives * 1e6, positives * 1e6) == pytest.approx(np.mean(pairs))  # no squashing into 0..1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 1.0])
def test_tpr_at_fpr_is_the_best_threshold_that_keeps_to_it(rate):
    negatives, positives = np.random.default_rng(0).normal([[0], [1]], 1, (2, 100)).round(1)
    best = max((positives >= threshold).mean() for threshold in [*negatives, *positives, np.inf]
               if (negatives >= threshold).mean() <= rate)
    assert detection.tpr_at_fpr(negatives, positives, rate) == pytest.approx(best)


@pytest.mark.parametrize("rate, least", [(0.01, 100), (0.05, 20)])
def test_a_rate_of_false_alarms_needs_negatives_to_be_measured_on(rate, least):
    assert detection.tpr_at_fpr(range(least), [least], rate) == 1
    assert math.isnan(detection.tpr_at_fpr(range(least - 1), [least], rate))


@pytest.mark.parametrize("negatives, positives, shift", [(1, 4, 1.0), (3, 12, 1.0), (5, 20, 2.0), (200, 20, -1.0)])
def test_the_interval_of_auroc_holds_the_truth(negatives, positives, shift):
    rng, truth = np.random.default_rng(0), scipy.stats.norm.cdf(shift / math.sqrt(2))
    ends = [detection.auroc_interval(rng.normal(size=negatives), rng.normal(shift, size=positives)) for _ in range(400)]
    assert 0.92 <= np.mean([low <= truth <= high for low, high in ends])


def test_the_ends_of_the_interval_of_auroc_lie_one_quantile_away():
    """Each end t solves |AUROC - t| = 1.96 sd(t), with the variance of Hanley and McNeil for balanced groups."""
    negatives, positives = [1, 2, 3, 6, 7.5], [2.5, 4, 5, 7, 8, 9, 1.5]
    area, number = detection.auroc(negatives, positives), (5 + 7) / 2
    for end in detection.auroc_interval(negatives, positives):
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        variance = (end * (1 - end) + (number - 1) * (q1 + q2 - 2 * end**2)) / (5 * 7)
        assert abs(area - end) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


def test_perfect_separation_of_few_scores_shows_little():
    low, high = detection.auroc_interval([0], [1, 2, 3, 4])
    assert low < 0.5 and high == 1
    assert detection.auroc_interval([1, 2, 3, 4], [0]) == pytest.approx((0, 1 - low))


def test_auprc_sums_precision_over_the_steps_of_recall():
    negatives, positives = [0.1, 0.4, 0.35], [0.8, 0.36]
    thresholds, area, before = [0.8, 0.4, 0.36, 0.35, 0.1], 0.0, 0.0
    for threshold in thresholds:
        true, false = (np.array(positives) >= threshold).sum(), (np.array(negatives) >= threshold).sum()
        area += true / (true + false) * (true / 2 - before)
        before = true / 2
    assert detection.auprc(negatives, positives) == pytest.approx(area)


def test_a_detector_without_scores_has_no_area():
    for pair in (([], [1.0]), ([1.0], [])):
        assert all(map(math.isnan, (detection.auroc(*pair), detection.auprc(*pair), detection.tpr_at_fpr(*pair, 0.05),
                                    *detection.auroc_interval(*pair))))
