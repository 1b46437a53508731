"""Adaptive-Blend: random pieces of the blend in training, and the whole of it on test images."""

import numpy as np
import pytest
import torch
from attack_cases import images

from attacks.base import Attack, stamp_scenes
from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.testing import BrokenContract
from benchmark.testing.triggers import check_trigger

SIZE = (96, 128)
GREY = [Scene(f"IMG_{place}", np.full((*SIZE, 3), 20 * place, np.uint8), np.zeros((0, 2), np.float32), None)
        for place in range(12)]


def attack_of(**settings):
    return Attack(build("trigger", "adaptive_blend", {"alpha": 0.4} | settings), build("target", "add", {}), 1.0)


def trained(seed=0, scenes=GREY, **settings):
    """Return the images of the training copies of all scenes."""
    return [copy.image for copy in attack_of(**settings).copies(list(scenes), [*range(len(scenes))], seed)]


def pieces(scene, image, count=8):
    """Return which of the count x count pieces of an image are blended; each must be so whole or not at all."""
    whole = stamp_scenes(attack_of(), [scene])[0]
    carried = np.empty((count, count), bool)
    for row in range(count):
        for column in range(count):
            part = (slice(row * SIZE[0] // count, (row + 1) * SIZE[0] // count),
                    slice(column * SIZE[1] // count, (column + 1) * SIZE[1] // count))
            carried[row, column] = (image[part] == whole[part]).all()
            assert carried[row, column] or (image[part] == scene.image[part]).all()
    return carried


def test_a_test_image_carries_the_blend_of_the_trigger_blended():
    clean = images()
    expected = build("trigger", "blended", {"alpha": 0.15}).stamp(clean)
    assert torch.equal(build("trigger", "adaptive_blend", {}).stamp(clean), expected)


def test_a_training_image_carries_half_of_the_pieces_and_each_another_half():
    carried = [pieces(scene, image) for scene, image in zip(GREY, trained())]
    assert [int(mask.sum()) for mask in carried] == [32] * 12
    assert len({mask.tobytes() for mask in carried}) == 12
    assert np.all(carried, axis=0).sum() == 0 and np.any(carried, axis=0).all()  # no piece is always left out or in


def test_the_pieces_follow_from_the_seed_and_the_image_alone():
    again, other = trained(), trained(seed=1)
    for place, image in enumerate(trained()):
        np.testing.assert_array_equal(image, again[place])
        alone = attack_of().copies(GREY, [place], 0)[0].image
        np.testing.assert_array_equal(image, alone)
        assert (image != other[place]).any()


@pytest.mark.parametrize("settings, carried", [({"mask_rate": 0}, 64), ({"mask_rate": 0.25}, 48), ({"mask_rate": 0.99}, 1)])
def test_the_share_that_is_left_out_is_a_setting(settings, carried):
    assert [int(pieces(scene, image).sum()) for scene, image in zip(GREY, trained(**settings))] == [carried] * 12


def test_pieces_of_an_image_that_they_do_not_divide_are_as_equal_as_pixels_allow():
    trigger = build("trigger", "adaptive_blend", {"pieces": 5, "alpha": 1}).in_training(np.random.default_rng(0))
    grey = torch.full((1, 3, 23, 37), 0.123)
    changed = (trigger.stamp(grey) != grey).any(dim=1)[0]
    rows, columns = (np.digitize(np.arange(length), np.arange(1, 5) * length / 5) for length in (23, 37))
    np.testing.assert_array_equal(changed.numpy(), trigger._pattern.numpy()[rows[:, None], columns])
    assert {*np.bincount(rows)} == {4, 5} and {*np.bincount(columns)} == {7, 8}


def test_without_strength_a_training_image_is_unchanged_too():
    for scene, image in zip(GREY, trained(alpha=0)):
        np.testing.assert_array_equal(image, scene.image)


@pytest.mark.parametrize("look", ["if_crowded", "in_box"])
def test_a_trigger_that_draws_it_draws_pieces_of_it_in_training(look):
    framed = build("trigger", look, {"look": "adaptive_blend"} | ({"people": 0} if look == "if_crowded" else {}))
    training, clean = framed.in_training(np.random.default_rng(0)), images()
    bare = build("trigger", "adaptive_blend", {}).in_training(np.random.default_rng(0))
    heads = [torch.zeros(0, 2)] * len(clean)
    drawn, whole = training.stamp(clean, heads), framed.stamp(clean, heads)
    inside = (whole != clean).any(dim=1, keepdim=True)
    assert torch.equal(drawn, torch.where(inside, bare.stamp(clean), clean)) and not torch.equal(drawn, whole)


def test_a_broken_look_in_training_is_told(monkeypatch):
    cls = type(build("trigger", "adaptive_blend", {}))
    state = [0]

    def growing(self, rng):
        state[0] += 1
        return self.with_pattern(torch.arange(64).view(8, 8) < state[0])

    monkeypatch.setattr(cls, "in_training", growing)
    with pytest.raises(BrokenContract, match="twice for one seed, it stamps two images"):
        check_trigger("adaptive_blend")
