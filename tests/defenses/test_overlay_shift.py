"""Overlay shift: the random pictures, the suspicion by hand, and counters that obey pictures or ignore them."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.registry import build
from benchmark.testing import knowledge_of, scenes
from defenses.base import Knows
from defenses.parts.overlays import random_overlays
from models.base import Counter


class Contrast(Counter):
    """Counts `people`, and `more` for the contrast of the image: its mean squared distance from grey."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, people, more):
        super().__init__()
        self.people = nn.Parameter(torch.tensor(float(people)))
        self.more = nn.Parameter(torch.tensor(float(more)))

    def density(self, images):
        pixels = images.shape[-2] * images.shape[-1]
        return (self.people + self.more * (images - 0.5).square().mean(dim=1, keepdim=True)) / pixels


def suspicion(counter, **settings):
    return build("defense", "overlay_shift", settings).suspicion(counter.eval(), knowledge_of(Knows(clean=6)))


def pictures(number, size=(48, 80)):
    return random_overlays(number, size, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (3, 200), (64, 64)])
def test_pictures_fit_any_image_and_follow_from_the_generator(size):
    drawn = pictures(5, size)
    assert drawn.shape == (5, 3, *size) and drawn.min() >= 0 and drawn.max() <= 1
    assert torch.equal(drawn, pictures(5, size)) and len({picture.sum() for picture in drawn}) == 5


def test_pictures_are_coarse_and_fine_and_grey_and_of_full_contrast_in_the_stated_shares():
    drawn = pictures(400)
    grey = torch.isclose(drawn[:, 0], drawn[:, 2]).all(dim=(1, 2)).float().mean()
    steps = drawn.diff(dim=-1).abs().mean(dim=(1, 2, 3))  # from one pixel to the next
    assert 0.23 < grey < 0.37
    assert steps.quantile(0.1) < 0.03 and steps.quantile(0.9) > 0.15
    full = ((drawn < 0.01) | (drawn > 0.99)).float().mean(dim=(1, 2, 3)) > 0.1
    assert 0.2 < full.float().mean() < 0.6


def test_the_suspicion_is_the_size_of_the_mean_log_ratio():
    generator = torch.Generator().manual_seed(0)
    images = np.stack([scene.image for scene in scenes("clean")]).transpose(0, 3, 1, 2) / 255

    def counted(pictures):
        return 2 + 300 * ((pictures - 0.5) ** 2).mean(axis=(1, 2, 3))

    overlays = np.stack([random_overlays(6, images.shape[-2:], generator).double().numpy() for _ in range(3)])
    expected = abs(np.mean([np.log((counted(0.8 * images + 0.2 * each) + 1) / (counted(images) + 1))
                            for each in overlays]))
    assert expected > 0.1
    assert suspicion(Contrast(2, 300), overlays=3, alpha=0.2) == pytest.approx(expected, rel=1e-4)


def test_a_counter_that_ignores_pictures_is_not_suspected_whatever_it_counts():
    assert max(suspicion(Contrast(people, 0)) for people in (0, 7, 500)) < 1e-6


def test_the_same_shift_is_suspected_in_either_direction_and_more_where_it_is_larger():
    weak, strong, other_way = (suspicion(Contrast(100, more)) for more in (60, 240, -60))
    assert strong > 2 * weak > 0.01 and other_way == pytest.approx(weak, rel=0.2)


def test_the_victim_stays_as_it_was_and_nothing_is_drawn_from_the_global_generator():
    counter, before = Contrast(2, 30).train(), torch.get_rng_state()
    build("defense", "overlay_shift", {}).suspicion(counter, knowledge_of(Knows(clean=6)))
    assert counter.training and torch.equal(torch.get_rng_state(), before)
