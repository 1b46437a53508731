"""What `check_trigger` and `check_target` refuse: each rule of the contract, broken by a small plugin."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from attack_cases import CLEAN_LABEL

from attacks.base import Target, Trigger
from benchmark import registry
from benchmark.registry import find, names
from benchmark.testing import BrokenContract, check_target, check_trigger


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    """What a test registers is forgotten."""
    monkeypatch.setattr(registry, "_plugins", {})


def plugin(base, name="mine", **members):
    """Register a trigger or target of these members under a name, as a plugin does."""
    annotations = {key: type(value) for key, value in members.items() if isinstance(value, int | float | bool)
                   and key not in ("increases", "divisible")}
    annotations |= {key: ClassVar[object] for key in ("increases", "divisible", "optimises") if key in members}
    cls = type("Mine", (base,), {"__module__": f"plugins.{name}", "__annotations__": annotations, **members})
    cls.name, cls.version = name, "0" * 12
    registry._plugins[base.kind, name] = cls


@pytest.mark.slow
@pytest.mark.parametrize("trigger", names("trigger"))
def test_every_trigger_of_this_project_keeps_the_contract(trigger):
    settings = {"steps": 50} if find("trigger", trigger).optimises else {}  # optimised twice, which takes long
    assert check_trigger(trigger, settings).name == trigger


@pytest.mark.parametrize("target", names("target"))
def test_every_target_of_this_project_keeps_the_contract(target):
    assert check_target(target).name == target
    if target in CLEAN_LABEL:
        check_target(target, CLEAN_LABEL[target])


def fog(self, images):
    return images.lerp(torch.ones_like(images), 0.3)


def changing(self, images):
    return images.mul_(0.5)


def growing(state=[0.0]):
    def stamp(self, images):
        state[0] += 0.05
        return (images + state[0]).clamp(0, 1)
    return stamp


def on_heads(self, images, heads):
    for points in heads:
        points += 1
    return fog(self, images)


def crowded(self, images, heads):
    return fog(self, images)


def switching(self, images):
    torch.set_float32_matmul_precision("medium")
    return fog(self, images)


@pytest.mark.parametrize("members, words", [
    ({"stamp": lambda self, images: images[..., 1:]}, "expected torch.float32 of shape (3, 3, 64, 96)"),
    ({"stamp": lambda self, images: images.double()}, "torch.float64"), ({"stamp": lambda self, images: None}, "NoneType"),
    ({"stamp": lambda self, images: images + 0.5}, "expected values in 0..1"),
    ({"stamp": lambda self, images: images * torch.nan}, "expected values in 0..1"),
    ({"stamp": changing}, "it changes its input"), ({"stamp": growing()}, "a second call returns other images"),
    ({"stamp": lambda self, images: images.lerp(torch.rand_like(images), 0.1)}, "a second call returns other images"),
    ({"stamp": lambda self, images: images.lerp(images.mean(0, keepdim=True), 0.5)}, "not to depend on the others"),
    ({"stamp": lambda self, images: images.float().lerp(torch.ones(1), 0.3)}, "in bfloat16, it returns torch.float32"),
    ({"stamp": lambda self, images: images.clone()}, "no stamped image differs"),
    ({"stamp": lambda self, images: (images + 1e-5).clamp(0, 1)}, "no stamped image differs"),
    ({"stamp": lambda self, images: (images - 0.4 * images ** 2 + (images == 0)).clamp(0, 2)}, ""),
    ({"stamp": on_heads}, "it changes the heads"), ({"stamp": switching}, "expected it to change a switch only within"),
    ({"stamp": fog, "alpha": 0.3}, "with alpha = 0 it changes images"),
    ({"stamp": fog, "strength": 0.3}, "with strength = 0 it changes images"),
    ({"stamp": fog, "n": 3}, "the setting 'n' is one of the target add"),
    ({"stamp": fog, "latent": 3.0}, "the name of a key of every attack"),
    ({"stamp": fog, "optimises": ("wonder",)}, "expected names of its settings"),
    ({"stamp": crowded, "applies": lambda self, heads: len(heads) > 5}, "to which it does not apply"),
    ({"stamp": crowded, "applies": lambda self, heads: heads.sum()}, "`applies` returns"),
    ({"stamp": fog, "shares": lambda self: (0.0,)}, "expected numbers above 0")])
def test_a_broken_rule_of_a_trigger_is_told_in_one_line(members, words):
    before = torch.get_float32_matmul_precision()
    plugin(Trigger, **members)
    try:
        if not words:
            check_trigger("mine")
            return
        with pytest.raises(BrokenContract) as told:
            check_trigger("mine")
    finally:
        torch.set_float32_matmul_precision(before)
    assert words in str(told.value) and "\n" not in str(told.value) and str(told.value).startswith("trigger mine: ")


def every_second(self, points, size, rng):
    return points[::2]


def half(self, count):
    return (count + 1) // 2


@pytest.mark.parametrize("members, words", [
    ({"tau": half, "alter": every_second, "increases": True}, "increases is True, and tau is below the true count"),
    ({"tau": lambda self, count: 2 * count, "alter": lambda self, points, size, rng: np.repeat(points, 2, axis=0),
      "increases": False, "divisible": False}, "increases is False, and tau is above the true count"),
    ({"tau": half, "alter": every_second}, "increases is missing"),
    ({"tau": half, "alter": lambda self, points, size, rng: points[:1], "increases": False}, "expected as many heads as tau"),
    ({"tau": lambda self, count: count / 2, "alter": every_second, "increases": False}, "expected a whole number from 0"),
    ({"tau": lambda self, count: -1, "alter": every_second, "increases": False}, "expected a whole number from 0"),
    ({"tau": half, "alter": lambda self, points, size, rng: points[::2] + 5, "increases": False, "divisible": False},
     "expected (x, y) inside the image"),
    ({"tau": half, "alter": lambda self, points, size, rng: points[::2] * np.nan, "increases": False}, "inside the image"),
    ({"tau": half, "alter": lambda self, points, size, rng: points[::2].tolist(), "increases": False}, "returns list"),
    ({"tau": half, "alter": lambda self, points, size, rng: points[::2, 0], "increases": False}, "expected an array [tau, 2]"),
    ({"tau": half, "alter": lambda self, points, size, rng: np.random.permutation(points)[::2], "increases": False,
      "divisible": False}, "expected every random choice to come from `rng`"),
    ({"tau": half, "alter": lambda self, points, size, rng: points[::-1][: (len(points) + 1) // 2], "increases": False},
     "expected divisible = False"),
    ({"tau": lambda self, count: count, "alter": lambda self, points, size, rng: points.copy(), "increases": True},
     "expected another count, or increases = None"),
    ({"tau": half, "tau_of": lambda self, points, size: 0, "alter": lambda self, points, size, rng: points[:0],
      "increases": False}, "expected the same"),
    ({"tau": half, "alter": every_second, "increases": False, "alpha": 0.3}, "the setting 'alpha' is one of the trigger"),
    ({"tau": half, "alter": every_second, "increases": False, "choose": "most"}, ""),
    ({"tau": half, "alter": every_second, "increases": False, "poison_rate": 0.1}, "the name of a key of every attack"),
    ({"tau": half, "alter": every_second, "increases": False, "fitted": lambda self, chosen: None}, "`fitted` returns NoneType")])
def test_a_broken_rule_of_a_target_is_told_in_one_line(members, words):
    plugin(Target, **members)
    if not words:
        assert check_target("mine").name == "mine"
        return
    with pytest.raises(BrokenContract) as told:
        check_target("mine")
    assert words in str(told.value) and "\n" not in str(told.value) and str(told.value).startswith("target mine: ")


def test_points_that_a_target_changes_are_noticed():
    def sorting(self, points, size, rng):
        points.sort(axis=0)
        return points[::2]

    plugin(Target, tau=half, alter=sorting, increases=False)
    with pytest.raises(BrokenContract, match="`alter` changes its input"):
        check_target("mine")
