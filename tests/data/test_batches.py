"""Batches and augmentation. In a marked scene, every head lies on a pixel of its own colour."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.data.augmentation import Look, View, augment
from benchmark.data.batches import Batch, PackedBatch, images_to_count, in_order, shuffled
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe

CPU = torch.device("cpu")


def marked(size, heads=40, seed=0):
    """A black scene; head i lies somewhere on the one pixel of value i + 1."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.unravel_index(rng.permutation(height * width)[:heads], size)
    image = np.zeros((height, width, 3), np.uint8)
    image[rows, columns] = np.arange(1, heads + 1)[:, None]
    points = np.stack([columns, rows], axis=1) + rng.uniform(0.05, 0.95, (heads, 2))
    return Scene(f"scene {seed}", image, points.astype(np.float32), None)


def view_of(scene, seed=0, flip=False, **recipe):
    return augment(scene, Recipe(flip=flip, **recipe), np.random.default_rng(seed))


def epoch(batch_size, crop=None, seed=0, scenes=None):
    recipe = Recipe(batch_size=batch_size, crop=crop)
    return shuffled(scenes or SCENES, recipe, np.random.default_rng(seed))


def pixels(view):
    """The pixels of a view as the counter sees them, before any resizing; mirrored here by NumPy."""
    return view.image[:, ::-1] if view.mirrored else view.image


def marks(view):
    """The values of the pixels that the heads of a view lie on."""
    columns, rows = np.floor(view.points).astype(int).T
    return pixels(view)[rows, columns, 0]


SIZES = [(40, 60), (60, 40), (24, 24), (40, 60), (50, 90), (24, 60), (40, 60)]
SCENES = [marked(size, seed=seed) for seed, size in enumerate(SIZES)]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop", [None, 16, 32, 48, 500])
def test_augmentation_keeps_heads_on_their_pixels(flip, crop):
    for seed in range(20):
        scene = SCENES[seed % len(SCENES)]
        view = view_of(scene, seed, flip, crop=crop)
        assert view.image.shape[:2] == tuple(side if crop is None else min(side, crop) for side in scene.size)
        assert sorted(marks(view)) == sorted(view.image[..., 0][view.image[..., 0] > 0])  # none lost, none left over
        np.testing.assert_array_equal(view.sigmas, scene.sigmas[marks(view).astype(int) - 1])


def test_without_flip_and_crop_a_scene_stays_as_it_is():
    view = view_of(SCENES[0])
    assert view.image is SCENES[0].image and view.points is SCENES[0].points


def test_augmentation_leaves_the_scene_as_it_is():
    scene = marked((40, 60))
    image, points = scene.image.copy(), scene.points.copy()
    for seed in range(10):
        view_of(scene, seed, True, crop=16)
    np.testing.assert_array_equal(scene.image, image)
    np.testing.assert_array_equal(scene.points, points)


def test_half_of_the_views_are_flipped():
    views = [view_of(SCENES[0], seed, True) for seed in range(400)]
    assert 150 < sum(view.mirrored for view in views) < 250
    assert not any(view_of(SCENES[0], seed).mirrored for seed in range(20))


def test_crops_reach_every_corner():
    views = [view_of(marked((5, 6), heads=30), seed, crop=4) for seed in range(200)]
    assert len({view.image.tobytes() for view in views}) == 2 * 3


def test_a_crop_may_be_a_share_of_each_side():
    assert {view_of(scene, crop=0.5).image.shape[:2] for scene in SCENES} == {(20, 30), (30, 20), (12, 12), (25, 45),
                                                                              (12, 30)}


def test_a_zoomed_crop_is_resized_with_its_heads_on_the_device():
    corners = np.float32([[x, y] for x in (20.5, 59.5, 99.5) for y in (15.5, 40.5)])
    image = np.zeros((60, 120, 3), np.uint8)
    for x, y in corners.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    scene, sides = Scene("squares", image, corners, 4.0), set()
    for seed in range(40):
        view = view_of(scene, seed, flip=True, crop=32, zoom_min=0.5, zoom_max=3.0)
        batch = Batch.of([view], CPU)
        side = len(view.image)
        grey = batch.images[0].mean(dim=0)
        assert view.image.shape[:2] == (side, side) and batch.images.shape == (1, 3, 32, 32)
        assert 0 <= grey.min() and grey.max() <= 1
        sides.add(side)
        np.testing.assert_allclose(view.sigmas, 4 * 32 / side, rtol=1e-6)
        inside = [point for point in view.points if ((point > 3) & (point < 29)).all()]
        assert all(grey[int(y), int(x)] > 0.5 for x, y in inside)
    assert min(sides) < 32 < max(sides) == 60  # no crop is larger than the image


def test_a_look_is_drawn_in_its_share_of_views_and_again_by_the_same_seed():
    recipe = {"jitter": 0.2, "gamma": 0.3, "blur": 0.2, "noise": 0.5}
    looks = [view_of(SCENES[0], seed, **recipe).look for seed in range(500)]
    shares = [np.mean([getattr(look, key) != getattr(Look(), key) for look in looks])
              for key in ("brightness", "gamma", "blur", "noise")]
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.2, 0.5], atol=0.07)
    assert looks[7] == view_of(SCENES[0], 7, **recipe).look
    assert view_of(SCENES[0]).look == Look()


@pytest.mark.parametrize("look", [Look(brightness=1.1), Look(contrast=0.9), Look(saturation=1.1), Look(gamma=1.5),
                                  Look(blur=2.0), Look(noise=3)])
def test_a_look_changes_its_own_image_only_and_stays_in_0_to_1(look):
    image = np.random.default_rng(0).integers(256, size=(40, 50, 3)).astype(np.uint8)
    views = [View(image, SCENES[0].points, SCENES[0].sigmas, (40, 50), chosen) for chosen in (Look(), look)]
    plain, changed = Batch.of(views, CPU).images
    np.testing.assert_array_equal((plain.permute(1, 2, 0) * 255).round().numpy(), image)
    assert not torch.equal(changed, plain) and 0 <= changed.min() and changed.max() <= 1
    assert torch.equal(changed, look.apply(plain))


def test_salt_and_pepper_fall_on_one_value_in_a_thousand_each():
    noisy = Look(noise=1).apply(torch.full((3, 400, 500), 0.5))
    assert 450 < (noisy == 1).sum() < 750 and 450 < (noisy == 0).sum() < 750
    assert (noisy == 0.5).sum() > 598_000


@pytest.mark.parametrize("wrong", [{"zoom_min": 2.0}, {"zoom_max": 2.0}, {"zoom_max": 2.0, "crop": 0.5},
                                   {"warmup": 4, "epochs": 4}, {"warmup": 1, "schedule": "onecycle"}, {"crop": 1.0}])
def test_a_recipe_that_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError):
        Recipe(**wrong)


@pytest.mark.parametrize("mirrored", ["none", "some", "all"])
def test_a_batch_holds_the_pixels_in_0_to_1(mirrored):
    views = [view_of(scene, 1, crop=24) for scene in SCENES]
    chosen = {"none": [], "some": [1, 4], "all": range(len(views))}[mirrored]
    views = [replace(view, mirrored=index in chosen) for index, view in enumerate(views)]
    batch = Batch.of(views, CPU)
    assert batch.images.shape == (len(SCENES), 3, 24, 24) and batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for image, points, sigmas, view in zip(batch.images, batch.points, batch.sigmas, views):
        expected = torch.from_numpy(pixels(view).copy()).permute(2, 0, 1).float() / 255
        assert torch.equal(image, expected)
        np.testing.assert_array_equal(points.numpy(), view.points)
        np.testing.assert_array_equal(sigmas.numpy(), view.sigmas)
        assert points.dtype == sigmas.dtype == torch.float32


def test_a_zoomed_view_is_mirrored_before_it_is_resized():
    views = [view_of(SCENES[0], seed, flip=True, crop=32, zoom_min=0.5, zoom_max=3.0) for seed in range(20)]
    on_host = [replace(view, image=np.ascontiguousarray(pixels(view)), mirrored=False) for view in views]
    assert 0 < sum(view.mirrored for view in views) < 20
    assert torch.equal(Batch.of(views, CPU).images, Batch.of(on_host, CPU).images)


@pytest.mark.parametrize("with_heads", [True, False])
def test_what_is_counted_are_the_images_alone_and_the_true_heads_where_a_trigger_asks(with_heads):
    scenes = [SCENES[0], replace(SCENES[3], points=SCENES[3].points[:0], true_points=SCENES[3].points)]
    images, heads = images_to_count(scenes, CPU, with_heads)
    assert torch.equal(images, Batch.of(scenes, CPU).images)
    assert (heads is not None) == with_heads
    for points, scene in zip(heads or [], scenes):
        np.testing.assert_array_equal(points.numpy(), scene.heads)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_batch_is_packed_into_one_block_that_is_pinned_for_a_gpu(kind, monkeypatch):
    def empty(*size, pin_memory, **options):
        pinned.append(pin_memory)  # torch can only pin memory where there is a GPU
        return usual(*size, **options)

    usual, pinned = torch.empty, []
    monkeypatch.setattr(torch, "empty", empty)
    packed = PackedBatch.of(SCENES[:1] * 2, torch.device(kind))
    assert pinned == [kind == "cuda"]
    heads, image = len(SCENES[0].points), SCENES[0].image
    assert packed.parcel.block.numel() == 2 * (4 * 3 * heads + image.size)  # x, y and sigma of each head


@pytest.mark.parametrize("crop", [None, 24, 45])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_an_epoch_has_every_scene_once_in_batches_of_one_size(batch_size, crop):
    batches = epoch(batch_size, crop)
    assert sorted(sum(batches, [])) == list(range(len(SCENES)))
    for batch in batches:
        views = [view_of(SCENES[i], i, True, crop=crop) for i in batch]
        assert Batch.of(views, CPU).images.shape[0] == len(batch) <= batch_size


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_at_most_one_batch_of_a_size_is_not_full(batch_size):
    groups = [[SCENES[i].size for i in batch] for batch in epoch(batch_size)]
    short = [group[0] for group in groups if len(group) < batch_size]
    assert len(short) == len(set(short))


def test_scenes_that_a_crop_makes_one_size_share_a_batch():
    assert [len(batch) for batch in epoch(7, 24)] == [7]


def test_the_order_of_an_epoch_follows_from_the_generator():
    scenes = [marked((8, 8), heads=1)] * 30
    first, again, other = (epoch(4, seed=seed, scenes=scenes) for seed in (0, 0, 1))
    assert first == again != other
    assert sum(first, []) != list(range(30))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_evaluation_has_every_scene_once_in_batches_of_one_size(batch_size):
    batches = list(in_order(SCENES, batch_size))
    assert sorted(sum(batches, [])) == list(range(len(SCENES)))
    assert all(len({SCENES[i].size for i in batch}) == 1 and len(batch) <= batch_size for batch in batches)
    assert list(in_order([], batch_size)) == []
