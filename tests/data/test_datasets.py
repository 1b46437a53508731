"""Datasets: their layouts on disk, the spellings of folders, and the messages about errors."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.io.matlab._mio5 import VarWriter5

from benchmark.data.datasets.folder import Folder
from benchmark.data.datasets.parts.points import mat_file
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.data.datasets.ucf_qnrf import UcfQnrf
from benchmark.data.splits import fingerprint
from benchmark.registry import build, resolve
from benchmark.utils.errors import UserError


def only_item(dataset):
    return dataset.items("train")[0]


@pytest.mark.parametrize("layout", [
    {"part": "part_B_final"}, {"part": "part_B"}, {"part": "Part_B", "truth": "ground-truth"},
    {"part": "ShanghaiTech/part_B_final"}, {"part": "ShanghaiTech_Crowd_Counting_Dataset/part_B_final"},
    {"part": "shanghaitech/part_B", "split": "train", "truth": "Ground_Truth"},
])
def test_shanghaitech_in_all_its_spellings(tmp_path, a_part, heads, layout):
    a_part(**layout)
    dataset = ShanghaiTech(root=tmp_path)
    items = dataset.items("train")
    assert [item.id for item in items] == ["IMG_1", "IMG_2", "IMG_10"]
    np.testing.assert_array_equal(dataset.points(items[2]), heads)
    assert dataset.points(items[0]).dtype == np.float64


def test_litter_between_the_images_is_ignored(tmp_path, a_part):
    folder = a_part()
    for name in ("images/._IMG_1.jpg", "images/Thumbs.db", "images/.DS_Store", "ground_truth/._GT_IMG_1.mat"):
        (folder / name).write_bytes(b"")
    assert len(ShanghaiTech(root=tmp_path).items("train")) == 3


def test_the_environment_names_the_root(tmp_path, a_part, monkeypatch):
    a_part()
    monkeypatch.setenv("CROWD_DATA", str(tmp_path))
    assert len(ShanghaiTech().items("train")) == 3
    monkeypatch.delenv("CROWD_DATA")
    with pytest.raises(UserError, match="set root, or the environment variable CROWD_DATA.*https://"):
        ShanghaiTech().items("train")


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path, a_part):
    with pytest.raises(UserError, match="nowhere: expected a folder.*https://"):
        ShanghaiTech(root=tmp_path / "nowhere").items("train")
    with pytest.raises(UserError, match="expected a folder part_B_final here.*https://"):
        ShanghaiTech(root=tmp_path).items("train")
    a_part()
    with pytest.raises(UserError, match="part_B_final: expected a folder test_data here"):
        ShanghaiTech(root=tmp_path).items("test")


@pytest.mark.parametrize("name", ["synthetic", "shanghaitech"])
@pytest.mark.parametrize("root", ["~nosuchuser/x", "a\0b", __file__])
def test_a_root_that_can_be_no_folder_is_refused(name, root):
    with pytest.raises(UserError, match=f"dataset {name}: root .*expected (a|the path of a) folder"):
        build("dataset", name, {"root": root}).items("train")


def test_sigma_follows_the_part():
    assert ShanghaiTech().sigma == 15
    assert ShanghaiTech(part="A").sigma is None
    assert ShanghaiTech(part="A", sigma=4).sigma == 4
    assert ShanghaiTech(sigma=None).sigma is None
    resolved = resolve("dataset", "shanghaitech", {"part": "A"})
    assert build("dataset", "shanghaitech", resolved) == ShanghaiTech(part="A")


def test_settings_are_checked():
    with pytest.raises(UserError, match="part = 'C'"):
        build("dataset", "shanghaitech", {"part": "C"})
    with pytest.raises(UserError, match="sigma = -1"):
        build("dataset", "shanghaitech", {"sigma": -1})
    with pytest.raises(UserError, match="did you mean 'root'"):
        build("dataset", "shanghaitech", {"rot": "x"})


def test_part_a_is_the_companion_of_part_b(tmp_path):
    companion = ShanghaiTech(root=tmp_path).companion()
    assert companion == ShanghaiTech(part="A", root=tmp_path) and companion.companion() is None


def test_an_image_or_annotation_alone_is_named(tmp_path, a_part):
    folder = a_part()
    (folder / "images" / "IMG_1.jpg").unlink()
    with pytest.raises(UserError, match="GT_IMG_1.mat: expected an image"):
        ShanghaiTech(root=tmp_path).items("train")
    for number in (2, 10):
        (folder / "ground_truth" / f"GT_IMG_{number}.mat").unlink()
    with pytest.raises(UserError, match=r"IMG_2.jpg: expected an annotation that belongs to it \(and 1 more"):
        ShanghaiTech(root=tmp_path).items("train")


def test_a_folder_without_images_is_named(tmp_path, a_part):
    a_part(numbers=())
    with pytest.raises(UserError, match=r"images: expected images \(.*\.jpg.*\), found none"):
        ShanghaiTech(root=tmp_path).items("train")


def test_an_annotation_without_heads(tmp_path, a_part):
    a_part(points=np.zeros((0, 2)))
    dataset = ShanghaiTech(root=tmp_path)
    assert dataset.points(only_item(dataset)).shape == (0, 2)


@pytest.mark.parametrize("content, message", [
    ({"points": np.eye(2)}, "image_info"),
    ({"image_info": np.eye(2)}, "image_info"),
    (np.ones((2, 1)), r"two columns .x, y., found 2x1"),
    (np.array([[1.0, np.nan]]), "nan"),
    (b"garbage", "expected a MATLAB file"),
    (b"", "expected a MATLAB file"),
])
def test_a_broken_annotation_is_named(tmp_path, a_part, content, message):
    points = content if isinstance(content, np.ndarray) else np.eye(2)
    path = a_part(numbers=[1], points=points) / "ground_truth" / "GT_IMG_1.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        savemat(path, content)
    dataset = ShanghaiTech(root=tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        dataset.points(only_item(dataset))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


HDF5 = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize("content", [b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + HDF5 + bytes(2000),
                                     b"MATLAB 7.3 MAT-file", HDF5 + bytes(2000), bytes(512) + HDF5])
def test_an_annotation_of_matlab_7_3_is_told_with_what_to_do(tmp_path, a_part, content):
    path = a_part(numbers=[1]) / "ground_truth" / "GT_IMG_1.mat"
    path.write_bytes(content)
    dataset = ShanghaiTech(root=tmp_path)
    with pytest.raises(UserError, match=r"GT_IMG_1.mat: a MATLAB v7.3 file; expected version 7 or older: in MATLAB, "
                                        r"load the file and write it again with save\(name, '-v7'\)"):
        dataset.points(only_item(dataset))


def test_an_annotation_without_end_is_refused_before_it_is_read(tmp_path, a_part):
    path = a_part(numbers=[1]) / "ground_truth" / "GT_IMG_1.mat"
    with path.open("r+b") as file:
        file.truncate(2**40)
    dataset = ShanghaiTech(root=tmp_path)
    with pytest.raises(UserError, match="GT_IMG_1.mat: 1.1 TB; expected a file of at most"):
        dataset.points(only_item(dataset))


@pytest.mark.filterwarnings("error")
def test_what_scipy_warns_of_is_read_without_a_warning(tmp_path, a_part, heads):
    path = a_part(numbers=[1]) / "ground_truth" / "GT_IMG_1.mat"
    content = path.read_bytes()
    path.write_bytes(content + content[128:])  # every variable twice
    dataset = ShanghaiTech(root=tmp_path)
    np.testing.assert_array_equal(dataset.points(only_item(dataset)), heads)


@pytest.mark.parametrize("home", ["", "UCF-QNRF_ECCV18", "UCF-QNRF/UCF-QNRF_ECCV18", "x/ucf qnrf"])
def test_ucf_qnrf(tmp_path, heads, home):
    folder = tmp_path / home / "Train"
    folder.mkdir(parents=True)
    Image.new("RGB", (16, 8)).save(folder / "img_0001.jpg")
    savemat(folder / "img_0001_ann.mat", {"annPoints": heads})
    dataset = UcfQnrf(root=tmp_path)
    assert only_item(dataset).id == "img_0001" and dataset.sigma is None
    np.testing.assert_array_equal(dataset.points(only_item(dataset)), heads)
    savemat(folder / "img_0001_ann.mat", {"other": heads})
    with pytest.raises(UserError, match="img_0001_ann.mat: expected a MATLAB file with points at annPoints"):
        dataset.points(only_item(dataset))
    with pytest.raises(UserError, match="expected a folder Test"):
        dataset.items("test")


def own_images(root, names, table, text):
    folder = root / "train"
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (16, 8)).save(folder / name)
    (folder / table).write_text(text)
    return Folder(root=root)


@pytest.mark.parametrize("table, text", [
    ("points.json", json.dumps({"a.JPG": [[3.5, 2], [7, 4.25]], "b.png": [], "c 2.webp": [[1, 1]]})),
    ("points.csv", "image,x,y\na.JPG,3.5,2\nb.png,,\na.JPG,7,4.25\nc 2.webp,1,1\n"),
    ("points.csv", "\ufeffimage,x,y,confidence\r\na.JPG,3.5,2,1\r\nb.png,,,\r\na.JPG,7,4.25,1\r\nc 2.webp,1,1,1\r\n"),
])
def test_own_images(tmp_path, heads, table, text):
    dataset = own_images(tmp_path, ["a.JPG", "b.png", "c 2.webp"], table, text)
    items = dataset.items("train")
    assert [item.id for item in items] == ["a.JPG", "b.png", "c 2.webp"]
    np.testing.assert_array_equal(dataset.points(items[0]), heads)
    assert [len(dataset.points(item)) for item in items] == [2, 0, 1]


@pytest.mark.parametrize("table, text, message", [
    ("points.json", "{", "points.json: expected JSON text"),
    ("points.json", "[[1, 2]]", r'points.json: expected {"image.jpg"'),
    ("points.json", '{"a.png": 3}', r'points.json: expected {"image.jpg"'),
    ("points.json", "{}", "points.json: expected the points of a.png, found none"),
    ("points.json", '{"a.png": [], "a.png": [[1, 2]]}', "points.json: 'a.png' occurs twice"),
    ("points.json", '{"a.png": [[1, ' + "9" * 5000 + "]]}", "points.json: expected JSON text"),
    ("points.csv", "x,y,image\n1,2\n", "points.csv: line 2: expected the name of an image"),
    ("points.json", '{"a.png": [], "b.png": []}', "points.json: b.png: expected an image"),
    ("points.csv", "image,x,y\na.png,1,5,2,5\n", "points.csv: line 2: more columns than in the header: '2,5' too many"),
    ("points.csv", "image,x,y,x\na.png,1,5,2\n", "points.csv: the header has a column twice: 'image,x,y,x'"),
    ("points.csv", "image,x,y\n,1,5\n", "points.csv: line 2: expected the name of an image"),
    ("points.json", '{" ": [[1, 2]]}', "points.json: an empty name; expected the name of an image"),
    ("points.csv", "", "points.csv: expected a header with image,x,y"),
    ("points.csv", "image;x;y\na.png;1;2\n", "points.csv: expected a header with image,x,y"),
    ("points.csv", "image,x,y\n", "points.csv: expected the points of a.png, found none"),
    ("points.csv", "image,x,y\na.png,1,\n", "points.csv: line 2: expected numbers"),
    ("points.csv", "image,x,y\na.png,1,2\na.png,one,2\n", "points.csv: line 3: expected numbers"),
    ("points.csv", "image,x,y\na.png,1\n", "points.csv: line 2: expected numbers"),
    ("points.csv", "image,x,y\na.png,1,2\na.png\n", "points.csv: line 3: expected numbers x,y or both empty; found None,None"),
    ("points.csv", "image,x,y\na.png,1_0,2\n", "points.csv: line 2: expected numbers x,y or both empty; found 1_0,2"),
    ("points.json", '{"a.png": [[1, 2], [true, 1.5]]}', "points.json: a.png: expected points as numbers .*, found true"),
    ("heads.txt", "", "expected one points.json or points.csv, found none"),
])
def test_a_wrong_table_is_named(tmp_path, table, text, message):
    with pytest.raises(UserError, match=message):
        own_images(tmp_path, ["a.png"], table, text).items("train")


@pytest.mark.parametrize("wrong", ['[["x", 1]]', "[[1, 2, 3]]", "[[NaN, 1]]", "[[1], [1, 2]]", '[["1", "2"]]',
                                   "[[true, false]]", f"[[1, {10**400}]]"])
def test_points_that_are_none_are_named(tmp_path, wrong):
    dataset = own_images(tmp_path, ["a.png"], "points.json", f'{{"a.png": {wrong}}}')
    with pytest.raises(UserError, match="points.json: a.png: expected .*points"):
        dataset.points(only_item(dataset))


@pytest.mark.parametrize("name", ["a\nb.png", 150 * "a" + ".png"])
def test_a_name_that_no_record_can_hold_is_refused_before_anything_is_trained(tmp_path, name):
    dataset = own_images(tmp_path, [name], "points.json", "{}")
    with pytest.raises(UserError, match="expected a name of at most 150 printable characters") as error:
        dataset.items("train")
    assert "\n" not in str(error.value)


def test_two_tables_or_no_images_are_refused(tmp_path):
    dataset = own_images(tmp_path, [], "points.json", "{}")
    with pytest.raises(UserError, match="expected images"):
        dataset.items("train")
    own_images(tmp_path, ["a.png"], "points.csv", "image,x,y\n")
    with pytest.raises(UserError, match="found points.csv and points.json"):
        dataset.items("train")


def test_a_changed_table_is_read_again(tmp_path):
    dataset = own_images(tmp_path, ["a.png"], "points.json", '{"a.png": []}')
    assert len(dataset.points(only_item(dataset))) == 0
    own_images(tmp_path, ["a.png"], "points.json", '{"a.png": [[1, 2]]}')
    assert len(dataset.points(only_item(dataset))) == 1


@pytest.mark.parametrize("part, split, images, people", [
    ("A", "train", 300, 162_413), ("B", "train", 400, 49_151), ("B", "test", 316, 39_121),
])
def test_the_real_shanghaitech(real_data, part, split, images, people):
    dataset = ShanghaiTech(root=real_data, part=part)
    items = dataset.items(split)
    assert len(items) == images
    assert sum(len(dataset.points(item)) for item in items) == people
    if part == "B":
        assert {Image.open(item.image).size for item in items} == {(1024, 768)}


# Drawn scenes.

def test_scenes_that_are_drawn_again_are_the_same_bytes(tmp_path, monkeypatch):
    def prints(root, year):
        monkeypatch.setattr("time.asctime", lambda *_: f"Tue Jan  1 00:00:00 {year}")
        drawn = build("dataset", "synthetic", {"root": root, "train": 3, "test": 2, "height": 40, "width": 40})
        return [fingerprint(drawn.items(split)) for split in ("train", "test")]

    first, second = prints(tmp_path / "one", 2025), prints(tmp_path / "two", 2026)
    assert first == second and len(set(first)) == 2


def test_annotations_that_threads_write_at_once_have_the_bytes_of_each_alone(monkeypatch):
    """The writers of scipy share a buffer. Scenes are drawn by threads, and their hash is that of their bytes."""
    points = [np.zeros((number, 2), np.float32) for number in (1, 40, 80, 120)]
    alone = [mat_file(each, b"text") for each in points]
    write_bytes = VarWriter5.write_bytes

    def after_a_pause(*arguments):
        time.sleep(1e-4)  # another thread may run between filling the buffer and writing it
        write_bytes(*arguments)

    monkeypatch.setattr(VarWriter5, "write_bytes", after_a_pause)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda each: mat_file(each, b"text"), points)) == alone
