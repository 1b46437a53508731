"""Data check: it lists what is missing or broken and continues."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmark.data.check import check
from benchmark.data.datasets.folder import Folder
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.utils.errors import UserError


def noise(seed, size=(8, 16)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def a_split(root, split, images, points):
    (root / split).mkdir()
    for name, image in images.items():
        image.save(root / split / name)
    (root / split / "points.json").write_text(json.dumps({name: points.get(name, []) for name in images}))


def test_counts_and_sizes(tmp_path):
    a_split(tmp_path, "train", {"a.png": noise(0), "b.png": noise(1, (20, 30))}, {"a.png": [[1, 1], [2, 2], [3, 3]]})
    a_split(tmp_path, "test", {"c.png": noise(2)}, {"c.png": [[1, 1]]})
    report = check(Folder(root=tmp_path))
    train = report.splits["train"]
    assert (train.images, train.people, train.count_min, train.count_max, train.count_mean) == (2, 3, 0, 3, 1.5)
    assert train.sizes == ["16x8", "30x20"]
    assert "train  2 images, 16x8 to 30x20; 3 people, 0 to 3 per image, mean 1.5" in report.text()
    assert "test   1 images, 16x8; 1 people" in report.text()
    assert report.equal == report.leaks == []
    assert json.loads(json.dumps(report.to_dict()))["splits"]["test"]["people"] == 1


def test_points_outside_and_repeated(tmp_path):
    a_split(tmp_path, "train", {"a.png": noise(0), "b.png": noise(1)},
            {"a.png": [[16, 1], [-1, 1], [15.9, 7.9], [0, 0]], "b.png": [[1, 1], [1, 1], [1, 1], [1, 2]]})
    report = check(Folder(root=tmp_path))
    assert report.splits["train"].outside == {"a.png": 2} and report.splits["train"].repeated == {"b.png": 2}
    assert report.splits["train"].people == 8
    assert "2 points in 1 images outside" in report.text() and "2 points in 1 images that repeat" in report.text()


def test_equal_images_within_and_across_splits(tmp_path):
    shared, twice = noise(0), noise(1)
    a_split(tmp_path, "train", {"a.png": shared, "b.png": twice, "c.bmp": twice, "d.png": noise(2)}, {})
    a_split(tmp_path, "test", {"x.bmp": shared, "y.png": noise(3)}, {})  # equal pixels, other bytes
    report = check(Folder(root=tmp_path))
    assert report.leaks == [["train/a.png", "test/x.bmp"]]
    assert report.equal == [["train/a.png", "test/x.bmp"], ["train/b.png", "train/c.bmp"]]
    assert "leak   train/a.png = test/x.bmp" in report.text()
    assert "equal  train/b.png = train/c.bmp" in report.text()


def test_a_missing_split_is_a_finding(tmp_path, a_part):
    a_part()
    report = check(ShanghaiTech(root=tmp_path))
    assert report.splits["train"].images == 3
    assert "expected a folder test_data" in report.splits["test"].missing
    assert "https://" in report.text()


def test_broken_files_are_listed_and_the_rest_is_read(tmp_path, a_part):
    folder = a_part(numbers=range(5))
    (folder / "images" / "IMG_0.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "ground_truth" / "GT_IMG_1.mat").write_bytes(b"garbage")
    train = check(ShanghaiTech(root=tmp_path)).splits["train"]
    assert train.images == 3 and len(train.unreadable) == 2
    assert "IMG_0.jpg" in train.unreadable[0] and "GT_IMG_1.mat" in train.unreadable[1]


def test_a_split_with_nothing_readable(tmp_path, a_part):
    folder = a_part(numbers=[1])
    (folder / "images" / "IMG_1.jpg").write_bytes(b"")
    assert "0 images, none readable" in check(ShanghaiTech(root=tmp_path)).text()


def test_no_folder_is_a_wrong_request(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        check(Folder(root=tmp_path / "nowhere"))


def test_the_real_part_a(real_data):
    report = check(ShanghaiTech(root=real_data, part="A"))
    train = report.splits["train"]
    assert (train.images, train.people) == (300, 162_413)
    assert not train.unreadable and not train.outside
