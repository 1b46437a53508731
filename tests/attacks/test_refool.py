"""Refool: the three reflections against another computation of their equations."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.registry import build
from benchmark.utils.errors import UserError

SIZE = (60, 90)


@pytest.fixture
def picture(tmp_path):
    """Return a function that writes a random picture of (H, W) and returns its path and its pixels in 0..1."""
    def draw(height, width):
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "picture.png")
        return {"image": tmp_path / "picture.png"}, pixels / 255
    return draw


def scene():
    return np.random.default_rng(0).uniform(0, 1, (*SIZE, 3)).astype(np.float32)


def over(clean, **settings):
    """Return an image [H, W, 3] in 0..1 with the reflection."""
    tensor = torch.tensor(clean).permute(2, 0, 1)[None]
    return build("trigger", "refool", settings).stamp(tensor)[0].permute(1, 2, 0).double().numpy()


def mixed(clean, light, alpha):
    return ((1 - alpha) * clean.astype(float)**2.2 + alpha * light) ** (1 / 2.2)


def test_the_same_depth_of_field_adds_the_light_of_the_sharp_picture(picture):
    given, pixels = picture(*SIZE)
    expected = mixed(scene(), pixels**2.2, 0.3)
    np.testing.assert_allclose(over(scene(), reflection="same_depth", alpha=0.3, **given), expected, atol=1e-5)


def test_out_of_focus_is_a_gaussian_of_the_light(picture):
    given, pixels = picture(*SIZE)
    sigma = 0.04 * 60
    reach = int(np.ceil(2 * sigma))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets[:, None]**2 + offsets**2) / (2 * sigma**2))
    padded = np.pad(pixels**2.2, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1), axis=(0, 1))
    light = np.einsum("yxcij,ij->yxc", windows, kernel / kernel.sum())
    stamped = over(scene(), reflection="out_of_focus", blur=0.04, alpha=0.3, **given)
    np.testing.assert_allclose(stamped, mixed(scene(), light, 0.3), atol=1e-5)


def test_a_ghost_is_two_copies_that_are_apart_on_the_diagonal(picture):
    given, pixels = picture(64, 94)  # the offset is 4 pixels, so that nothing is resized
    light = 0.8 * pixels[4:, 4:] ** 2.2 + 0.2 * pixels[:-4, :-4] ** 2.2
    stamped = over(scene(), reflection="ghost", offset=4 / 60, ghost=0.8, **given)
    np.testing.assert_allclose(stamped, mixed(scene(), light, 0.25), atol=1e-5)


def test_a_point_of_light_has_its_fainter_ghost_to_the_right_and_below(tmp_path):
    pixels = np.zeros((64, 94, 3), np.uint8)
    pixels[30, 50] = 255
    Image.fromarray(pixels).save(tmp_path / "point.png")
    stamped = over(np.zeros((*SIZE, 3), np.float32), alpha=1, offset=4 / 60, ghost=0.8, image=tmp_path / "point.png")
    lit = {(int(y), int(x)): float(stamped[y, x, 0]) for y, x in np.argwhere(stamped[..., 0] > 0)}
    assert lit == pytest.approx({(26, 46): 0.8 ** (1 / 2.2), (30, 50): 0.2 ** (1 / 2.2)}, abs=1e-5)


@pytest.mark.parametrize("reflection", ["same_depth", "out_of_focus", "ghost"])
def test_light_adds_up_to_that_of_the_scene_and_of_the_reflection(reflection, tmp_path):
    Image.new("RGB", (50, 40), (255, 255, 255)).save(tmp_path / "white.png")
    stamped = over(scene(), reflection=reflection, alpha=0.4, image=tmp_path / "white.png")
    np.testing.assert_allclose(stamped**2.2, 0.6 * scene()**2.2 + 0.4, atol=1e-5)


def test_a_wider_blur_is_smoother_and_none_is_the_same_depth_of_field():
    def roughness(**settings):
        return np.square(np.diff(over(np.zeros((*SIZE, 3), np.float32), alpha=1, **settings), axis=1)).mean()

    blurred = [roughness(reflection="out_of_focus", blur=blur) for blur in (0, 0.01, 0.05)]
    assert blurred[0] > 1.2 * blurred[1] > 1.5 * blurred[2]
    assert blurred[0] == roughness(reflection="same_depth")


@pytest.mark.parametrize("settings, words", [
    ({"reflection": "mirror"}, "refool: reflection = 'mirror'"), ({"offset": 0.5}, "refool: offset = 0.5"),
    ({"image": __file__}, "not a readable image")])
def test_a_wrong_setting_is_told_in_one_line(settings, words):
    with pytest.raises(UserError, match=words) as refused:
        build("trigger", "refool", settings)
    assert "\n" not in str(refused.value)
