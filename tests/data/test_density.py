"""Density: maps and head widths against slow references in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from benchmark.data.density import adaptive_sigmas, density_maps, dot_maps
from benchmark.data.scene import Scene


def heads(count, size, seed=0):
    """`count` random heads, float32 [count, 2], in an image of `size`."""
    return np.random.default_rng(seed).uniform(0, size[::-1], (count, 2)).astype(np.float32)


def density_map(points, sigmas, size, stride=8):
    """The map of one image, [H, W] in float64."""
    points = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
    sigmas = torch.as_tensor(sigmas, dtype=torch.float32).expand(len(points))
    return density_maps([points], [sigmas], size, stride)[0, 0].double().numpy()


def head_by_head(points, sigmas, size, stride):
    """The same map block by block: a head's probability in the block, given that it is in the image."""
    height, width = size
    density = np.zeros((math.ceil(height / stride), math.ceil(width / stride)))
    for (x, y), sigma in zip(points.astype(float), sigmas.astype(float)):
        across, down = norm(x, sigma), norm(y, sigma)
        image = (across.cdf(width) - across.cdf(0)) * (down.cdf(height) - down.cdf(0))
        for row, column in np.ndindex(density.shape):
            top, left = row * stride, column * stride
            block = ((across.cdf(min(left + stride, width)) - across.cdf(left))
                     * (down.cdf(min(top + stride, height)) - down.cdf(top)))
            density[row, column] += block / image
    return density


@pytest.mark.parametrize("size", [(48, 64), (45, 61), (7, 3)])
@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("sigma", [None, 1.5, 15.0])
def test_a_block_holds_the_integral_of_every_head(size, stride, sigma):
    scene = Scene("scene", np.zeros((*size, 3), np.uint8), heads(6, size), sigma)
    expected = head_by_head(scene.points, scene.sigmas, size, stride)
    actual = density_map(scene.points, scene.sigmas, size, stride)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-12)


SIZE = (50, 70)
CORNERS = [(x, y) for x in (0, 70) for y in (0, 50)]
BORDER = [*CORNERS, (35, 0), (35, 50), (0, 25), (70, 25), (np.nextafter(np.float32(70), 0), 25)]


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 15, 1e4, 1e6])
@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("points", [[], [(1, 2)], [(30, 20)] * 9, BORDER, heads(3000, SIZE)],
                         ids=["none", "one", "coincident", "border", "3000"])
def test_a_map_sums_to_the_number_of_heads(points, stride, sigma):
    density = density_map(points, sigma, SIZE, stride)
    assert density.sum() == pytest.approx(len(points), abs=1e-4)
    assert (density >= 0).all()


def test_a_narrow_head_lies_in_its_block():
    density = density_map([(20, 12)], 0.3, SIZE)
    assert density[1, 2] == pytest.approx(1, abs=1e-6)


def test_a_wide_head_is_spread_evenly():
    np.testing.assert_allclose(density_map([(1, 1)], 1e6, (48, 64)), 1 / 48, rtol=1e-6)


def test_a_batch_equals_its_images_one_by_one():
    points = [torch.from_numpy(heads(count, SIZE, seed=count)) for count in (0, 1, 300, 7)]
    sigmas = [torch.linspace(0.3, 30, len(p)) for p in points]
    together = density_maps(points, sigmas, SIZE, 8)
    alone = [density_maps([p], [s], SIZE, 8) for p, s in zip(points, sigmas)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-9)


def test_a_map_is_float32_and_without_gradient():
    maps = density_maps([torch.ones(2, 2), torch.ones(1, 2)], [torch.ones(2), torch.ones(1)], (17, 30), 8)
    assert maps.shape == (2, 1, 3, 4) and maps.dtype == torch.float32 and not maps.requires_grad


@pytest.mark.parametrize("count", [2, 3, 4, 5, 200])
def test_adaptive_widths_against_all_distances(count):
    points = heads(count, (300, 400))
    distances = np.linalg.norm(points[:, None].astype(float) - points, axis=-1)
    nearest = np.sort(distances)[:, 1:4]  # the first is the head itself; of few heads there are fewer
    expected = np.maximum(0.3 * nearest.mean(axis=1), 1)
    sigmas = adaptive_sigmas(points, (300, 400))
    assert sigmas.dtype == np.float32
    np.testing.assert_allclose(sigmas, expected, rtol=1e-6)


def test_adaptive_widths_of_no_head_and_of_one():
    assert adaptive_sigmas(heads(0, SIZE), SIZE).shape == (0,)
    assert adaptive_sigmas(heads(1, SIZE), SIZE) == [15]  # (50 + 70) / 8


def test_adaptive_widths_of_coincident_heads_are_one_pixel():
    assert (adaptive_sigmas(np.full((6, 2), 9, np.float32), SIZE) == 1).all()


@pytest.mark.parametrize("size, stride", [((64, 96), 8), ((61, 90), 8), ((33, 20), 16), ((7, 5), 8)])
def test_a_dot_map_counts_the_heads_of_each_block_and_loses_none(size, stride):
    rng = np.random.default_rng(0)
    points = [np.float32(rng.uniform(0, size[::-1], (number, 2))) for number in (300, 0, 1)]
    points[0][:4] = [size[::-1], (0, size[0]), (-1, 3), (-0.5, size[0] + 9)]  # on and beyond the border
    maps = dot_maps([torch.tensor(p) for p in points], size, stride)
    rows, columns = (math.ceil(side / stride) for side in size)
    assert maps.shape == (3, 1, rows, columns) and maps.dtype == torch.float32
    for (blocks,), heads in zip(maps, points):
        expected = np.zeros((rows, columns))
        for x, y in heads:
            expected[min(max(int(y // stride), 0), rows - 1), min(max(int(x // stride), 0), columns - 1)] += 1
        np.testing.assert_array_equal(blocks.numpy(), expected)
