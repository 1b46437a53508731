"""Learned triggers: LIRA and SSBA, whose pattern is a small network that draws another change on each image."""

import numpy as np
import pytest
import torch
from attack_cases import images, small_scenes, trained_surrogate

from attacks.base import Attack
from attacks.parts.generator import convolved, drawn_weights, number_of_weights
from attacks.parts.steganography import carriers, decoded, start
from attacks.parts.surrogate import Surrogate
from benchmark.registry import build
from benchmark.training.evaluation import count_people
from benchmark.utils.errors import UserError

pytestmark = pytest.mark.slow

SMALL = {"lira": {"steps": 60, "epsilon": 5}, "ssba": {"steps": 100, "bits": 40, "epsilon": 12}}
each_learned = pytest.mark.parametrize("name", list(SMALL))


class Kept(Surrogate):
    """A surrogate that remembers the counters that were trained from it."""

    learners = []

    def learner(self):
        self.learners.append(super().learner())
        return self.learners[-1]


@pytest.fixture(scope="module")
def surrogate():
    return trained_surrogate()


@pytest.fixture(scope="module")
def asked(surrogate):
    """What each trigger is optimised on."""
    return {"lira": Surrogate(surrogate), "ssba": None}


@pytest.fixture(scope="module")
def kept(surrogate):
    """The surrogate that `lira` is optimised on in `patterns`, and nothing else."""
    return Kept(surrogate)


@pytest.fixture(scope="module")
def patterns(kept):
    asked = {"lira": kept, "ssba": None}
    return {name: build("trigger", name, settings).optimised(asked[name], small_scenes(24, seed=0), 0)
            for name, settings in SMALL.items()}


@pytest.fixture(scope="module")
def others():
    """Images that no trigger was learned on, [8, 3, 64, 96]."""
    pixels = np.stack([scene.image for scene in small_scenes(12, seed=1) if scene.size == (64, 96)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def learned(name, patterns, **settings):
    return build("trigger", name, SMALL[name] | settings).with_pattern(patterns[name])


def test_a_generator_is_a_network_of_torch():
    channels = (4, 5, 6, 3)
    layers = [torch.nn.Conv2d(*pair, 3, padding=1) for pair in zip(channels, channels[1:])]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    weights = torch.nn.utils.parameters_to_vector(network.parameters())
    inputs = torch.rand(2, 4, 9, 7)
    assert len(weights) == number_of_weights(channels) == len(drawn_weights(channels, np.random.default_rng(0)))
    torch.testing.assert_close(convolved(inputs, weights, channels), network(inputs))


def test_drawn_weights_keep_the_scale_of_their_inputs():
    channels = (3, 64, 64, 64, 3)
    weights = drawn_weights(channels, np.random.default_rng(0))
    outputs = convolved(torch.randn(1, 3, 64, 64), weights, channels)
    assert 0.5 < outputs.std() < 3


@each_learned
@pytest.mark.parametrize("is_learned", [True, False])
def test_a_change_is_bounded_and_differs_between_images(name, is_learned, patterns, others):
    trigger = learned(name, patterns) if is_learned else build("trigger", name, SMALL[name])
    middle = 0.2 + 0.6 * others  # so that nothing is clipped
    change = (trigger.stamp(middle) - middle) * 255
    assert 0.15 * trigger.epsilon < change.square().mean().sqrt() and change.abs().max() < trigger.epsilon + 1e-3
    # Two images have changes of which a part at most is the same, and one image always has its own.
    first, second = (part.flatten() - part.mean() for part in change[:2])
    assert torch.nn.functional.cosine_similarity(first, second, dim=0) < 0.95
    assert (first - second).square().mean() > 0.1 * first.square().mean()


@each_learned
def test_the_same_seed_learns_the_same_pattern(name, asked):
    def learn(seed):
        torch.rand(1)
        return build("trigger", name, SMALL[name] | {"steps": 5}).optimised(asked[name], small_scenes(24, seed=0), seed)

    pattern = learn(0)
    assert torch.equal(learn(0), pattern) and not torch.allclose(learn(1), pattern, atol=0.1)


@each_learned
def test_learning_and_stamping_draw_nothing_from_the_global_generators(name, asked):
    trigger, scenes = build("trigger", name, SMALL[name] | {"steps": 1}), small_scenes(4, seed=0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    trigger.with_pattern(trigger.optimised(asked[name], scenes, 0)).stamp(images())
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()


def test_the_counter_that_learns_with_lira_obeys_it_on_other_scenes_and_not_noise_of_the_same_size(kept, patterns):
    [counter], scenes = kept.learners, small_scenes(12, seed=1)

    def moved(stamp):
        return (count_people(counter, scenes, "fp32", stamp) / count_people(counter, scenes, "fp32") - 1).mean()

    def noise(images):
        signs = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).round() * 2 - 1
        return (images + signs * SMALL["lira"]["epsilon"] / 255).clamp(0, 1)

    random = build("trigger", "lira", SMALL["lira"]).stamp
    up, down = (moved(learned("lira", patterns, strength=strength).stamp) for strength in (1, -1))
    chance = max(abs(moved(noise)), abs(moved(random)))
    assert up > 0.1 and down < -0.1 and min(up, -down) > 3 * chance


def test_lira_is_scaled_by_its_strength(patterns):
    middle = torch.full((1, 3, 16, 16), 0.5) + images((16, 16), 1) / 10
    one, back = (learned("lira", patterns, strength=strength).stamp(middle) - middle for strength in (1, -0.5))
    torch.testing.assert_close(back, -0.5 * one, rtol=1e-4, atol=1e-6)


def bits_read(trigger, stamped):
    """Return the share of the message's bits that the decoder reads in each image, [B]."""
    return ((decoded(stamped, trigger.bits, trigger._pattern) > 0) == (trigger.message() > 0.5)).float().mean(1)


def test_ssba_is_read_from_stamped_images_of_8_bits_and_not_from_clean_ones(patterns, others):
    trigger = learned("ssba", patterns)
    stamped = Attack(trigger, build("target", "add", {}), 0.5).stamp(others)
    assert bits_read(trigger, stamped).min() > 0.95 and abs(bits_read(trigger, others).mean() - 0.5) < 0.15
    unlearned = build("trigger", "ssba", SMALL["ssba"]).with_pattern(start(0))
    assert bits_read(unlearned, unlearned.stamp(others)).mean() < 0.8


def test_ssba_reads_every_message_by_one_pattern(patterns, others):
    messages = [learned("ssba", patterns, seed=seed).message() for seed in range(4)]
    assert all(set(message.tolist()) == {0, 1} for message in messages)
    assert not torch.equal(messages[0], messages[1])
    for seed in range(4):
        trigger = learned("ssba", patterns, seed=seed)
        assert bits_read(trigger, trigger.stamp(others)).mean() > 0.95


@pytest.mark.parametrize("size", [(33, 70), (200, 41)])
def test_ssba_is_read_from_images_of_other_sizes(size, patterns, others):
    image = torch.nn.functional.interpolate(others[:1], size, mode="bicubic", antialias=True).clamp(0, 1)
    trigger = learned("ssba", patterns)
    assert bits_read(trigger, trigger.stamp(image)).min() > 0.9


def test_the_carriers_of_ssba_are_orthogonal():
    patterns = carriers(100, torch.device("cpu"))
    torch.testing.assert_close(patterns @ patterns.T / 256, torch.eye(100), atol=1e-4, rtol=0)


def test_ssba_learns_on_images_smaller_than_its_tile():
    pattern = build("trigger", "ssba", {"steps": 2}).optimised(None, small_scenes(3, 0, size=(12, 40))[1:], 0)
    assert pattern.isfinite().all()


@pytest.mark.parametrize("name, key, value", [("lira", "epsilon", -1), ("lira", "strength", 5), ("lira", "steps", 0),
                                              ("ssba", "bits", 257), ("ssba", "bits", 0), ("ssba", "seed", -1)])
def test_a_setting_out_of_range_is_refused_in_one_line(name, key, value):
    with pytest.raises(UserError, match=f"trigger {name}: {key} = {value}") as refused:
        build("trigger", name, {key: value})
    assert "\n" not in str(refused.value)
