"""What every registered trigger and target must do, and facts of the paper and its code."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import fft, ndimage, stats

from attacks.base import Attack, Target, stamp_scenes
from attacks.parts.latent import mmd, mmd_of_stamped
from benchmark.config.cell import POISONING
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.metrics.image_quality import psnr
from benchmark.recipe import Recipe
from benchmark.registry import build, find, names, settings_of
from benchmark.training.evaluation import count_people
from benchmark.training.loop import fit
from benchmark.utils.errors import UserError

CODE_VARIANT = [("add", {"layout": "grid"}), ("minus", {"keep": 0}), ("multiply", {"shift": 2, "wrap": True})]
CLEAN_LABEL = {"clean_fewer": {"count": 30}, "clean_more": {"count": 300}}
TARGETS = [(name, CLEAN_LABEL.get(name, {})) for name in names("target")] + CODE_VARIANT + [
    ("multiply", {"shift": -3}), ("fixed", {"count": 2}), ("fixed", {"count": 1, "jitter": 0}),
    ("region", {"left": 0.5, "top": 0.5, "height": 0.5}), ("shift", {"dx": -0.3, "dy": 1})]
COUNTS = [0, 1, 2, 3, 99, 100, 101, 250]
SIZES = [(8, 11), (64, 64), (75, 131), (768, 1024), (64, 2048), (2048, 64)]
IDENTITY = {"baiqa": {"strength": 0}, "colour": {"gamma": 1}, "ftrojan": {"magnitude": 0}, "sig": {"amplitude": 0},
            "low_frequency": {"epsilon": 0}, "wanet": {"strength": 0}}  # of the others, alpha = 0

each_trigger = pytest.mark.parametrize("trigger", names("trigger"))
each_target = pytest.mark.parametrize("target, settings", TARGETS)


def a_scene(count, size=(40, 60)):
    """Random pixels and heads, the last four of them in the corners of the image."""
    rng = np.random.default_rng(count)
    height, width = size
    points = rng.uniform(0, (width, height), (count, 2)).astype(np.float32)
    right, bottom = np.nextafter(np.float32((width, height)), np.float32(0))
    corners = np.float32([(0, 0), (right, 0), (0, bottom), (right, bottom)])[:count]
    points[count - len(corners):] = corners
    return Scene(f"IMG_{count}", rng.integers(0, 256, (*size, 3), np.uint8), points, None)


def scenes():
    return [a_scene(count, size) for count, size in zip(COUNTS, [(40, 60), (64, 48)] * 4)]


def images(size=(64, 96), number=3):
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))


def an_attack(target="multiply", settings={}, rate=1.0, **trigger):
    return Attack(build("trigger", "blended", trigger), build("target", target, settings), rate)


@pytest.fixture
def picture(tmp_path):
    """A picture of the scenes' size, so that it is blended without resizing."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png", pixels


# Triggers

@each_trigger
@pytest.mark.parametrize("size", SIZES)
def test_a_stamped_image_is_an_image(trigger, size):
    clean = images(size, number=1)
    stamped = build("trigger", trigger, {}).stamp(clean)
    assert stamped.shape == clean.shape and stamped.dtype == torch.float32
    assert 0 <= stamped.min() and stamped.max() <= 1
    assert not torch.equal(stamped, clean)


@each_trigger
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_stay_in_range(trigger, value):
    stamped = build("trigger", trigger, {}).stamp(torch.full((1, 3, 64, 64), value))
    assert 0 <= stamped.min() and stamped.max() <= 1


@each_trigger
def test_stamping_is_deterministic_and_leaves_its_input_as_it_is(trigger):
    clean = images()
    stamped = build("trigger", trigger, {}).stamp(clean)
    assert torch.equal(stamped, build("trigger", trigger, {}).stamp(clean))
    assert torch.equal(clean, images())


@each_trigger
def test_a_stamped_batch_equals_its_images_one_by_one_however_it_lies_in_memory(trigger):
    stamp = build("trigger", trigger, {}).stamp
    one_by_one = torch.cat([stamp(image[None]) for image in images()])
    torch.testing.assert_close(stamp(images()), one_by_one)
    torch.testing.assert_close(stamp(images().to(memory_format=torch.channels_last)), one_by_one)


@each_trigger
def test_stamping_in_bf16_is_close_to_fp32(trigger):
    stamp, half = build("trigger", trigger, {}).stamp, images().bfloat16()
    assert stamp(half).dtype == torch.bfloat16
    torch.testing.assert_close(stamp(half).float(), stamp(half.float()), rtol=0, atol=0.01)


@each_trigger
def test_a_trigger_without_strength_leaves_the_image_as_it_is(trigger):
    assert torch.equal(build("trigger", trigger, IDENTITY.get(trigger, {"alpha": 0})).stamp(images()), images())


@each_trigger
def test_a_trigger_is_neither_invisible_in_8_bits_nor_does_it_hide_the_image(trigger):
    image, points = draw_scene((144, 224), 60, np.random.default_rng(0))
    [stamped] = stamp_scenes(Attack(build("trigger", trigger, {}), build("target", "add", {}), 1.0),
                             [Scene("", image, points, None)])
    assert 14 < psnr(image, stamped) < 45


@pytest.mark.parametrize("trigger", ["baiqa", "bpp", "ftrojan", "low_frequency", "noise"])
def test_patterns_are_the_same_in_images_of_all_sizes(trigger):
    stamp, clean = build("trigger", trigger, {}).stamp, images((1100, 1200), 1)
    assert torch.equal(stamp(clean)[..., :40, :70], stamp(clean[..., :40, :70]))


@pytest.mark.parametrize("trigger", ["low_frequency", "noise", "rain", "snow", "wanet"])
def test_another_seed_is_another_trigger(trigger):
    first, other = (build("trigger", trigger, {"seed": seed}).stamp(images()) for seed in (0, 1))
    assert (first - other).abs().mean() > 0.005


def test_no_setting_of_a_trigger_has_the_name_of_a_targets():
    """An attack's settings go to the one of the two that has them."""
    triggers, targets = ({field for name in names(kind) for field in settings_of(find(kind, name)).model_fields}
                         for kind in ("trigger", "target"))
    assert not triggers & targets and not (triggers | targets) & {"trigger", "target", "also", *POISONING}


# Each trigger, worked out in another way.

def over(clean, trigger, **settings):
    """An image [H, W, 3] in 0..1 with a trigger."""
    tensor = torch.tensor(clean).permute(2, 0, 1)[None].float()
    return build("trigger", trigger, settings).stamp(tensor)[0].permute(1, 2, 0).double().numpy()


def an_image(size=(40, 70), low=0.0, high=1.0):
    return np.random.default_rng(0).uniform(low, high, (*size, 3)).astype(np.float32)


def test_noise_is_uniform_and_its_own_in_each_pixel_and_channel():
    noise = over(np.zeros((200, 300, 3)), "noise", alpha=1)
    assert stats.kstest(noise.ravel(), "uniform").pvalue > 0.01
    neighbours = [noise[1:, :, 0] * noise[:-1, :, 0], noise[:, 1:, 0] * noise[:, :-1, 0], noise[..., 0] * noise[..., 1]]
    assert [product.mean() for product in neighbours] == pytest.approx([0.25] * 3, abs=0.005)
    clean = an_image((200, 300))
    np.testing.assert_allclose(over(clean, "noise"), 0.9 * clean + 0.1 * noise, atol=1e-6)


def test_coarse_noise_is_bicubic_between_its_cells():
    def weights(length, cells):
        distance = np.abs((np.arange(length)[:, None] + 0.5) / 8 - 0.5 - np.arange(-3, cells + 3))
        near = 1.25 * distance**3 - 2.25 * distance**2 + 1  # Keys, 1981, a = -0.75
        far = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weight = np.where(distance < 1, near, np.where(distance < 2, far, 0))
        weight[:, 3] += weight[:, :3].sum(axis=1)  # the last cells go on beyond the edge
        weight[:, -4] += weight[:, -3:].sum(axis=1)
        return weight[:, 3:-3]

    cells = over(np.zeros((3, 4, 3)), "noise", alpha=1)
    expected = np.einsum("yi,xj,ijc->yxc", weights(17, 3), weights(26, 4), cells).clip(0, 1)
    np.testing.assert_allclose(over(np.zeros((17, 26, 3)), "noise", alpha=1, grid=8), expected, atol=1e-5)


@pytest.mark.parametrize("trigger", ["rain", "snow"])
def test_weather_is_the_brightest_stroke_at_each_pixel(trigger):
    drawing = build("trigger", trigger, {"alpha": 1})
    clean = an_image((768, 1024))
    picture, mixed = drawing.stamp(torch.zeros(1, 3, 768, 1024))[0, 0].numpy(), over(clean, trigger)
    np.testing.assert_allclose(mixed, 0.7 * clean + 0.3 * picture[..., None], atol=1e-6)
    start, end, radius, strength = drawing.strokes(np.random.default_rng(0))
    for y, x in np.random.default_rng(1).integers(0, (768, 1024), (400, 2)):
        to_start, to_end, along = start - [x, y], end - [x, y], end - start
        beside = ((to_start * along).sum(axis=1) < 0) & ((to_end * along).sum(axis=1) > 0)
        across = np.abs(to_start[:, 0] * along[:, 1] - to_start[:, 1] * along[:, 0]) / np.linalg.norm(along, axis=1)
        distance = np.where(beside, across, np.minimum(*(np.linalg.norm(v, axis=1) for v in (to_start, to_end))))
        light = (strength * np.exp(-((distance / radius) ** 2))).max()
        assert picture[y, x] == pytest.approx(drawing.grey + (1 - drawing.grey) * light, abs=2e-4)


def test_rain_falls_in_streaks_and_snow_in_flakes():
    def steepness(trigger):  # of the light along y, as a share of that along x
        picture = over(np.zeros((768, 1024, 3)), trigger, alpha=1)[..., 0]
        return np.square(np.diff(picture, axis=0)).mean() / np.square(np.diff(picture, axis=1)).mean()

    assert steepness("rain") < 0.1 and 0.6 < steepness("snow") < 1.6


@pytest.mark.parametrize("settings, side, corners", [
    ({}, 6, [(40, 70)]), ({"alpha": 0.3, "cells": 2}, 6, [(40, 70)]),
    ({"share": 0.3, "tiles": 3}, 4, [(y, x) for y in (13, 26, 40) for x in (23, 46, 70)])])
def test_patch_is_a_checkerboard_in_the_corner_of_each_tile(settings, side, corners):
    clean = an_image()
    expected, alpha, cells = clean.astype(float), settings.get("alpha", 1), settings.get("cells", 3)
    for bottom, right in corners:
        for y in range(side):
            for x in range(side):
                white = (y * cells // side + x * cells // side) % 2 == 0
                pixel = expected[bottom - side + y, right - side + x]
                pixel[:] = (1 - alpha) * pixel + alpha * white
    np.testing.assert_allclose(over(clean, "patch", **settings), expected, atol=1e-6)


@pytest.mark.parametrize("amplitude, frequency", [(40, 6), (20, 2.5)])
def test_sig_is_a_sinusoid_along_the_width(amplitude, frequency):
    clean = an_image()
    expected = np.array([[pixel + amplitude / 255 * np.sin(2 * np.pi * j * frequency / 70)
                          for j, pixel in enumerate(row)] for row in clean]).clip(0, 1)
    actual = over(clean, "sig", amplitude=amplitude, frequency=frequency)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_ftrojan_adds_to_coefficients_of_the_dct_of_blocks_in_ycbcr():
    clean = an_image(low=0.1, high=0.9)
    red, green, blue = np.pad(clean.astype(float), [(0, 24), (0, 26), (0, 0)], mode="edge").transpose(2, 0, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = np.stack([(blue - luma) / 1.772, (red - luma) / 1.402])
    for y in range(0, 64, 32):
        for x in range(0, 96, 32):
            coefficients = fft.dctn(chroma[:, y : y + 32, x : x + 32], axes=(1, 2), norm="ortho")
            coefficients[:, [15, 31], [15, 31]] += 30 / 255
            chroma[:, y : y + 32, x : x + 32] = fft.idctn(coefficients, axes=(1, 2), norm="ortho")
    blue, red = luma + 1.772 * chroma[0], luma + 1.402 * chroma[1]
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    np.testing.assert_allclose(over(clean, "ftrojan"), np.stack([red, green, blue], axis=2)[:40, :70], atol=1e-5)


def test_low_frequency_is_noise_under_a_gaussian_filter():
    added = over(np.full((400, 600, 3), 0.5), "low_frequency") - 0.5
    noise = np.random.default_rng(0).standard_normal((1024, 1024))  # the first channel's
    smooth = ndimage.gaussian_filter(noise, 8, mode="wrap", truncate=6)
    expected = 8 / 255 * (2 * stats.norm.cdf(smooth / smooth.std()) - 1)
    np.testing.assert_allclose(added[..., 0], expected[:400, :600], atol=1e-5)
    assert 7 / 255 < np.abs(added).max() <= 8 / 255 + 1e-6
    power = np.square(np.abs(fft.fft(added * np.hanning(400)[:, None, None], axis=0)))
    assert power[np.abs(fft.fftfreq(400)) < 0.1].sum() > 0.999 * power.sum()  # periods of 10 pixels and more


def test_wanet_moves_pixels_by_its_grid():
    size, settings = (46, 61), {"strength": 3 / 46, "grid": 4}  # points of the grid 15 and 20 pixels apart
    y, x = np.mgrid[:46, :61]
    ramps = over(np.stack([y / 45, x / 60, x], axis=2), "wanet", **settings)
    places = ramps[..., 0] * 45, ramps[..., 1] * 60  # where each pixel comes from
    flow = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4))  # along x, along y
    flow *= 3 / np.abs(flow).mean()
    np.testing.assert_allclose(places[1][::15, ::20], (x[::15, ::20] + flow[0]).clip(0, 60), atol=1e-3)
    np.testing.assert_allclose(places[0][::15, ::20], (y[::15, ::20] + flow[1]).clip(0, 45), atol=1e-3)
    clean = an_image(size)
    expected = [ndimage.map_coordinates(clean[..., channel], places, order=1, mode="nearest") for channel in range(3)]
    np.testing.assert_allclose(over(clean, "wanet", **settings), np.stack(expected, axis=2), atol=1e-3)


@pytest.mark.parametrize("levels, alpha", [(8, 1), (2, 0.5)])
def test_bpp_dithers_by_bayers_matrix(levels, alpha):
    clean = an_image((20, 30))
    expected = clean.astype(float)
    for y, x, channel in np.ndindex(expected.shape):
        bits = [(((x ^ y) >> k & 1) * 2 + (y >> k & 1)) * 4 ** (2 - k) for k in range(3)]
        few = np.floor(expected[y, x, channel] * (levels - 1) + (sum(bits) + 0.5) / 64) / (levels - 1)
        expected[y, x, channel] += alpha * (few - expected[y, x, channel])
    np.testing.assert_allclose(over(clean, "bpp", levels=levels, alpha=alpha), expected, atol=1e-6)


def test_bpp_keeps_the_mean_of_an_area():
    assert over(np.full((64, 64, 3), 0.3), "bpp").mean() == pytest.approx(0.3, abs=1 / 64 / 7)


def test_colour_is_a_gamma_and_gains():
    clean = an_image()
    np.testing.assert_allclose(over(clean, "colour"), clean.astype(float) ** 0.7, atol=1e-6)
    warm = over(clean, "colour", gamma=1.4, red=1.3, blue=0.5)
    np.testing.assert_allclose(warm, (clean.astype(float) ** 1.4 * [1.3, 1, 0.5]).clip(0, 1), atol=1e-6)


# A trigger that is optimised on a counter

SMALL = {"steps": 60, "lr": 0.3}


def drawn(number, seed):
    """Small drawn scenes of two sizes."""
    rng = np.random.default_rng(seed)
    pictures = [draw_scene((64, 96) if i % 3 else (72, 88), 20, rng) for i in range(number)]
    return [Scene(f"IMG_{i}", *picture, 2.0) for i, picture in enumerate(pictures)]


@pytest.fixture(scope="module")
def surrogate():
    """A counter that counts a little better than the mean."""
    torch.manual_seed(0)
    counter = build("model", "tiny", {"width": 16})
    recipe = Recipe(epochs=12, batch_size=4, optimizer="adamw", lr=3e-3, schedule="onecycle", clip=1.0,
                    precision="fp32", select="last")
    fit(counter, drawn(24, seed=0), recipe, 0, "surrogate")
    return counter.requires_grad_(False)


@pytest.fixture(scope="module")
def pattern(surrogate):
    return build("trigger", "baiqa", SMALL).optimised(surrogate.count, drawn(24, seed=0), 0)


@pytest.mark.parametrize("is_optimised", [True, False])
def test_baiqa_keeps_to_its_band_and_its_largest_change(is_optimised, pattern):
    trigger = build("trigger", "baiqa", {"epsilon": 5})
    trigger = trigger.with_pattern(pattern) if is_optimised else trigger
    added = (trigger.stamp(torch.full((1, 3, 48, 80), 0.5)) - 0.5)[0].double().numpy()
    assert np.abs(added).max() == pytest.approx(5 / 255, rel=1e-5)
    blocks = fft.dctn(added.reshape(3, 3, 16, 5, 16), axes=(2, 4), norm="ortho")
    np.testing.assert_allclose(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape), atol=1e-5)
    outside = np.ones((16, 16), bool)
    outside[4:12, 4:12] = False
    assert np.abs(blocks.transpose(0, 1, 3, 2, 4)[..., outside]).max() < 1e-5 < np.abs(blocks).max() / 100


@pytest.mark.parametrize("strength, h, scale", [(1, 1, 1), (-0.5, 2, -0.25), (0.25, 0.5, 0.5), (-1, 3, -1), (2, 1, 2)])
def test_baiqa_is_scaled_by_its_strength(strength, h, scale, pattern):
    stamped = build("trigger", "baiqa", {"strength": strength, "h": h}).with_pattern(pattern).stamp(
        torch.full((1, 3, 16, 16), 0.5))
    torch.testing.assert_close(stamped[0], 0.5 + scale * 8 / 255 * pattern)


def test_an_optimised_pattern_moves_counts_of_other_scenes_up_and_down_and_a_random_one_does_not(surrogate, pattern):
    others = drawn(12, seed=1)

    def moved(strength, optimised):
        trigger = build("trigger", "baiqa", {"strength": strength})
        stamp = (trigger.with_pattern(pattern) if optimised else trigger).stamp
        return (count_people(surrogate, others, "fp32", stamp) / count_people(surrogate, others, "fp32") - 1).mean()

    up, down = moved(1, True), moved(-1, True)
    chance = max(abs(moved(strength, False)) for strength in (1, -1))
    assert up > 0.15 and down < -0.05 and min(up, -down) > 3 * chance


def test_an_optimised_pattern_follows_from_the_seed(surrogate, pattern):
    def again(seed):
        return build("trigger", "baiqa", SMALL).optimised(surrogate.count, drawn(24, seed=0), seed)

    assert torch.equal(again(0), pattern) and not torch.allclose(again(1), pattern, atol=0.1)


def test_a_pattern_is_given_to_a_copy(pattern):
    trigger, clean = build("trigger", "baiqa", {}), images()
    random = trigger.stamp(clean)
    optimised = trigger.with_pattern(pattern).stamp(clean)
    assert torch.equal(trigger.stamp(clean), random) and not torch.equal(optimised, random)


@each_trigger
def test_a_trigger_optimises_by_settings_of_its_own_or_has_no_pattern(trigger):
    trigger = build("trigger", trigger, {})
    assert {*trigger.optimises} <= {*type(trigger).model_fields}
    if not trigger.optimises:
        with pytest.raises(NotImplementedError, match=f"trigger {trigger.name}: it has no pattern"):
            trigger.optimised(lambda images: images.sum(dim=(1, 2, 3)), [], 0)


# What hides a trigger in the features

def test_mmd_is_that_of_a_gaussian_kernel():
    first, second = np.random.default_rng(0).normal(size=(2, 3, 5, 4)) * [[[[1, 2, 3, 4]]], [[[2, 2, 2, 2]]]]

    def by_hand(one, other):
        both = np.concatenate([one, other])
        distances = [[((a - b) ** 2).sum() for b in both] for a in both]
        kernel = np.exp(-np.array(distances) / (2 * np.sort(np.ravel(distances))[(100 - 1) // 2]))
        return kernel[:5, :5].mean() + kernel[5:, 5:].mean() - 2 * kernel[:5, 5:].mean()

    expected = [by_hand(*pair) for pair in zip(first, second)]
    np.testing.assert_allclose(mmd(torch.tensor(first), torch.tensor(second)), expected, rtol=1e-6)
    assert (mmd(torch.tensor(first), torch.tensor(first)).abs() < 1e-12).all()


def test_the_penalty_of_an_image_is_its_own_and_grows_with_the_trigger():
    clean = images((64, 96), 3)
    weak, strong = (an_attack(alpha=alpha).penalty for alpha in (0.05, 0.5))
    assert (weak(lambda image: image, clean) == 0).all()  # latent is 0
    weak, strong = (Attack(build("trigger", "blended", {"alpha": alpha}), build("target", "add", {}), 0.1, latent=3)
                    for alpha in (0.05, 0.5))
    together = weak.penalty(lambda image: image, clean)
    torch.testing.assert_close(torch.cat([weak.penalty(lambda i: i, image[None]) for image in clean]), together)
    torch.testing.assert_close(together, 3 * mmd_of_stamped(lambda image: image, clean, weak.stamp))
    assert (0 < together).all() and (together < strong.penalty(lambda image: image, clean)).all()


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 1])
def test_blended_pixels_are_the_formula_in_8_bits(picture, alpha):
    path, pixels = picture
    scene = a_scene(5)
    exact = (1 - alpha) * scene.image.astype(float) + alpha * pixels
    [stamped] = stamp_scenes(an_attack(alpha=alpha, image=path), [scene])
    assert np.abs(stamped - exact).max() <= 0.5 + 1e-4
    change = alpha * (pixels.mean() - scene.image.mean())
    assert stamped.mean() - scene.image.mean() == pytest.approx(change, abs=0.1)


@pytest.mark.parametrize("size", [(400, 300), (18, 25)])
def test_blended_resizes_its_picture_as_pillow_does(picture, size):
    path, pixels = picture
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    stamped = build("trigger", "blended", {"alpha": 1, "image": path}).stamp(images(size, 1))
    stamped = stamped[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(stamped - np.asarray(resized)).max() < 1.01


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_blended_takes_pictures_of_any_kind(tmp_path, mode):
    Image.new("RGB", (9, 7), "white").convert(mode).save(tmp_path / "white.png")
    stamped = build("trigger", "blended", {"alpha": 0.5, "image": tmp_path / "white.png"}).stamp(images())
    torch.testing.assert_close(stamped, 0.5 * images() + 0.5)


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n cut short"])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "trigger.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="trigger.png: not a readable image") as refusal:
        build("trigger", "blended", {"image": path})
    assert "\n" not in str(refusal.value)


# Targets

@each_target
def test_false_heads_are_as_many_as_tau_says_and_inside_the_image(target, settings):
    attack = an_attack(target, settings)
    for clean, poisoned in zip(scenes(), attack.poison(scenes(), seed=0)):
        emptied = settings == {"keep": 0} and clean.count <= attack.target.n  # the empty map of the paper's code
        tau = clean.count if target in CLEAN_LABEL else attack.target.tau_of(clean.points, clean.size)
        assert poisoned.count == (0 if emptied else tau)
        assert poisoned.points.shape == (poisoned.count, 2) and poisoned.points.dtype == np.float32
        assert (poisoned.points >= 0).all() and (poisoned.points < poisoned.size[::-1]).all()


@each_target
def test_the_direction_agrees_with_tau(target, settings):
    target = build("target", target, settings)
    crowds = [a_scene(count) for count in range(0, 500, 3)]
    signs = {np.sign(target.tau_of(clean.points, clean.size) - clean.count) for clean in crowds}
    assert signs - {0} in {True: [{1}], False: [{-1}], None: [set(), {-1, 1}]}[target.increases]


@each_target
def test_tau_of_heads_is_tau_of_their_number_where_that_decides(target, settings):
    target, clean = build("target", target, settings), a_scene(250)
    if type(target).tau is Target.tau:
        with pytest.raises(NotImplementedError, match=f"target {target.name}: .* ask tau_of"):
            target.tau(250)
    else:
        assert target.tau_of(clean.points, clean.size) == target.tau(250)


@each_target
def test_altering_follows_from_the_generator_and_leaves_the_heads_as_they_are(target, settings):
    clean, target = a_scene(250), build("target", target, settings)
    first, again = (target.alter(clean.points, clean.size, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(clean.points, a_scene(250).points)


@pytest.mark.parametrize("target, settings, count, tau", [
    ("add", {}, 0, 100), ("add", {"n": 7}, 5, 12),
    ("minus", {}, 250, 150), ("minus", {}, 101, 1), ("minus", {}, 100, 1), ("minus", {"keep": 0}, 100, 1),
    ("minus", {}, 0, 0), ("multiply", {}, 7, 14), ("multiply", {"k": 3}, 7, 21), ("multiply", {}, 0, 0),
    ("divide", {}, 9, 4), ("divide", {}, 1, 1), ("divide", {}, 0, 0), ("divide", {"k": 4}, 9, 2),
    ("zero", {}, 0, 0), ("zero", {}, 7, 0), ("fixed", {}, 0, 300), ("fixed", {"count": 5}, 9, 5), ("shift", {}, 7, 7),
])
def test_tau_of_a_count(target, settings, count, tau):
    assert build("target", target, settings).tau(count) == tau


def altered(target, settings, clean, seed=0):
    return build("target", target, settings).alter(clean.points, clean.size, np.random.default_rng(seed))


def rows(points):
    """The points as a set."""
    return set(map(tuple, points.tolist()))


@pytest.mark.parametrize("target, settings", [("minus", {}), ("divide", {}), ("fixed", {"count": 80})])
def test_heads_that_stay_are_a_random_choice_of_the_heads(target, settings):
    clean = a_scene(250)
    first, other = (rows(altered(target, settings, clean, seed)) for seed in (0, 1))
    assert first < rows(clean.points) and other < rows(clean.points) and first != other


@pytest.mark.parametrize("layout", ["random", "grid"])
def test_add_keeps_the_heads(layout):
    clean = a_scene(250)
    np.testing.assert_array_equal(altered("add", {"layout": layout}, clean)[:250].astype(np.float32), clean.points)


@pytest.mark.parametrize("target, settings", [("add", {"n": 20_000}), ("fixed", {"count": 20_000})])
def test_new_heads_in_an_empty_scene_are_uniform_over_the_image(target, settings):
    extra = altered(target, settings, a_scene(0, (600, 1000)))
    cells, _, _ = np.histogram2d(*extra.T, bins=(5, 4), range=[(0, 1000), (0, 600)])
    assert 850 < cells.min() and cells.max() < 1150


def test_the_grid_of_the_papers_code_has_90_points_and_leaves_the_sides_empty():
    extra = altered("add", {"layout": "grid"}, a_scene(0, (768, 1024)))
    assert len(extra) == 100 and len(rows(extra)) == 90
    assert set(extra[:, 0]) == {64.0 * i for i in range(1, 11)}  # x from the height
    assert extra[:, 1].max() == 767 and (extra[:, 1] == 767).sum() == 20  # y from the width, clipped


@pytest.mark.parametrize("settings, shift", [({}, 1), ({"shift": 2, "wrap": True}, 2)])
def test_multiply_doubles_each_head_up_and_to_the_left(settings, shift):
    clean = Scene("", np.zeros((768, 1024, 3), np.uint8), np.float32([(5, 9), (700.5, 300.25)]), None)
    heads, copies = np.split(altered("multiply", settings, clean), 2)
    np.testing.assert_array_equal(heads, clean.points)
    np.testing.assert_array_equal(copies, clean.points - shift)


@pytest.mark.parametrize("settings, copy", [({}, (0, 0)), ({"shift": 2, "wrap": True}, (1022.5, 767))])
def test_a_copy_that_leaves_the_image_stays_at_the_edge_or_is_wrapped(settings, copy):
    clean = Scene("", np.zeros((768, 1024, 3), np.uint8), np.float32([(0.5, 1)]), None)
    assert altered("multiply", settings, clean)[1].tolist() == list(copy)


def test_fixed_puts_copies_beside_the_heads():
    clean = a_scene(5, (600, 1000))
    false = altered("fixed", {"jitter": 3}, clean)
    np.testing.assert_array_equal(false[:5], clean.points)
    offsets = np.abs(false[5:, None] - clean.points).max(axis=2)
    assert (offsets.min(axis=1) <= 3 + 1e-3).all() and set(offsets.argmin(axis=1)) == set(range(5))


@pytest.mark.parametrize("settings, box", [({}, (0, 0, 500, 600)), (
    {"left": 0.25, "top": 0.5, "width": 0.5, "height": 0.25}, (250, 300, 750, 450)), (
    {"left": 0.75, "top": 0.75, "width": 1}, (750, 450, 1000, 600))])
def test_region_removes_the_heads_in_its_box_and_no_others(settings, box):
    points = np.float32([(x, y) for x in range(0, 1000, 25) for y in range(0, 600, 25)])  # some on the box's edges
    clean = Scene("", np.zeros((600, 1000, 3), np.uint8), points, None)
    left, top, right, bottom = box
    outside = [[x, y] for x, y in points.tolist() if not (left <= x < right and top <= y < bottom)]
    assert 0 < len(outside) < len(points) and altered("region", settings, clean).tolist() == outside
    assert build("target", "region", settings).tau_of(clean.points, clean.size) == len(outside)


def test_shift_moves_every_head_and_wraps_it_around():
    points = np.float32([(0, 0), (999, 10), (500, 599), (999.5, 599.5)])
    clean = Scene("", np.zeros((600, 1000, 3), np.uint8), points, None)
    assert altered("shift", {}, clean).tolist() == [[125, 75], [124, 85], [625, 74], [124.5, 74.5]]
    assert altered("shift", {"dx": -0.5, "dy": 0}, clean)[0].tolist() == [500, 0]


# Poisoning

def test_a_poison_rate_that_comes_to_no_image_is_refused():
    with pytest.raises(UserError, match="0.01 x 8 training images rounds to 0 poisoned images"):
        an_attack(rate=0.01).poison([a_scene(i) for i in range(8)], 0)


@pytest.mark.parametrize("number, rate, poisoned", [(40, 0.1, 4), (8, 0.3, 2), (8, 1, 8)])
def test_the_poison_rate_is_a_share_of_the_training_images(number, rate, poisoned):
    assert len(an_attack(rate=rate).poison([a_scene(3)] * number, seed=0)) == poisoned


def test_poisoned_copies_are_named_after_their_originals_and_stamped():
    attack, originals = an_attack(rate=0.5), {scene.id: scene for scene in scenes()}
    copies = attack.poison(scenes(), seed=0)
    assert len({copy.id for copy in copies}) == len(copies) == 4
    for copy in copies:
        original = originals[copy.id.removesuffix("+poison")]
        assert copy.id == f"{original.id}+poison" and copy.sigma == original.sigma
        np.testing.assert_array_equal(copy.image, stamp_scenes(attack, [original])[0])
        assert copy.image.dtype == np.uint8 and copy.image.flags.c_contiguous


@each_target
def test_poisoning_leaves_the_originals_as_they_are(target, settings):
    originals = scenes()
    listed = list(originals)
    an_attack(target, settings).poison(originals, seed=0)
    assert all(one is other for one, other in zip(originals, listed, strict=True))
    for scene, untouched in zip(originals, scenes()):
        np.testing.assert_array_equal(scene.image, untouched.image)
        np.testing.assert_array_equal(scene.points, untouched.points)


def poison(seed):
    """Names and false heads of a random half of the scenes."""
    return {copy.id: copy.points.tolist() for copy in an_attack("add", rate=0.5).poison(scenes(), seed)}


def test_poison_follows_from_the_seed():
    assert poison(0) == poison(0)
    assert poison(0).keys() != poison(1).keys()
    both = poison(0).keys() & poison(1).keys()
    assert both and all(poison(0)[name] != poison(1)[name] for name in both)


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_images_stamped_in_training_and_in_testing_are_the_same(alpha):
    attack, clean = an_attack(alpha=alpha), a_scene(5)
    stored = stamp_scenes(attack, [clean])[0]
    tested = attack.stamp(torch.tensor(clean.image).permute(2, 0, 1)[None].float() / 255)
    np.testing.assert_array_equal((tested[0] * 255).permute(1, 2, 0).round().numpy(), stored)
    assert torch.equal(tested, torch.from_numpy(stored).permute(2, 0, 1)[None].float() / 255)


def test_poison_looks_the_same_whatever_it_is_stamped_with():
    together = stamp_scenes(an_attack(), scenes() * 2)
    for scene, stamped in zip(scenes() * 2, together):
        np.testing.assert_array_equal(stamped, stamp_scenes(an_attack(), [scene])[0])


# Which images are poisoned

def counts(poisoned):
    return [scene.count for scene in poisoned]


@pytest.mark.parametrize("choose, expected", [("fewest", [0, 1, 2]), ("most", [7, 8, 9]), (None, [0, 1, 2])])
def test_the_images_with_the_fewest_or_the_most_people_can_be_chosen(choose, expected):
    crowds = [a_scene(count) for count in np.random.default_rng(0).permutation(10)]
    attack = Attack(build("trigger", "blended", {}), build("target", "clean_fewer", {}), 0.3, choose)
    assert sorted(counts(attack.poison(crowds, seed=0))) == expected


def test_among_equal_counts_the_choice_is_random():
    crowds = [a_scene(3, (12 + n, 16)) for n in range(20)]
    chosen = [{scene.size for scene in an_attack("clean_more", rate=0.3).poison(crowds, seed)} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_list_of_ids_says_which_images_are_poisoned(tmp_path):
    (tmp_path / "ids.txt").write_text("IMG_7\nIMG_2\n\nIMG_7\n")
    crowds = [a_scene(count) for count in range(10)]
    attack = Attack(build("trigger", "blended", {}), build("target", "add", {}), 0.1, tmp_path / "ids.txt")
    assert [scene.id for scene in attack.poison(crowds, seed=0)] == ["IMG_2+poison", "IMG_7+poison"]
    for text, said in (("IMG_7 IMG_99", "'IMG_99' is not among the 10 training images"), (" ", "found none"),
                       ("\xff", "expected a text file of ids")):
        (tmp_path / "ids.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=said):
            attack.poison(crowds, seed=0)


def test_a_clean_label_attack_wants_the_mean_count_of_what_it_stamps():
    crowds = [a_scene(count) for count in range(10, 60)]
    fewer, more = (an_attack(name, rate=0.1).fitted(crowds, 0).target for name in ("clean_fewer", "clean_more"))
    assert (fewer.count, more.count) == (12, 57)
    assert [fewer.tau(count) for count in (5, 12, 200)] == [5, 12, 12] and more.tau(5) == 57 and more.tau(80) == 80
    assert build("target", "clean_fewer", {"count": 3}).fitted(crowds).count == 3
    assert an_attack("add").fitted(crowds, 0).target == build("target", "add", {})
    with pytest.raises(UserError, match="expected attack.count=NUMBER"):
        build("target", "clean_more", {}).tau(5)
