"""Layouts: folders and files found in every spelling and packing, and nothing chosen silently among two."""

import json
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmark.data.check import check
from benchmark.data.datasets.folder import Folder
from benchmark.data.datasets.parts.pairs import matched
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.data.datasets.ucf_qnrf import UcfQnrf
from benchmark.utils.errors import UserError

NFC, NFD = (unicodedata.normalize(form, "élan") for form in ("NFC", "NFD"))
IMAGES, TRUTH = "part_B_final/train_data/images", "part_B_final/train_data/ground_truth"


def assert_refused(dataset, *told):
    """The split is refused in one line with all these texts, and `data check` finds the same."""
    with pytest.raises(UserError) as caught:
        dataset.items("train")
    line = str(caught.value)
    assert "\n" not in line and all(text in line for text in told), line
    report = check(dataset)
    assert report.splits["train"].missing == line and not report.ok


def own_images(root, names, declared, folder="train"):
    """Images of one size, and a table that gives each declared name its own number of heads."""
    (root / folder).mkdir(parents=True)
    for name in names:
        Image.new("RGB", (64, 48)).save(root / folder / name, "PNG")
    table = {name: [[1, 1]] * number for number, name in enumerate(declared)}
    (root / folder / "points.json").write_text(json.dumps(table))
    return Folder(root=root)


# Two of a kind.

@pytest.mark.parametrize("original, copy", [
    ("part_B_final", "part_B"), ("part_B_final", "Part_B_Final"), ("part_B_final", "part B final"),
    ("part_B_final", "ShanghaiTech/part_B_final"), ("part_B_final", "ShanghaiTech_Crowd_Counting_Dataset/part_B"),
    ("part_B_final", "ShanghaiTech/ShanghaiTech/part_B_final"), ("part_B_final/train_data", "part_B_final/train"),
    (IMAGES, "part_B_final/train_data/Images"), (TRUTH, "part_B_final/train_data/ground-truth"),
    (TRUTH, "part_B_final/train_data/GroundTruth"),
])
def test_two_folders_for_one_name_are_both_named(tmp_path, a_part, original, copy):
    a_part()
    shutil.copytree(tmp_path / original, tmp_path / copy)
    parent = os.path.commonpath([f"{original}/x", f"{copy}/x"])
    assert_refused(ShanghaiTech(root=tmp_path), "expected one folder", "move one of them away",
                   *(os.path.relpath(path, parent or ".") for path in (original, copy)))


def test_a_second_name_for_the_same_folder_is_none(tmp_path, a_part):
    a_part()
    (tmp_path / "part_B").symlink_to("part_B_final")
    assert len(ShanghaiTech(root=tmp_path).items("train")) == 3


@pytest.mark.parametrize("folder, first, second", [
    (IMAGES, "IMG_1.jpg", "IMG_1.JPG"), (IMAGES, "IMG_1.jpg", "IMG_1.jpeg"), (IMAGES, "IMG_1.jpg", "IMG_1.png"),
    (TRUTH, "GT_IMG_1.mat", "GT_IMG_1.MAT"), (TRUTH, "GT_IMG_1.mat", "gt-IMG_1.mat")])
def test_two_files_of_one_stem_are_both_named(tmp_path, a_part, folder, first, second):
    a_part()
    shutil.copy(tmp_path / folder / first, tmp_path / folder / second)
    assert_refused(ShanghaiTech(root=tmp_path), tmp_path.name, "expected one file for IMG_1", first, second)


def test_two_files_of_one_stem_in_ucf_qnrf(tmp_path, heads):
    (tmp_path / "Train").mkdir()
    for name in ("img_0001.jpg", "img_0001.JPG"):
        Image.new("RGB", (64, 48)).save(tmp_path / "Train" / name)
    savemat(tmp_path / "Train" / "img_0001_ann.mat", {"annPoints": heads})
    assert_refused(UcfQnrf(root=tmp_path), "img_0001.JPG", "img_0001.jpg")


def test_two_tables_that_differ_in_case_are_both_named(tmp_path):
    dataset = own_images(tmp_path, ["a.png"], ["a.png"])
    (tmp_path / "train" / "Points.CSV").write_text("image,x,y\na.png,1,1\n")
    assert_refused(dataset, "Points.CSV and points.json")


# Unpacked archives.

@pytest.mark.parametrize("around", ["ShanghaiTech/ShanghaiTech", "archive/ShanghaiTech", "x/y/z", "part_B_final",
                                    "Shanghai Tech", "shanghaitech_with_people_density_map/ShanghaiTech"])
def test_shanghaitech_is_found_in_the_folders_that_it_was_unpacked_into(tmp_path, a_part, around):
    a_part(part=f"{around}/part_B_final")
    (tmp_path / "__MACOSX" / "part_B_final").mkdir(parents=True)
    (tmp_path / "archive.zip").write_bytes(b"")
    assert [item.id for item in ShanghaiTech(root=tmp_path).items("train")] == ["IMG_1", "IMG_2", "IMG_10"]


@pytest.mark.parametrize("folder", ["part_B_final/train_data", IMAGES, TRUTH])
def test_a_folder_within_one_of_its_own_name_is_found(tmp_path, a_part, folder):
    a_part()
    shutil.move(tmp_path / folder, tmp_path / "kept")
    (tmp_path / folder).mkdir()
    shutil.move(tmp_path / "kept", tmp_path / folder / os.path.basename(folder))
    assert len(ShanghaiTech(root=tmp_path).items("train")) == 3


@pytest.mark.parametrize("around", ["mine/mine/train", "train/train", "a b/TRAIN"])
def test_own_images_are_found_in_the_folders_that_they_were_unpacked_into(tmp_path, around):
    assert len(own_images(tmp_path, ["a.png"], ["a.png"], around).items("train")) == 1


def test_folders_that_hold_themselves_end_the_search(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    assert_refused(ShanghaiTech(root=tmp_path), "expected a folder part_B_final here, found loop", "https://")


def test_what_is_there_instead_is_told(tmp_path):
    for number in range(7):
        (tmp_path / f"other{number}").mkdir()
    assert_refused(ShanghaiTech(root=tmp_path), "found other0, other1, other2, other3, other4 and 2 more")


# Names written another way.

@pytest.mark.parametrize("image, annotation", [
    ("IMG_1.jpg", "GT_img_1.mat"), ("img_1.JPG", "GT_IMG_1.mat"), ("IMG_1.jpg", "GT IMG 1.MAT"),
    ("IMG 1.jpg", "GT_IMG-1.mat"), ("IMG_1 .jpg", "GT_IMG_1.mat"), ("IMG_1.jpg ", "GT_IMG_1.mat"),
    (f"{NFC}.jpg", f"GT_{NFD}.mat"), (f"{NFD}.jpg", f"GT_{NFC}.mat"), ("IMG_1.png", "gt_img_1.mat")])
def test_an_annotation_whose_name_is_written_another_way_is_found(tmp_path, a_part, heads, image, annotation):
    folder = a_part(numbers=(1, 11))
    os.rename(folder / "images/IMG_1.jpg", folder / "images" / image)
    os.rename(folder / "ground_truth/GT_IMG_1.mat", folder / "ground_truth" / annotation)
    dataset = ShanghaiTech(root=tmp_path)
    items = {item.image.name: item for item in dataset.items("train")}
    assert items[image].annotation.name == annotation and items["IMG_11.jpg"].annotation.name == "GT_IMG_11.mat"
    np.testing.assert_array_equal(dataset.points(items[image]), heads)


@pytest.mark.parametrize("image, annotation, told", [
    ("IMG_1.jpg", "GT_IMG_1 (1).mat", "IMG_1.jpg: expected an annotation"),
    ("IMG_1.jpg", "GT_IMG_1_1.mat", "IMG_1.jpg: expected an annotation"),
    ("img_11.jpg", "GT_IMG_1.mat", "img_11.jpg: expected an annotation"),
    ("IMG_1.tif", "GT_IMG_1.mat", "IMG_1.tif: expected images named .bmp .jpeg .jpg"),
    ("IMG_1.gif", "GT_IMG_1.mat", "IMG_1.gif: expected images named .bmp")])
def test_a_name_that_is_another_is_told(tmp_path, a_part, image, annotation, told):
    folder = a_part(numbers=(1, 11))
    os.rename(folder / "images/IMG_1.jpg", folder / "images" / image)
    os.rename(folder / "ground_truth/GT_IMG_1.mat", folder / "ground_truth" / annotation)
    assert_refused(ShanghaiTech(root=tmp_path), told)


@pytest.mark.parametrize("name", ["more/IMG_2.jpg", "old/IMG_2.tif", "IMG_2.jfif", "IMG_2.JXL", "IMG_2.psd", "IMG_2.jp2"])
def test_images_that_would_be_left_out_are_told(tmp_path, a_part, name):
    path = a_part(numbers=(1, 11)) / "images" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    first = name.partition("/")[0]
    told = "a folder with images; expected them in" if first != name else "expected images named .bmp"
    assert_refused(ShanghaiTech(root=tmp_path), f"images/{first}: {told}")


def test_a_folder_of_anything_else_beside_the_images_is_no_mistake(tmp_path, a_part):
    folder = a_part(numbers=(1, 11)) / "images" / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    assert len(ShanghaiTech(root=tmp_path).items("train")) == 2


def test_a_root_that_is_the_part_itself_is_told(tmp_path, a_part):
    a_part(numbers=(1,))
    [part] = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert_refused(ShanghaiTech(root=part), "this is part_B_final itself; expected the folder that holds it")


@pytest.mark.parametrize("name, listed_as", [
    ("Street 1.PNG", "street_1.png"), (f"{NFC}.png", f"{NFD}.png"), (f"{NFD}.png", f"{NFC}.png"), ("a.png", " a.png ")])
def test_own_images_that_the_table_spells_another_way_are_found(tmp_path, name, listed_as):
    dataset = own_images(tmp_path, ["other.png", name], ["other.png", listed_as])
    items = {item.id: item for item in dataset.items("train")}
    assert [len(dataset.points(items[id])) for id in ("other.png", name)] == [0, 1]


def test_own_images_keep_their_points_where_two_names_differ_in_case_only(tmp_path):
    dataset = own_images(tmp_path, ["b.png", "B.png", "c.png"], ["b.png", "B.png", "C.png"])
    items = {item.id: item for item in dataset.items("train")}
    assert [len(dataset.points(items[id])) for id in ("b.png", "B.png", "c.png")] == [0, 1, 2]


@pytest.mark.parametrize("names, declared, told", [
    (["a.png", "A.png"], ["a.png"], "expected the points of A.png"),
    (["street1.png"], ["street1.jpg"], "street1.jpg: expected an image of this name in the folder; similar: "
                                       "'street1.png'"),
    ([f"{NFC}1.png"], [f"{NFD}2.png"], r"similar: '\xe9lan1.png'"),
    (["a.png", "b.tiff"], ["a.png"], "b.tiff: expected images named")])
def test_own_images_that_no_name_fits_are_told(tmp_path, names, declared, told):
    assert_refused(own_images(tmp_path, names, declared), told)


def test_a_name_is_only_matched_loosely_where_no_other_is_meant():
    assert matched(["IMG_1", "img_2", "c"], ["IMG_1", "IMG_2", "C", "d"]) == {"IMG_1": "IMG_1", "img_2": "IMG_2", "c": "C"}
    assert matched(["a", "A"], ["Á", "á"]) == {}
    assert matched(["IMG_1", "img_1"], ["IMG_1"]) == {"IMG_1": "IMG_1"}
    assert matched(["img_1"], ["IMG_1", "Img_1"]) == {}


@pytest.mark.parametrize("name", [b"a\xff.jpg", "a\x1b[31m.jpg".encode(), b"a\nb.jpg", "a\u202f1.jpg".encode(),
                                  149 * b"x" + b".jpg"])
def test_a_name_that_no_record_can_hold_is_refused_in_printable_text(tmp_path, a_part, name):
    folder = a_part()
    os.rename(folder / "images/IMG_1.jpg", os.path.join(os.fsencode(folder / "images"), name))
    with pytest.raises(UserError, match="expected a name of at most 150 printable characters") as caught:
        ShanghaiTech(root=tmp_path).items("train")
    assert str(caught.value).isprintable()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, a_part, monkeypatch):
    folder = a_part() / "images"
    listed = type(folder).iterdir

    def denied(path):
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(type(folder), "iterdir", denied)
    assert_refused(ShanghaiTech(root=tmp_path), "images: expected a folder that can be read: Permission denied")
