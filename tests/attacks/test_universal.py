"""Universal: a texture that is learned on one clean counter and moves the counts of others."""

import numpy as np
import pytest
import torch
from attack_cases import images, small_scenes, trained_surrogate

from attacks.parts.surrogate import Surrogate
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.registry import build
from benchmark.training.evaluation import count_people

SMALL = {"steps": 60, "lr": 0.1, "epsilon": 6}


@pytest.fixture(scope="module")
def surrogate():
    return trained_surrogate()


@pytest.fixture(scope="module")
def learned(surrogate):
    """Return the trigger that wants more people and the one that wants fewer, each learned."""
    return {wants: learn(surrogate, wants=wants) for wants in ("more", "fewer")}


def learn(surrogate, seed=0, **settings):
    trigger = build("trigger", "universal", SMALL | settings)
    return trigger.with_pattern(trigger.optimised(Surrogate(surrogate), small_scenes(24, seed=0), seed))


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1, -0.5, 2])
def test_a_texture_repeats_and_has_the_root_mean_square_of_its_strength(strength, learned):
    middle = torch.full((1, 3, 48, 64), 0.5)
    for trigger in (learned["more"], build("trigger", "universal", SMALL)):
        added = (trigger.model_copy(update={"strength": strength}).stamp(middle) - middle)[0]
        assert added.square().mean().sqrt() == pytest.approx(6 / 255 * abs(strength), rel=1e-4)
        torch.testing.assert_close(added[:, :16, :16], added[:, 32:, 48:])


def test_it_raises_the_counts_of_a_clean_counter_on_other_scenes_and_noise_does_not(surrogate, learned):
    others = small_scenes(12, seed=2)

    def moved(trigger):
        stamped = count_people(surrogate, others, "fp32", trigger.stamp)
        return (stamped / count_people(surrogate, others, "fp32") - 1).mean()

    assert moved(learned["more"]) > 0.25 and abs(moved(build("trigger", "universal", SMALL))) < 0.08


class SeesGreen(torch.nn.Module):
    """A counter whose count is a multiple of the mean of the green channel, and which learns nothing."""

    recipe = Recipe(lr=1e-9)

    def __init__(self):
        super().__init__()
        self.people = torch.nn.Parameter(torch.tensor(40.0))

    def count(self, images):
        return self.people * images[:, 1].mean(dim=(1, 2))

    def loss(self, batch):
        return self.count(batch.images)

    def copy(self):
        return SeesGreen()


@pytest.mark.parametrize("wants, sign", [("more", 1), ("fewer", -1)])
def test_it_moves_counts_in_the_direction_that_it_wants(wants, sign):
    pattern = learn(SeesGreen(), wants=wants)._pattern
    start = build("trigger", "universal", SMALL).with_pattern(learn(SeesGreen(), steps=1)._pattern)._pattern
    assert sign * pattern[1].mean() > 0.8 > 4 * start[1].mean().abs() and pattern[::2].abs().mean() < 0.6


def test_an_image_that_is_moved_far_enough_decides_no_more():
    trigger = build("trigger", "universal", {})
    ratios = torch.tensor([0.4, 1.0, 2.0, 5.0], requires_grad=True)
    torch.testing.assert_close(trigger._missing(ratios), torch.tensor([1.6, 1.0, 0.0, 0.0]))
    fewer = trigger.model_copy(update={"wants": "fewer"})
    torch.testing.assert_close(fewer._missing(ratios), torch.tensor([0.0, 0.5, 1.5, 4.5]))


@pytest.mark.slow
def test_the_seed_gives_the_same_texture_and_moves_no_generator_and_no_surrogate(surrogate, learned):
    weights = [parameter.clone() for parameter in surrogate.parameters()]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    again, other = learn(surrogate), learn(surrogate, seed=1)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    assert all(map(torch.equal, weights, surrogate.parameters()))
    clean = images()
    assert torch.equal(again.stamp(clean), learned["more"].stamp(clean))
    assert not torch.allclose(other.stamp(clean), learned["more"].stamp(clean), atol=0.01)


def test_images_without_people_do_not_stop_it(surrogate):
    empty = [Scene("", np.full((32, 48, 3), 128, np.uint8), np.zeros((0, 2), np.float32), 2.0)]
    trigger = build("trigger", "universal", {"steps": 2})
    assert trigger.optimised(Surrogate(surrogate), empty, 0).isfinite().all()
