"""Corruptions of images: each against another computation of it, and how their severities are ordered."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, map_coordinates
from scipy.stats import poisson

from defenses.parts.corruptions import IMAGENET_C

SIZE = 60, 80  # of which .6, .5, .4, .3 and .25 are whole numbers
PAPER = {"gaussian noise", "shot noise", "impulse noise", "defocus blur", "glass blur", "motion blur", "zoom blur",
         "snow", "frost", "fog", "brightness", "contrast", "elastic", "pixelate", "jpeg"}


def smooth_images():
    """Two smooth images of bytes, float64 [2, 3, H, W]."""
    fields = gaussian_filter(np.random.default_rng(0).normal(size=(2, 3, *SIZE)), (0, 0, 3, 3))
    return np.round(255 * (0.5 + 0.2 * fields / fields.std()).clip(0, 1)) / 255


def corrupted(name, severity, images):
    return IMAGENET_C[name][severity - 1](torch.tensor(images).float()).double().numpy()


def drawn(draw):
    """The fixed draws, float64 [3, H, W]."""
    return draw((3, *SIZE), generator=torch.Generator().manual_seed(0)).double().numpy()


def zoomed(channel, zoom):
    """The middle of [H, W], enlarged by Pillow."""
    height, width = (int(np.ceil(side / zoom)) for side in SIZE)
    top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
    picture = Image.fromarray(channel[top : top + height, left : left + width].astype(np.float32))
    return np.asarray(picture.resize(SIZE[::-1], Image.BILINEAR))


def smeared(image, length, deviation):
    """[..., W], each pixel the mean of those on its right, by a loop over distances."""
    weights = np.exp(-np.arange(2 * length + 1) ** 2 / (2 * deviation**2))
    padded = np.pad(image, [(0, 0)] * (image.ndim - 1) + [(0, 2 * length)], mode="edge")
    return sum(weight * padded[..., d : d + image.shape[-1]] for d, weight in enumerate(weights)) / weights.sum()


def gaussian_noise(images, deviation):
    return (images + deviation * drawn(torch.randn)).clip(0, 1)


def shot_noise(images, photons):
    return (poisson.ppf(drawn(torch.rand), photons * images).clip(0) / photons).clip(0, 1)


def impulse_noise(images, share):
    draws = drawn(torch.rand)
    return np.where(draws < share / 2, 0, np.where(draws >= 1 - share / 2, 1, images))


def defocus_blur(images, radius, smoothing):
    y, x = np.mgrid[-15:16, -15:16]
    disc = (y**2 + x**2 <= radius**2).astype(float)
    reach = 1 if radius <= 8 else 2
    kernel = gaussian_filter(disc / disc.sum(), smoothing, radius=reach)
    return np.stack([[convolve(channel, kernel, mode="nearest") for channel in image] for image in images])


def motion_blur(images, length, deviation):
    return smeared(images, length, deviation)


def zoom_blur(images, zooms):
    return np.stack([[(channel + sum(zoomed(channel, zoom) for zoom in zooms)) / (len(zooms) + 1) for channel in image]
                     for image in images])


def snow(images, mean, deviation, zoom, threshold, length, smear, share):
    flakes = zoomed(mean + deviation * drawn(torch.randn)[0], zoom)
    flakes = smeared(np.where(flakes < threshold, 0, flakes).clip(0, 1).T, length, smear).T
    grey = np.einsum("c,bchw->bhw", [0.299, 0.587, 0.114], images)[:, None]
    ground = share * images + (1 - share) * np.maximum(images, 1.5 * grey + 0.5)
    return (ground + flakes + np.rot90(flakes, 2)).clip(0, 1)


def brightness(images, amount):
    def brighter(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1))
    return np.apply_along_axis(brighter, 1, images)


def contrast(images, factor):
    means = images.mean(axis=(2, 3), keepdims=True)
    return images * factor + means * (1 - factor)


def elastic(images, factor):
    height, width = SIZE
    draws = np.random.default_rng(0).uniform(-0.005 * height, 0.005 * height, (2, height, width))
    moves = [gaussian_filter(draw, (0.01 * height, 0.01 * width), mode="reflect", truncate=3) for draw in draws]
    places = np.mgrid[:height, :width] + factor * np.array(moves)
    return np.stack([[map_coordinates(channel, places, order=1, mode="reflect") for channel in image]
                     for image in images])


@pytest.mark.parametrize("name, by_hand, lowest, highest, tolerance", [
    ("gaussian noise", gaussian_noise, (0.08,), (0.38,), 1e-6), ("shot noise", shot_noise, (60,), (3,), 1e-6),
    ("impulse noise", impulse_noise, (0.03,), (0.27,), 1e-6), ("defocus blur", defocus_blur, (3, 0.1), (10, 0.5), 1e-5),
    ("motion blur", motion_blur, (10, 3), (20, 15), 1e-5),
    ("zoom blur", zoom_blur, (np.arange(1, 1.11, 0.01),), (np.arange(1, 1.31, 0.03),), 1e-5),
    ("snow", snow, (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55), 1e-5),
    ("brightness", brightness, (0.1,), (0.5,), 1e-5), ("contrast", contrast, (0.4,), (0.05,), 1e-6),
    ("elastic", elastic, (12.5,), (30,), 1e-4)])
def test_a_corruption_is_its_formula_at_its_lowest_and_highest_severity(name, by_hand, lowest, highest, tolerance):
    images = smooth_images()
    for severity, settings in ((1, lowest), (5, highest)):
        found = corrupted(name, severity, images)
        wrong = np.abs(found - by_hand(images, *settings)) > tolerance
        assert wrong.mean() < 1e-3  # single draws of the noise fall on an edge
        assert np.abs(found - images).mean() > 0.005


@pytest.mark.parametrize("severity, factor", [(2, 0.5), (5, 0.25)])
def test_pixels_are_averaged_in_boxes(severity, factor):
    images = smooth_images()
    pixels = np.round(images[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    small = Image.fromarray(pixels).resize([round(side * factor) for side in SIZE[::-1]], Image.BOX)
    expected = np.asarray(small.resize(SIZE[::-1], Image.NEAREST)).transpose(2, 0, 1)
    assert np.abs(corrupted("pixelate", severity, images)[0] * 255 - expected).max() < 1.001  # Pillow rounds twice


def test_black_becomes_grey_where_it_is_brightened():
    assert torch.allclose(IMAGENET_C["brightness"][0](torch.zeros(1, 3, 4, 5)), torch.tensor(0.1))


def test_the_corruptions_are_twelve_of_the_papers_at_five_severities():
    assert IMAGENET_C.keys() < PAPER and len(IMAGENET_C) == 12
    assert all(len(severities) == 5 for severities in IMAGENET_C.values())


@pytest.mark.parametrize("name", IMAGENET_C)
def test_a_corrupted_image_is_an_image_of_any_size_and_depends_on_no_other(name):
    for size in (SIZE, (7, 5)):
        images = torch.rand(3, 3, *size)
        for corrupt in IMAGENET_C[name]:
            together = corrupt(images)
            assert together.shape == images.shape and -1e-5 < together.min() and together.max() < 1 + 1e-5
            torch.testing.assert_close(torch.cat([corrupt(image[None]) for image in images]), together)


@pytest.mark.parametrize("name", sorted({*IMAGENET_C} - {"snow"}))  # snow at severity 3 covers more than at 4
def test_a_higher_severity_changes_more(name):
    images = smooth_images()
    changes = [np.square(corrupted(name, severity, images) - images).mean() for severity in range(1, 6)]
    assert changes == sorted(changes) and changes[0] < changes[-1]
