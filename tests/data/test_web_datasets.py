"""NWPU-Crowd, JHU-Crowd++ and UCF-CC-50: their layouts, their splits, and the messages about errors."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmark.data.check import check
from benchmark.data.datasets.jhu_crowd import JhuCrowd
from benchmark.data.datasets.nwpu_crowd import NwpuCrowd
from benchmark.data.datasets.ucf_cc_50 import UcfCc50
from benchmark.data.loading import read_scene
from benchmark.registry import build
from benchmark.utils.errors import UserError


def an_image(path, shade=0, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)


def a_mat(path, points):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annPoints": points})


def ids(dataset, split="train"):
    return [item.id for item in dataset.items(split)]


# NWPU-Crowd.

@pytest.fixture
def nwpu(tmp_path, heads):
    """Six images: four to train, the third of which has no people, one in val, and one without points in test."""
    for number in range(1, 7):
        an_image(tmp_path / f"images/{number:04}.jpg", number * 40)
        if number < 6:
            a_mat(tmp_path / f"mats/{number:04}.mat", np.zeros((0, 2)) if number == 3 else heads * number)
    (tmp_path / "train.txt").write_text("0001 1 2\n0002 0 1\n0003 1 0\n0005 2 2\n")
    (tmp_path / "val.txt").write_text("0004 1 1\n")
    (tmp_path / "test.txt").write_text("0006 \n")
    return tmp_path


def test_nwpu_crowd_is_read_by_its_lists_and_val_is_the_test_split(nwpu, heads):
    dataset = NwpuCrowd(root=nwpu)
    assert ids(dataset) == ["0001", "0002", "0003", "0005"] and ids(dataset, "test") == ["0004"]
    items = dataset.items("train")
    np.testing.assert_array_equal(dataset.points(items[3]), heads * 5)
    assert len(dataset.points(items[2])) == 0 and read_scene(dataset, items[2]).count == 0
    assert dataset.max_side == 1536 and dataset.sigma is None


def test_the_images_of_nwpu_crowd_may_be_in_the_folders_of_its_archives(nwpu):
    expected = NwpuCrowd(root=nwpu).items("train")
    for number in range(1, 7):
        part = nwpu / f"images_part{min(number, 5)}"
        part.mkdir(exist_ok=True)
        shutil.move(nwpu / f"images/{number:04}.jpg", part)
    (nwpu / "images").rmdir()
    items = NwpuCrowd(root=nwpu).items("train")
    assert [item.id for item in items] == [item.id for item in expected]
    assert items[3].image == nwpu / "images_part5/0005.jpg"


@pytest.mark.parametrize("home", ["NWPU-Crowd", "nwpu", "x/NWPU Crowd"])
def test_nwpu_crowd_is_found_in_the_folder_that_it_was_unpacked_into(nwpu, tmp_path_factory, home):
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(nwpu, root / home)
    assert len(ids(NwpuCrowd(root=root))) == 4


def test_the_points_of_nwpu_crowd_may_be_json(nwpu, heads):
    shutil.rmtree(nwpu / "mats")
    (nwpu / "jsons").mkdir()
    for number in range(1, 6):
        points = [] if number == 3 else heads.tolist()
        table = {"img_id": f"{number:04}.jpg", "human_num": len(points), "points": points, "boxes": []}
        (nwpu / f"jsons/{number:04}.json").write_text(json.dumps(table))
    dataset = NwpuCrowd(root=nwpu)
    items = dataset.items("train")
    np.testing.assert_array_equal(dataset.points(items[0]), heads)
    assert len(dataset.points(items[2])) == 0
    for text, told in [("{", "expected JSON"), ("[]", 'expected {"points"'), ('{"points": 3}', 'expected {"points"'),
                       ('{"points": [[1, 2, 3]]}', "expected a table of points")]:
        items[0].annotation.write_text(text)
        with pytest.raises(UserError, match=f"0001.json: {told}"):
            dataset.points(items[0])


def test_points_outside_are_told_and_moved_to_the_border(nwpu):
    a_mat(nwpu / "mats/0001.mat", np.array([[70.0, 10.0], [5.0, 5.0]]))
    dataset = NwpuCrowd(root=nwpu)
    report = check(dataset)
    assert report.ok and report.splits["train"].outside == {"0001": 1}
    assert "1 points in 1 images outside" in report.text()
    scene = read_scene(dataset, dataset.items("train")[0])
    assert scene.count == 2 and 63 < scene.points[0, 0] < 64


@pytest.mark.parametrize("change, told", [
    (lambda root: (root / "train.txt").unlink(), "expected one list train.txt, found 0; download"),
    (lambda root: (root / "train.txt").write_text("\n"), "train.txt: expected the ids of images, found none"),
    (lambda root: (root / "train.txt").write_text("0001\n0009\n0008"), "train.txt: 0008: expected an image of this"),
    (lambda root: (root / "train.txt").write_text("0006 1 1"), "0006.jpg: expected an annotation that belongs to it"),
    (lambda root: (root / "train.txt").write_bytes(b"\xff\xfe0"), "train.txt: expected a text that can be read"),
    (lambda root: shutil.rmtree(root / "mats"), "expected a folder mats here, found images"),
    (lambda root: shutil.rmtree(root / "images"), "expected a folder images here, found mats"),
    (lambda root: an_image(root / "images_part1/0001.jpg"), "expected one image 0001, found")])
def test_what_is_wrong_with_nwpu_crowd_is_told_in_one_line(nwpu, change, told):
    change(nwpu)
    with pytest.raises(UserError, match=told) as refused:
        NwpuCrowd(root=nwpu).items("train")
    assert "\n" not in str(refused.value)


def test_a_list_of_windows_is_read(nwpu):
    (nwpu / "train.txt").rename(nwpu / "Train.TXT")
    (nwpu / "Train.TXT").write_bytes("\ufeff0001 1 2\r\n0003 1 0\r\n\r\n".encode())
    assert ids(NwpuCrowd(root=nwpu)) == ["0001", "0003"]


# JHU-Crowd++.

LABELS = "0001,2,street,0,0\n0002,0,nature,1,1\n0003,1,stadium,2,0\n0010,1,street,1,0\n"


@pytest.fixture
def jhu(tmp_path):
    """Four images in each split, the second without people; two of them were taken in fog and one in rain."""
    for shade, split in enumerate(("train", "val", "test")):
        (tmp_path / split / "gt").mkdir(parents=True)
        for number, rows in [(1, "10 20 8 9 1 0\n30 5 4 4 2 1\n"), (2, ""), (3, "7 7 3 3 3 0\n"), (10, "1 2 3 4 1 0")]:
            an_image(tmp_path / split / f"images/{number:04}.jpg", 60 * shade + number)
            (tmp_path / split / f"gt/{number:04}.txt").write_text(rows)
        (tmp_path / split / "image_labels.txt").write_text(LABELS)
    return tmp_path


def test_jhu_crowd_has_the_places_of_heads_in_its_first_two_columns(jhu):
    dataset = JhuCrowd(root=jhu)
    items = dataset.items("train")
    assert [item.id for item in items] == ["0001", "0002", "0003", "0010"]
    assert dataset.points(items[0]).tolist() == [[10, 20], [30, 5]] and dataset.points(items[1]).shape == (0, 2)
    assert items[0].image.parent.parent.name == "train" and len(ids(dataset, "test")) == 4
    assert check(dataset).ok


@pytest.mark.parametrize("weather, expected", [
    ("clear", ["0001"]), ("fog", ["0002", "0010"]), ("rain", ["0003"]), (None, ["0001", "0002", "0003", "0010"])])
def test_jhu_crowd_is_chosen_by_weather(jhu, weather, expected):
    dataset = build("dataset", "jhu_crowd", {"root": jhu, "weather": weather})
    assert ids(dataset) == ids(dataset, "test") == expected


def test_only_the_weather_needs_the_labels(jhu):
    (jhu / "train/image_labels.txt").unlink()
    assert len(ids(JhuCrowd(root=jhu))) == 4
    with pytest.raises(UserError, match="image_labels.txt: expected a file, found no such file"):
        ids(JhuCrowd(root=jhu, weather="fog"))


@pytest.mark.parametrize("home", ["jhu_crowd_v2.0", "x/jhu_crowd_v2.0"])
def test_jhu_crowd_is_found_in_the_folder_that_it_was_unpacked_into(jhu, tmp_path_factory, home):
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(jhu, root / home)
    assert len(ids(JhuCrowd(root=root))) == 4


@pytest.mark.parametrize("labels, weather, told", [
    (LABELS, "snow", "expected images with weather = snow, found none"),
    (LABELS.replace("0010", "0011"), "fog", "expected the weather of 0010, found none"),
    (LABELS.replace("stadium,2", "stadium,7"), "fog", "'0003,1,stadium,7,0': expected lines of id, count, scene"),
    ("0001 2 street 0 0", "fog", "'0001 2 street 0 0': expected lines of id, count, scene")])
def test_wrong_labels_are_told_in_one_line(jhu, labels, weather, told):
    (jhu / "train/image_labels.txt").write_text(labels)
    with pytest.raises(UserError, match=f"image_labels.txt: {told}") as refused:
        ids(JhuCrowd(root=jhu, weather=weather))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rows, told", [
    ("1 2\n", "'1 2': expected lines of six numbers"), ("a b 3 4 1 0\n", "'a b 3 4 1 0': expected lines of six"),
    ("1 2 3 4 1 0\n1,2,3,4,1,0\n", "'1,2,3,4,1,0': expected lines"), ("nan 2 3 4 1 0\n", "expected finite points"),
    ("1 2 3 4 1 0\nx 2 3 4 1 0\n", "'x 2 3 4 1 0': expected lines")])
def test_wrong_rows_of_heads_are_told_in_one_line(jhu, rows, told):
    (jhu / "train/gt/0001.txt").write_text(rows)
    dataset = JhuCrowd(root=jhu)
    with pytest.raises(UserError, match=f"0001.txt: {told}") as refused:
        dataset.points(dataset.items("train")[0])
    assert "\n" not in str(refused.value)


def test_a_weather_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="dataset jhu_crowd: weather = 'hail': .*'clear', 'fog', 'rain' or 'snow'"):
        build("dataset", "jhu_crowd", {"weather": "hail"})


# UCF-CC-50.

@pytest.fixture
def cc50(tmp_path, heads):
    for number in range(1, 51):
        an_image(tmp_path / f"UCF_CC_50/{number}.jpg", number)
        a_mat(tmp_path / f"UCF_CC_50/{number}_ann.mat", heads + number)
    return tmp_path


def test_every_image_of_ucf_cc_50_is_in_the_test_split_of_one_fold(cc50, heads):
    folds = [UcfCc50(root=cc50, fold=fold) for fold in range(1, 6)]
    tests = [ids(fold, "test") for fold in folds]
    assert sum(tests, []) == [str(number) for number in range(1, 51)]
    for fold, test in zip(folds, tests):
        assert len(test) == 10 and sorted([*ids(fold), *test]) == sorted(map(str, range(1, 51)))
    assert tests[1][0] == "11" and ids(folds[1])[9:11] == ["10", "21"]
    np.testing.assert_array_equal(folds[0].points(folds[0].items("test")[2]), heads + 3)


def test_ucf_cc_50_may_lie_in_root_itself(cc50):
    assert len(ids(UcfCc50(root=cc50 / "UCF_CC_50"))) == 40 and check(UcfCc50(root=cc50)).ok


@pytest.mark.parametrize("fold", [0, 6, 1.5])
def test_a_fold_that_there_is_not_is_refused(fold):
    with pytest.raises(UserError, match=f"dataset ucf_cc_50: fold = {fold}"):
        build("dataset", "ucf_cc_50", {"fold": fold})


def test_too_few_images_for_five_folds_are_told(tmp_path, heads):
    an_image(tmp_path / "1.jpg")
    a_mat(tmp_path / "1_ann.mat", heads)
    with pytest.raises(UserError, match="expected at least 5 images, one for each fold"):
        ids(UcfCc50(root=tmp_path))
