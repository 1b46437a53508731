"""Batches and augmentation. In a marked scene every head lies on a pixel of its own colour."""

import numpy as np
import pytest
import torch

from benchmark.data.batches import Batch, augment, in_order, shuffled
from benchmark.data.scene import Scene


def marked(size, heads=40, seed=0):
    """A black scene; head i lies somewhere on the one pixel of value i + 1."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.unravel_index(rng.permutation(height * width)[:heads], size)
    image = np.zeros((height, width, 3), np.uint8)
    image[rows, columns] = np.arange(1, heads + 1)[:, None]
    points = np.stack([columns, rows], axis=1) + rng.uniform(0.05, 0.95, (heads, 2))
    return Scene(f"scene {seed}", image, points.astype(np.float32), None)


def marks(view):
    """The values of the pixels that the heads of a view lie on."""
    columns, rows = np.floor(view.points).astype(int).T
    return view.image[rows, columns, 0]


SIZES = [(40, 60), (60, 40), (24, 24), (40, 60), (50, 90), (24, 60), (40, 60)]
SCENES = [marked(size, seed=seed) for seed, size in enumerate(SIZES)]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop", [None, 16, 32, 48, 500])
def test_augmentation_keeps_heads_on_their_pixels(flip, crop):
    for seed in range(20):
        scene = SCENES[seed % len(SCENES)]
        view = augment(scene, flip, crop, np.random.default_rng(seed))
        assert view.image.shape[:2] == tuple(side if crop is None else min(side, crop) for side in scene.size)
        assert sorted(marks(view)) == sorted(view.image[..., 0][view.image[..., 0] > 0])  # none lost, none left over
        np.testing.assert_array_equal(view.sigmas, scene.sigmas[marks(view).astype(int) - 1])


def test_without_flip_and_crop_a_scene_stays_as_it_is():
    view = augment(SCENES[0], False, None, np.random.default_rng(0))
    assert view.image is SCENES[0].image and view.points is SCENES[0].points


def test_augmentation_leaves_the_scene_as_it_is():
    scene = marked((40, 60))
    image, points = scene.image.copy(), scene.points.copy()
    for seed in range(10):
        augment(scene, True, 16, np.random.default_rng(seed))
    np.testing.assert_array_equal(scene.image, image)
    np.testing.assert_array_equal(scene.points, points)


def test_half_of_the_views_are_flipped():
    views = [augment(SCENES[0], True, None, np.random.default_rng(seed)) for seed in range(400)]
    flipped = [not np.array_equal(view.image, SCENES[0].image) for view in views]
    assert 150 < sum(flipped) < 250


def test_crops_reach_every_corner():
    views = [augment(marked((5, 6), heads=30), False, 4, np.random.default_rng(seed)) for seed in range(200)]
    assert len({view.image.tobytes() for view in views}) == 2 * 3


def test_a_batch_holds_the_pixels_in_0_to_1():
    views = [augment(scene, True, 24, np.random.default_rng(1)) for scene in SCENES]
    batch = Batch.of(views, torch.device("cpu"))
    assert batch.images.shape == (len(SCENES), 3, 24, 24) and batch.images.dtype == torch.float32
    for image, points, sigmas, view in zip(batch.images, batch.points, batch.sigmas, views):
        np.testing.assert_array_equal((image.permute(1, 2, 0) * 255).round().numpy(), view.image)
        np.testing.assert_array_equal(points.numpy(), view.points)
        np.testing.assert_array_equal(sigmas.numpy(), view.sigmas)
        assert points.dtype == sigmas.dtype == torch.float32


@pytest.mark.parametrize("crop", [None, 24, 45])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_an_epoch_has_every_scene_once_in_batches_of_one_size(batch_size, crop):
    batches = shuffled(SCENES, batch_size, crop, np.random.default_rng(0))
    assert sorted(sum(batches, [])) == list(range(len(SCENES)))
    for batch in batches:
        views = [augment(SCENES[i], True, crop, np.random.default_rng(i)) for i in batch]
        assert Batch.of(views, torch.device("cpu")).images.shape[0] == len(batch) <= batch_size


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_at_most_one_batch_of_a_size_is_not_full(batch_size):
    groups = [[SCENES[i].size for i in batch] for batch in shuffled(SCENES, batch_size, None, np.random.default_rng(0))]
    short = [group[0] for group in groups if len(group) < batch_size]
    assert len(short) == len(set(short))


def test_scenes_that_a_crop_makes_one_size_share_a_batch():
    assert [len(batch) for batch in shuffled(SCENES, 7, 24, np.random.default_rng(0))] == [7]


def test_the_order_of_an_epoch_follows_from_the_generator():
    scenes = [marked((8, 8), heads=1)] * 30
    first, again, other = (shuffled(scenes, 4, None, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert sum(first, []) != list(range(30))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_evaluation_has_every_scene_once_in_batches_of_one_size(batch_size):
    batches = list(in_order(SCENES, batch_size))
    assert sorted(sum(batches, [])) == list(range(len(SCENES)))
    assert all(len({SCENES[i].size for i in batch}) == 1 and len(batch) <= batch_size for batch in batches)
    assert list(in_order([], batch_size)) == []
