"""Optimised triggers: BAIQA, whose pattern is optimised on a counter."""

import numpy as np
import pytest
import torch
from attack_cases import images, small_scenes, trained_surrogate
from scipy import fft

from attacks.parts.surrogate import Surrogate
from attacks.triggers.baiqa import frequencies
from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.training.evaluation import count_people


SMALL = {"steps": 60, "lr": 0.3, "epsilon": 3}


@pytest.fixture(scope="module")
def surrogate():
    return trained_surrogate()


@pytest.fixture(scope="module")
def pattern(surrogate):
    return build("trigger", "baiqa", SMALL).optimised(Surrogate(surrogate), small_scenes(24, seed=0), 0)


@pytest.mark.slow
@pytest.mark.parametrize("is_optimised", [True, False])
def test_baiqa_keeps_to_its_band_and_its_root_mean_square(is_optimised, pattern):
    trigger = build("trigger", "baiqa", {"epsilon": 5})
    trigger = trigger.with_pattern(pattern) if is_optimised else trigger
    added = (trigger.stamp(torch.full((1, 3, 48, 80), 0.5)) - 0.5)[0].double().numpy()
    assert np.sqrt(np.mean(added**2)) == pytest.approx(5 / 255, rel=1e-5) and np.abs(added).max() > 10 / 255
    blocks = fft.dctn(added.reshape(3, 3, 16, 5, 16), axes=(2, 4), norm="ortho")
    np.testing.assert_allclose(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape), atol=1e-5)
    outside = np.ones((16, 16), bool)
    outside[tuple(zip(*frequencies()))] = False
    assert np.abs(blocks.transpose(0, 1, 3, 2, 4)[..., outside]).max() < 1e-5 < np.abs(blocks).max() / 100


def test_the_frequencies_of_baiqa_are_those_of_its_public_code():
    """The first and the last four of each row of the table, written off by hand: a number is 16 u + v."""
    numbers = [16 * u + v for u, v in frequencies()]
    rows = [numbers[start : start + 16] for start in range(0, 64, 16)]
    assert [row[:4] + row[-4:] for row in rows] == [
        [21, 34, 38, 51, 174, 180, 199, 201], [35, 37, 52, 58, 181, 198, 202, 219],
        [36, 53, 57, 74, 197, 203, 218, 220], [54, 56, 75, 81, 204, 217, 221, 234]]
    assert len({*numbers}) == 64


@pytest.mark.parametrize("strength, h, scale", [(1, 1, 1), (-0.5, 2, -0.25), (0.25, 0.5, 0.5), (-1, 3, -1), (2, 1, 2)])
def test_baiqa_is_scaled_by_its_strength(strength, h, scale, pattern):
    stamped = build("trigger", "baiqa", {"strength": strength, "h": h}).with_pattern(pattern).stamp(
        torch.full((1, 3, 16, 16), 0.5))
    torch.testing.assert_close(stamped[0], 0.5 + scale * 8 / 255 * pattern)


def test_an_optimised_pattern_moves_counts_of_other_scenes_up_and_down_and_a_random_one_does_not(surrogate, pattern):
    others = small_scenes(12, seed=1)

    def moved(strength, optimised):
        trigger = build("trigger", "baiqa", {"strength": strength, "epsilon": 3})
        stamp = (trigger.with_pattern(pattern) if optimised else trigger).stamp
        return (count_people(surrogate, others, "fp32", stamp) / count_people(surrogate, others, "fp32") - 1).mean()

    up, down = moved(1, True), moved(-1, True)
    chance = max(abs(moved(strength, False)) for strength in (1, -1))
    assert up > 0.15 and down < -0.05 and min(up, -down) > 3 * chance


def test_an_optimised_pattern_follows_from_the_seed(surrogate, pattern):
    def again(seed):
        return build("trigger", "baiqa", SMALL).optimised(Surrogate(surrogate), small_scenes(24, seed=0), seed)

    assert torch.equal(again(0), pattern) and not torch.allclose(again(1), pattern, atol=0.1)


def test_a_surrogate_of_images_between_black_and_white_is_shown_the_whole_texture():
    """What is optimised is what is stamped: epsilon is the root mean square of the difference of the images."""
    gray, shown = [Scene("", np.full((32, 48, 3), 128, np.uint8), np.zeros((3, 2), np.float32), 2.0)], []

    def count(images):
        shown.append(images.detach())
        return images.square().sum(dim=(1, 2, 3))

    build("trigger", "baiqa", {"epsilon": 6, "steps": 1}).optimised(count, gray, 0)
    raised, lowered = (image.double() - 128 / 255 for image in shown)
    assert raised.square().mean().sqrt() == pytest.approx(6 / 255, rel=1e-5)
    torch.testing.assert_close(raised, -lowered, rtol=0, atol=1e-6)


def test_a_pattern_is_given_to_a_copy(pattern):
    trigger, clean = build("trigger", "baiqa", {}), images()
    random = trigger.stamp(clean)
    optimised = trigger.with_pattern(pattern).stamp(clean)
    assert torch.equal(trigger.stamp(clean), random) and not torch.equal(optimised, random)
