"""Trigger formulas: each trigger against another computation of its equation."""

import os

import numpy as np
import pytest
import torch
from attack_cases import a_scene, an_attack, images
from PIL import Image
from scipy import fft, ndimage, stats

from attacks.base import stamp_scenes
from attacks.parts.dct import waves
from benchmark.registry import build
from benchmark.utils.errors import UserError


@pytest.fixture
def picture(tmp_path):
    """The path and pixels of a picture of the size of `a_scene`, which needs no resizing."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png", pixels


def over(clean, trigger, **settings):
    """Return an image [H, W, 3] in 0..1 with a trigger."""
    tensor = torch.tensor(clean).permute(2, 0, 1)[None].float()
    return build("trigger", trigger, settings).stamp(tensor)[0].permute(1, 2, 0).double().numpy()


def an_image(size=(40, 70), low=0.0, high=1.0):
    """Return a random image [H, W, 3]."""
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
        weight[:, 3] += weight[:, :3].sum(axis=1)  # the last cells continue beyond the edge
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
        between_ends = ((to_start * along).sum(axis=1) < 0) & ((to_end * along).sum(axis=1) > 0)
        across = np.abs(to_start[:, 0] * along[:, 1] - to_start[:, 1] * along[:, 0]) / np.linalg.norm(along, axis=1)
        distance = np.where(between_ends, across, np.minimum(*(np.linalg.norm(v, axis=1) for v in (to_start, to_end))))
        light = (strength * np.exp(-((distance / radius) ** 2))).max()
        assert picture[y, x] == pytest.approx(drawing.grey + (1 - drawing.grey) * light, abs=2e-4)


def test_rain_falls_in_streaks_and_snow_in_flakes():
    def steepness(trigger):
        """Return the square gradient of the light along y, as a share of that along x."""
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


@pytest.mark.parametrize("length", [1, 16, 32])
def test_waves_are_the_cosines_of_the_formula_of_the_dct(length):
    frequencies, pixels = range(length), np.arange(length)
    expected = [np.sqrt((2 if k else 1) / length) * np.cos(np.pi * k * (2 * pixels + 1) / (2 * length)) for k in frequencies]
    np.testing.assert_allclose(waves(frequencies, length), expected, atol=1e-14)


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


@pytest.mark.parametrize("trigger", ["blended", "refool"])
def test_a_picture_that_changes_on_the_disk_is_read_again(tmp_path, trigger):
    path = tmp_path / "picture.png"
    for number, colour in enumerate(("white", "black")):
        Image.new("RGB", (9, 7), colour).save(path)
        os.utime(path, ns=(number, number))  # two writings may be closer than the ticks of its clock
        stamped = build("trigger", trigger, {"alpha": 1, "image": path}).stamp(images())
        torch.testing.assert_close(stamped, torch.full_like(stamped, colour == "white"))


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n cut short"])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "trigger.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="trigger.png: not a readable image") as refusal:
        build("trigger", "blended", {"image": path})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("make, kind", [(os.mkfifo, "a pipe"), (os.mkdir, "a folder"),
                                        (lambda path: os.symlink("/dev/zero", path), "a device")])
def test_a_picture_that_is_no_regular_file_is_refused_at_once(tmp_path, make, kind):
    make(tmp_path / "trigger.png")
    with pytest.raises(UserError, match=f"trigger.png: not a readable image .expected a file, found {kind}"):
        build("trigger", "blended", {"image": tmp_path / "trigger.png"})
