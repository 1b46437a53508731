"""Beatrix: its matrices and scores against the formula, and images whose channels go together otherwise."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.registry import build
from benchmark.testing import knowledge_of
from defenses.base import Knows
from defenses.beatrix import Interval, gram
from models.base import Counter


class Colours(Counter):
    """A counter whose features are its images."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(3, 1, 1)

    def density(self, images):
        return self.last(images)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_an_element_of_the_matrix_is_the_formula_of_the_paper(order):
    features = np.random.default_rng(order).normal(size=(4, 6))
    expected = []
    for i in range(4):
        for j in range(i, 4):
            value = np.mean(features[i] ** order * features[j] ** order)
            expected.append(np.sign(value) * np.abs(value) ** (1 / order))
    found = gram(torch.tensor(features, dtype=torch.float32)[None], order)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4)


def test_the_interval_is_the_median_and_ten_deviations_and_inside_of_it_nothing_is_suspected():
    clean = torch.tensor([[1.0, -2], [2, -4], [4, -5]])  # medians 2 and -4, deviations 1 and 1
    interval = Interval.of(clean, 10)
    assert interval.low.tolist() == [-8, -14] and interval.high.tolist() == [12, 6]
    distances = interval.distances(torch.tensor([[-8.0, 6], [24, -28]]))
    torch.testing.assert_close(distances, torch.tensor([[0.0, 0], [1, 1]]), rtol=1e-4, atol=1e-6)


def together(number, share):
    """Features [N, 3, 8, 8] whose first two channels agree in a share of the places and are opposite elsewhere."""
    images = 2 * torch.rand(number, 3, 8, 8) - 1
    agrees = torch.rand(number, 8, 8) < share
    images[:, 1] = torch.where(agrees, images[:, 0], -images[:, 0])
    return images


def test_images_whose_channels_go_together_otherwise_are_suspected():
    torch.manual_seed(0)
    known = SimpleNamespace(clean=list(together(40, 0.9)), trainer=SimpleNamespace(
        per_image=lambda _, scenes, measure: measure(SimpleNamespace(images=torch.stack(scenes)))))
    score = build("defense", "beatrix", {"width": 3}).scorer(Colours().eval(), known)
    usual, other = score(together(20, 0.9)), score(together(20, 0.2))
    assert other.min() > usual.max()


def test_the_score_is_the_same_in_other_units_of_the_features():
    images = torch.rand(3, 3, 16, 24)

    class Brighter(Colours):
        std = (1e-3, 1e-3, 1e-3)  # values of 0 to 1000, whose eighth powers no float32 product holds

    detector, clean = build("defense", "beatrix", {}), knowledge_of(Knows(clean=40))
    plain, bright = (detector.scorer(kind().eval(), clean)(images) for kind in (Colours, Brighter))
    assert bright.isfinite().all() and plain.max() > 0
    torch.testing.assert_close(plain, bright, rtol=1e-3, atol=1e-6)
