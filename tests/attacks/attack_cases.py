"""Attack cases: the triggers, targets, scenes and images of the tests of attacks."""

import numpy as np
import pytest
import torch

from attacks.base import Attack
from attacks.parts.heads import call_with_heads
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.recipe import Recipe
from benchmark.registry import build, names
from benchmark.training.loop import fit

CODE_VARIANT = [("add", {"layout": "grid"}), ("minus", {"keep": 0}), ("multiply", {"shift": 2, "wrap": True})]
CLEAN_LABEL = {"clean_fewer": {"count": 30}, "clean_more": {"count": 300}}
TARGETS = [(name, CLEAN_LABEL.get(name, {})) for name in names("target")] + CODE_VARIANT + [
    ("multiply", {"shift": -3}), ("fixed", {"count": 2}), ("fixed", {"count": 1, "jitter": 0}),
    ("region", {"left": 0.5, "top": 0.5, "height": 0.5}), ("shift", {"dx": -0.3, "dy": 1})]
COUNTS = [0, 1, 2, 3, 99, 100, 101, 250]
SIZES = [(8, 11), (64, 64), (75, 131), (768, 1024), (64, 2048), (2048, 64)]
IDENTITY = {"baiqa": {"strength": 0}, "colour": {"gamma": 1}, "ftrojan": {"magnitude": 0}, "sig": {"amplitude": 0},
            "lira": {"strength": 0}, "low_frequency": {"epsilon": 0}, "ssba": {"epsilon": 0}, "universal": {"strength": 0},
            "wanet": {"strength": 0}, "in_box": {"look": {"alpha": 0}}, "if_crowded": {"look": {"alpha": 0}}}  # for the others, alpha = 0

each_trigger = pytest.mark.parametrize("trigger", names("trigger"))
each_target = pytest.mark.parametrize("target, settings", TARGETS)


def a_scene(count, size=(40, 60)):
    """Return a scene of random pixels and heads. The last four heads are in the image's corners."""
    rng = np.random.default_rng(count)
    height, width = size
    points = rng.uniform(0, (width, height), (count, 2)).astype(np.float32)
    right, bottom = np.nextafter(np.float32((width, height)), np.float32(0))
    corners = np.float32([(0, 0), (right, 0), (0, bottom), (right, bottom)])[:count]
    points[count - len(corners):] = corners
    return Scene(f"IMG_{count}", rng.integers(0, 256, (*size, 3), np.uint8), points, None)


def scenes():
    """Return scenes of two sizes with COUNTS people."""
    return [a_scene(count, size) for count, size in zip(COUNTS, [(40, 60), (64, 48)] * 4)]


def images(size=(64, 96), number=3):
    """Return random images [number, 3, H, W] in 0..1."""
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))


def heads(size=(64, 96), number=3, people=60):
    """Return random heads [people, 2] for each of `number` images of (H, W) pixels."""
    drawn = torch.rand(number, people, 2, generator=torch.Generator().manual_seed(1))
    return list(drawn * torch.tensor(size[::-1]))


def stamp(trigger, images, settings={}, heads_of=None):
    """Return images stamped with a trigger of some settings; every image has heads, whose number `heads` gives."""
    known = heads(images.shape[-2:], len(images)) if heads_of is None else heads_of
    return call_with_heads(build("trigger", trigger, settings).stamp, images,
                           heads=[points.to(images.device) for points in known])


def an_attack(target="multiply", settings={}, rate=1.0, **trigger):
    """Return a blended attack. settings: the target's; trigger: the settings of the trigger."""
    return Attack(build("trigger", "blended", trigger), build("target", target, settings), rate)


def small_scenes(number, seed, size=(64, 96)):
    """Return small drawn scenes, every third of them of another size than the rest."""
    rng = np.random.default_rng(seed)
    pictures = [draw_scene(size if i % 3 else (72, 88), 20, rng) for i in range(number)]
    return [Scene(f"IMG_{i}", *picture, 2.0) for i, picture in enumerate(pictures)]


def trained_surrogate():
    """Return a counter of small scenes whose error is a little below that of the mean count."""
    torch.manual_seed(0)
    counter = build("model", "tiny", {"width": 16})
    recipe = Recipe(epochs=12, batch_size=4, optimizer="adamw", lr=3e-3, schedule="onecycle", clip=1.0,
                    precision="fp32", select="last")
    fit(counter, small_scenes(24, seed=0), recipe, 0, "surrogate")
    return counter.requires_grad_(False)
