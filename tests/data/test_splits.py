"""Splits: the held-out images never change, and a fingerprint changes with a single byte."""

import numpy as np
import pytest
from PIL import Image

from benchmark.data.datasets.base import Item
from benchmark.data.datasets.folder import Folder
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.data.splits import fingerprint, hold_out, load_test, load_train
from benchmark.utils.errors import UserError

PART_B_VALIDATION = [
    19, 21, 24, 47, 48, 54, 68, 78, 83, 84, 96, 105, 126, 139, 144, 153, 155, 158, 160, 165,
    183, 217, 226, 234, 236, 238, 254, 255, 269, 271, 274, 275, 304, 309, 312, 317, 356, 366, 370, 384,
]


def part_b_train(tmp_path):
    return [Item(f"IMG_{n}", tmp_path / f"IMG_{n}.jpg", tmp_path / f"GT_IMG_{n}.mat") for n in range(1, 401)]


def test_the_validation_list_of_part_b_is_this_one(tmp_path):
    train, validation = hold_out(part_b_train(tmp_path), "shanghaitech", 40)
    assert [int(item.id[4:]) for item in validation] == PART_B_VALIDATION
    assert len(train) == 360 and not set(train) & set(validation)


def test_order_and_count_do_not_change_who_is_held_out(tmp_path):
    items = part_b_train(tmp_path)
    _, validation = hold_out(items, "shanghaitech", 40)
    _, reverse = hold_out(items[::-1], "shanghaitech", 40)
    assert reverse == validation[::-1]
    assert set(hold_out(items, "shanghaitech", 20)[1]) < set(validation)
    assert hold_out(items, "shanghaitech", 0) == (items, [])
    assert set(hold_out(items, "another", 40)[1]) != set(validation)


def test_load_train_and_test(tmp_path, a_part):
    a_part(numbers=range(20))
    a_part(split="test_data", numbers=[7])
    dataset = ShanghaiTech(root=tmp_path)
    train, validation = load_train(dataset, 0.5)
    assert (len(train), len(validation)) == (18, 2) and train[0].size == (4, 8) and train[0].sigma == 7.5
    assert [len(part) for part in load_train(dataset, held_out=0)] == [20, 0]
    assert [len(part) for part in load_train(dataset, held_out=0.001)] == [19, 1]
    assert [scene.id for scene in load_test(dataset)] == ["IMG_7"]


@pytest.mark.parametrize("held_out", [1.0, 2.0, -0.5])
def test_a_hold_out_that_leaves_nothing_is_refused(tmp_path, a_part, held_out):
    a_part()
    with pytest.raises(UserError, match=f"hold_out = {held_out}: expected a share"):
        load_train(ShanghaiTech(root=tmp_path), held_out=held_out)


def test_the_fingerprint_knows_bytes_ids_and_order(tmp_path, a_part):
    folder = a_part()
    items = ShanghaiTech(root=tmp_path).items("train")
    before = fingerprint(items)
    assert before == fingerprint(list(items)) and len(before) == 32
    assert fingerprint(items[::-1]) != before != fingerprint(items[:2])
    renamed = [Item("other", items[0].image, items[0].annotation), *items[1:]]
    assert fingerprint(renamed) != before
    image = folder / "images" / "IMG_2.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    assert fingerprint(items) != before
    image.unlink()
    with pytest.raises(UserError, match="IMG_2.jpg"):
        fingerprint(items)


def test_the_fingerprint_of_images_that_share_a_table(tmp_path):
    (tmp_path / "train").mkdir()
    for name in "a.png", "b.png":
        Image.new("RGB", (16, 8)).save(tmp_path / "train" / name)
    hashes = set()
    for table in '{"a.png": [], "b.png": []}', '{"a.png": [[1, 1]], "b.png": []}':
        (tmp_path / "train" / "points.json").write_text(table)
        hashes.add(fingerprint(Folder(root=tmp_path).items("train")))
    assert len(hashes) == 2


def test_the_real_hold_out_is_read_whole(real_data):
    train, validation = load_train(ShanghaiTech(root=real_data), 0.125)
    assert [int(scene.id[4:]) for scene in validation] == PART_B_VALIDATION
    assert sum(scene.count for scene in train + validation) == 49_151
    assert all(scene.size == (96, 128) for scene in train + validation)
    assert np.mean([scene.image.mean() for scene in train]) > 50
