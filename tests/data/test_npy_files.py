"""Arrays in .npy files: images and points of CLIP-EBC's preprocessing, and files that are none."""

import numpy as np
import pytest
from PIL import Image

from benchmark.data.check import check
from benchmark.data.datasets.clip_ebc_data import ClipEbcData
from benchmark.data.datasets.parts.points import npy_points
from benchmark.data.image_files import decode, image_size
from benchmark.data.loading import read_image, read_scene
from benchmark.utils.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def saved(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=True)
    return path


def as_array(image):
    """An image as the preprocessing saves it: its channels first."""
    return np.transpose(image, (2, 0, 1))


@pytest.fixture
def root(tmp_path, heads):
    """Three images in each split, the last without people; those of train also as arrays, as the public code writes."""
    for split in ("train", "val"):
        for number in range(3):
            image = np.full((40, 56, 3), 50 * number + (split == "val"), np.uint8)
            (tmp_path / split / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / split / f"images/{number:04}.jpg")
            saved(tmp_path / split / f"labels/{number:04}.npy", heads * 2 if number < 2 else np.array([]))
            if split == "train":
                saved(tmp_path / split / f"images/{number:04}.npy", as_array(IMAGE ^ np.uint8(number)))
    (tmp_path / "train/10%.txt").write_text("0\n")
    return tmp_path


def test_val_is_the_test_split_and_arrays_are_read_where_there_are_some(root, heads):
    dataset = ClipEbcData(root=root)
    train, test = dataset.items("train"), dataset.items("test")
    assert [item.image.name for item in train] == ["0000.npy", "0001.npy", "0002.npy"]
    assert [item.image.name for item in test] == ["0000.jpg", "0001.jpg", "0002.jpg"]
    scene = read_scene(dataset, train[0])
    np.testing.assert_array_equal(scene.image, IMAGE)
    np.testing.assert_array_equal(scene.points, np.float32(heads * 2))
    assert read_scene(dataset, train[2]).count == 0
    report = check(dataset)
    assert report.ok and report.splits["train"].sizes == ["56x40"] and report.splits["train"].people == 4


def test_an_array_is_scaled_as_any_other_image(tmp_path):
    array, picture = saved(tmp_path / "a.npy", as_array(IMAGE)), tmp_path / "a.png"
    Image.fromarray(IMAGE).save(picture)
    for scale, max_side in [(1.0, None), (0.5, None), (1.0, 30)]:
        image, factor = decode(array, scale, max_side)
        expected, expected_factor = decode(picture, scale, max_side)
        np.testing.assert_array_equal(image, expected)
        assert factor == expected_factor and image_size(array, scale, max_side) == image_size(picture, scale, max_side)


def test_an_array_is_one_image_and_no_array_of_it_is_read_for_its_size(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.npy", as_array(IMAGE))
    monkeypatch.setattr(np, "frombuffer", None)
    assert image_size(path, 1.0, None) == (56, 40)


@pytest.mark.parametrize("array, told", [
    (IMAGE, r"expected an array uint8 \[3, H, W\], found uint8 \[40, 56, 3\]"),
    (as_array(IMAGE).astype(np.float32), "found float32"), (IMAGE[..., 0], r"found uint8 \[40, 56\]"),
    (np.asfortranarray(as_array(IMAGE)), "column by column"), (np.array([{}]), "array of objects"),
    (np.zeros((3, 0, 8), np.uint8), "expected an image that can be decoded")])
def test_an_array_that_is_no_image_is_told(tmp_path, array, told):
    path = saved(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=f"a.npy: expected an image that can be decoded: .*{told}|{told}"):
        read_image(path)


@pytest.mark.parametrize("change", [
    lambda content: content[:-1], lambda content: content + b"1", lambda content: content[:100], lambda content: b"",
    lambda content: b"no array", lambda content: content.replace(b"(3, 40, 56)", b"(3, 41, 56)"),
    lambda content: content.replace(b"(3, 40, 56)", b"(3, -8,-840)"),
    lambda content: content.replace(b"NUMPY\1", b"NUMPY\7"),
    lambda content: content.replace(b"'fortran_order': False", b"'fortran_order': 0    ")])
def test_a_damaged_array_is_told_in_one_line(tmp_path, change):
    path = saved(tmp_path / "a.npy", as_array(IMAGE))
    path.write_bytes(change(path.read_bytes()))
    for read in (read_image, npy_points):
        with pytest.raises(UserError, match="a.npy: expected") as refused:
            read(path)
        assert "\n" not in str(refused.value)


def test_an_array_with_too_many_pixels_is_refused_before_they_are_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.npy", as_array(IMAGE))
    monkeypatch.setenv("CROWD_MAX_PIXELS", "100")
    monkeypatch.setattr(np, "frombuffer", None)
    with pytest.raises(UserError, match="a.npy: 56x40 are 2,240 pixels; expected at most 100"):
        read_image(path)


def test_no_pickle_is_read(tmp_path, trap):
    path = saved(tmp_path / "a.npy", np.array([trap], dtype=object))
    for read in (read_image, npy_points):
        with pytest.raises(UserError, match="a.npy: expected .*an array of objects"):
            read(path)
    assert not trap.path.exists()


def test_points_that_matlab_stored_column_by_column_are_read(tmp_path, heads):
    path = saved(tmp_path / "a.npy", np.asfortranarray(heads))
    assert b"'fortran_order': True" in path.read_bytes()
    np.testing.assert_array_equal(npy_points(path), heads)


@pytest.mark.parametrize("points, told", [
    (np.zeros((2, 3)), "two columns"), (np.array(["a", "b"]), "numbers"), (np.array([[np.nan, 1]]), "finite")])
def test_points_that_are_none_are_told(tmp_path, points, told):
    with pytest.raises(UserError, match=f"a.npy: expected .*{told}"):
        npy_points(saved(tmp_path / "a.npy", points))


def test_points_without_end_are_refused_before_they_are_read(tmp_path, heads):
    path = saved(tmp_path / "a.npy", heads)
    with path.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="a.npy: 1.1 TB; expected a file of at most"):
        npy_points(path)


def test_a_label_without_an_image_is_told(root):
    (root / "train/images/0001.npy").unlink()
    with pytest.raises(UserError, match="0001.npy: expected an image that belongs to it"):
        ClipEbcData(root=root).items("train")


def test_a_name_that_no_record_can_hold_is_refused(root):
    saved(root / "train/images/a\nb.npy", as_array(IMAGE))
    with pytest.raises(UserError, match="expected a name of at most 150 printable characters"):
        ClipEbcData(root=root).items("train")
