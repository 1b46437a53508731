"""Loading: images of every kind become upright RGB pixels, with their points in place."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmark.data.datasets.folder import Folder
from benchmark.data.loading import read_image, read_scene, read_scenes
from benchmark.utils.errors import UserError

RAMP = np.linspace(0, 255, 40 * 60).reshape(40, 60)


def a_dataset(root, image, points, **settings):
    (root / "train").mkdir(exist_ok=True)
    image.save(root / "train" / "a.png")
    (root / "train" / "points.json").write_text(json.dumps({"a.png": points}))
    return Folder(root=root, **settings)


def the_scene(dataset, scale=1.0):
    return read_scene(dataset, dataset.items("train")[0], scale)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(RAMP.astype(np.uint8)).convert("RGB").convert(mode).save(path)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.shape == (40, 60, 3)
    assert abs(image.mean() - RAMP.mean()) < 8
    assert image[-1].mean() > image[0].mean() + 200


def test_16_bits_are_scaled_and_not_clipped(tmp_path):
    Image.fromarray((RAMP * 257).astype(np.uint16)).save(tmp_path / "a.png")
    assert np.abs(read_image(tmp_path / "a.png")[..., 1] - RAMP).max() <= 1


@pytest.mark.filterwarnings("error")
def test_a_transparent_palette_is_read_without_a_warning(tmp_path):
    Image.new("P", (8, 8), 3).save(tmp_path / "a.png", transparency=bytes([0, 255, 0, 255]))
    assert read_image(tmp_path / "a.png").shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_exif_rotation_is_applied(tmp_path, name, scale):
    image = Image.new("RGB", (64, 32))
    image.paste((255, 0, 0), (0, 0, 16, 32))  # the left side, which orientation 6 turns to the top
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / name, exif=exif)
    upright = read_image(tmp_path / name, scale)
    assert upright.shape == (64 * scale, 32 * scale, 3)
    assert upright[2, :, 0].min() > 200 and upright[-2, :, 0].max() < 50


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_truncated_file_is_named(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"{name}: expected an image that can be decoded"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match="a.jpg"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="gone.jpg"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("scale", [0.125, 0.4, 0.5, 1.5])
def test_scaling_antialiases_and_keeps_places(tmp_path, scale):
    pixels = np.tile(np.uint8([[0, 255], [255, 0]]), (80, 101))  # 160 x 202: no multiple of 8
    pixels[40:80, 100:140] = 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg", scale)
    assert image.shape[:2] == (round(160 * scale), round(202 * scale))
    centre = image[int(60 * scale), int(120 * scale), 0]
    assert centre > 240
    if scale < 1:
        assert np.abs(image[int(110 * scale):, :, 0].astype(float) - 127).max() < 20


def test_points_and_sigma_scale_with_the_image(tmp_path):
    dataset = a_dataset(tmp_path, Image.new("RGB", (100, 80)), [[50, 20], [99.5, 79.5]], sigma=4)
    scene = the_scene(dataset, 0.5)
    assert scene.size == (40, 50) and scene.sigma == 2
    np.testing.assert_allclose(scene.points, [[25, 10], [49.75, 39.75]])


def test_points_outside_move_to_the_border_and_still_count(tmp_path):
    outside = [[-3, 5], [100, 80], [1e9, -1e9], [50, 40], [50, 40]]
    for scale in (1.0, 0.37):
        scene = the_scene(a_dataset(tmp_path, Image.new("RGB", (100, 80)), outside), scale)
        assert scene.count == 5 and scene.points.dtype == np.float32
        assert (scene.points >= 0).all() and (scene.points < scene.size[::-1]).all()
        assert (scene.points.astype(int) < scene.size[::-1]).all()


@pytest.mark.filterwarnings("error")
def test_points_beyond_every_image_are_read_without_a_warning(tmp_path):
    scene = the_scene(a_dataset(tmp_path, Image.new("RGB", (100, 80)), [[1e300, -1e300], [1.7e308, 5]]))
    np.testing.assert_array_equal(np.floor(scene.points), [[99, 0], [99, 5]])


def test_an_image_without_people(tmp_path):
    scene = the_scene(a_dataset(tmp_path, Image.new("L", (30, 20)), []))
    assert scene.count == 0 and scene.points.shape == (0, 2) and scene.sigmas.shape == (0,)


def test_the_longest_side_is_limited(tmp_path):
    dataset = a_dataset(tmp_path, Image.new("RGB", (100, 80)), [[50, 40]], max_side=50, sigma=4)
    assert the_scene(dataset).size == (40, 50) and the_scene(dataset).sigma == 2
    assert the_scene(dataset, 0.5).size == (20, 25)
    np.testing.assert_allclose(the_scene(dataset).points, [[25, 20]])
    small = a_dataset(tmp_path, Image.new("RGB", (40, 20)), [[1, 2]], max_side=50)
    assert the_scene(small).size == (20, 40)


def test_scenes_keep_their_order(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    for i in range(30):
        Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    (folder / "points.json").write_text(json.dumps({f"{i}.png": [[1, 1]] * i for i in range(30)}))
    dataset = Folder(root=tmp_path)
    scenes = read_scenes(dataset, dataset.items("train"))
    assert [scene.count for scene in scenes] == [int(scene.image[0, 0, 0]) for scene in scenes] == list(range(30))


def test_one_broken_image_stops_the_reading_and_is_named(tmp_path):
    dataset = a_dataset(tmp_path, Image.new("L", (8, 8)), [])
    (tmp_path / "train" / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="a.png"):
        read_scenes(dataset, dataset.items("train"))
