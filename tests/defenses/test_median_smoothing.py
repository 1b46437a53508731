"""Median smoothing: the median by hand, what is stored, and the certificate against sums and simulations."""

import math
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.registry import build
from benchmark.testing import attacked, fresh, knowledge_of, run, scenes
from defenses.base import Knows
from defenses.median_smoothing import SIGMAS, MedianSmoothing, Smoothed, certificate
from models.base import Counter

IMAGES = torch.randint(0, 256, (3, 3, 24, 40), generator=torch.Generator().manual_seed(1)) / 255


class Sum(Counter):
    """Counts the weighted sum of the pixels."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.03, -0.02, 0.05]))

    def density(self, images):
        return torch.einsum("bchw,c->bhw", images, self.weight)[:, None]


def noise(image, copies):
    """The noise of the copies of an image, float64 [copies, 3, H, W]."""
    seed = zlib.crc32((image.numpy() * 255).round().astype(np.uint8).tobytes())
    return np.stack([torch.randn(image.shape, generator=torch.Generator().manual_seed(seed + copy)).double().numpy()
                     for copy in range(copies)])


def by_hand(image, copies, sigma):
    """The counts of `Sum` of all copies of an image."""
    return [float((copy * np.array([0.03, -0.02, 0.05])[:, None, None]).sum())
            for copy in image.double().numpy() + sigma * noise(image, copies)]


@pytest.mark.parametrize("copies", [1, 7, 10])
def test_a_count_is_the_median_of_the_counts_of_noisy_copies(copies):
    counter = Smoothed(Sum(), copies, 0.2)
    expected = [sorted(by_hand(image, copies, 0.2))[copies // 2] for image in IMAGES]
    with torch.no_grad():
        np.testing.assert_allclose(counter.count(IMAGES), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(counter.counts(IMAGES)[:, 1], by_hand(IMAGES[1], copies, 0.2), rtol=1e-4, atol=1e-4)


def test_a_count_is_the_same_each_time_and_whatever_is_in_the_batch():
    counter = Smoothed(attacked().copy().cpu().eval(), 5, 0.1)
    with torch.no_grad():
        together, again = counter.count(IMAGES), counter.count(IMAGES)
        alone = torch.cat([counter.count(image[None]) for image in IMAGES])
        assert torch.equal(together, again)
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(together, attacked().cpu().eval().count(IMAGES), rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"sigma": 0.1}])
@pytest.mark.parametrize("model", ["tiny", "clip_ebc"])
def test_the_chosen_noise_is_stored_with_the_weights(model, settings):
    defense = MedianSmoothing(copies=3, **settings)
    repaired, knowledge, _ = run(defense, model)
    kept = knowledge.strengths[0].trial.settings["sigma"]
    reloaded = defense.wrap(fresh(model))
    reloaded.load_state_dict(repaired.state_dict())
    copy = reloaded.copy().eval()
    assert float(copy.sigma) == pytest.approx(kept)
    with torch.no_grad():
        torch.testing.assert_close(copy.count(IMAGES), repaired.cpu().eval().count(IMAGES), rtol=1e-4, atol=1e-4)


def test_of_all_noise_the_largest_within_the_budget_is_taken():
    knowledge = knowledge_of(Knows(validation=True))
    errors = {sigma: error for sigma, error in zip(SIGMAS, (10.0, 9.0, 10.7, 10.9, 30.0))}
    knowledge.error = lambda counter: errors[float(counter.sigma)]
    repaired = MedianSmoothing().apply(Sum(), knowledge)
    assert float(repaired.sigma) == SIGMAS[2]
    assert max(SIGMAS) == 0.25 and repaired.copies == 51
    assert not build("defense", "median_smoothing", {"sigma": 0.25}).knows.validation


def test_a_smoothed_counter_learns_from_images_without_noise_and_its_map_sums_to_its_count():
    inside = attacked().copy().cpu()
    counter = Smoothed(inside, 5, 0.1).eval()
    with torch.no_grad():
        assert counter(IMAGES).shape == inside(IMAGES).shape
        torch.testing.assert_close(counter(IMAGES).sum(dim=(1, 2, 3)), counter.count(IMAGES))
        assert torch.equal(counter.features(IMAGES), inside.features(counter.median_copies(IMAGES)))


# The certificate.


def phi(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def at_most(most, number, share):
    """The probability of at most so many successes."""
    logs = [math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1)
            + k * math.log(share) + (number - k) * math.log(1 - share) for k in range(most + 1)]
    return math.fsum(map(math.exp, logs))


@pytest.mark.parametrize("number, sigma, epsilon, confidence", [
    (51, 0.25, 0.1, 0.95), (200, 0.25, 0.36, 0.99), (2000, 0.25, 0.36, 0.99999), (101, 0.1, 0.0, 0.9)])
def test_the_bounds_are_order_statistics_beyond_the_quantiles(number, sigma, epsilon, confidence):
    counts = torch.randperm(number, generator=torch.Generator().manual_seed(0)).double() + 1  # each is its own rank
    lower, upper = map(int, certificate(counts, sigma, epsilon, confidence))
    # The upper one lies above the quantile unless all its predecessors and it do not.
    high, low = phi(epsilon / sigma), phi(-epsilon / sigma)
    assert at_most(upper - 1, number, high) >= confidence > at_most(upper - 2, number, high)
    assert 1 - at_most(lower - 1, number, low) >= confidence > 1 - at_most(lower, number, low)


def test_with_too_few_copies_for_the_confidence_there_is_no_bound():
    counts = torch.arange(20.0)[:, None].expand(20, 2)
    for bounds, infinite in zip(certificate(counts, 0.25, 0.5), (-torch.inf, torch.inf)):
        assert bounds.tolist() == [infinite] * 2
    assert certificate(counts, 0.25, 0.0)[1].isfinite().all()


def test_the_bounds_of_each_image_hold_its_own_counts():
    counts = torch.stack([torch.arange(101.0), 5 * torch.arange(101.0)], dim=1).flip(0)
    lower, upper = certificate(counts, 0.5, 0.1)
    assert (lower * torch.tensor([5, 1]) == lower[1]).all() and (upper * torch.tensor([5, 1]) == upper[1]).all()
    assert 30 < lower[0] < 50 < upper[0] < 70


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_the_bounds_hold_the_worst_change_as_often_as_they_say(epsilon):
    sigma, length = 0.25, 2.0
    generator = torch.Generator().manual_seed(0)
    # Counts of a linear counter whose weights have this length; its median moves by epsilon times it at most.
    counts = 7 + length * sigma * torch.randn(400, 4000, generator=generator)
    lower, upper = certificate(counts, sigma, epsilon, confidence=0.9)
    below, above = (lower <= 7 - epsilon * length).float().mean(), (upper >= 7 + epsilon * length).float().mean()
    assert 0.9 - 0.015 < below < 0.95 and 0.9 - 0.015 < above < 0.95
    wide = certificate(counts, sigma, 2 * epsilon, confidence=0.9)
    assert (wide[0] <= lower).all() and (wide[1] >= upper).all()


def test_a_changed_image_stays_within_the_certificate_of_a_real_counter():
    counter = Smoothed(attacked().copy().cpu().eval(), 201, 0.1)
    epsilon = 0.05
    image = torch.tensor(scenes("clean")[0].image).permute(2, 0, 1)[None] / 255
    leaf = image.clone().requires_grad_()
    gradient, = torch.autograd.grad(counter.counter.count(leaf).sum(), leaf)
    with torch.no_grad():
        lower, upper = certificate(counter.counts(image), 0.1, epsilon)
        for sign in (1, -1):
            changed = counter.counts(image + sign * epsilon * gradient / gradient.norm()).median()
            assert lower.item() <= changed.item() <= upper.item()
