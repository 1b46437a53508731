"""Image files: large ones within a limit that can be set, no warnings, and nothing but regular files."""

import os
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from benchmark.data import image_files
from benchmark.data.check import check
from benchmark.data.datasets.folder import Folder
from benchmark.data.image_files import decode, image_size
from benchmark.data.splits import fingerprint
from benchmark.utils.errors import UserError
from benchmark.utils.shared_context import SharedContext

SPECIAL = {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: os.symlink("/dev/zero", path),
           "link to nothing": lambda path: os.symlink("nowhere", path),
           "socket": lambda path: socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))}


def a_dataset(root, **images):
    """A train and a test split that each hold the images, without people."""
    for split in ("train", "test"):
        (root / split).mkdir()
        for name, image in images.items():
            image.save(root / split / f"{name}.png")
        (root / split / "points.csv").write_text("image,x,y\n" + "".join(f"{name}.png,,\n" for name in images))
    return Folder(root=root)


# The limit of pixels.

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size, pillows", [((120, 100), 10_000), ((300, 200), 10_000)])  # it warns; it refuses
def test_an_image_beyond_pillows_limit_is_read_at_max_side(tmp_path, monkeypatch, size, pillows):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    Image.new("L", size, 90).save(tmp_path / "a.png")
    pixels, factor = decode(tmp_path / "a.png", 1.0, 60)
    assert pixels.shape == (60 * size[1] // size[0], 60, 3) and (pixels == 90).all() and factor == 60 / size[0]
    assert image_size(tmp_path / "a.png", 1.0, None) == size and Image.MAX_IMAGE_PIXELS == pillows


@pytest.mark.parametrize("read", [lambda path: decode(path, 0.1, 10), lambda path: image_size(path, 1.0, None)])
def test_the_limit_of_pixels_can_be_set(tmp_path, monkeypatch, read):
    Image.new("L", (100, 80)).save(tmp_path / "a.png")
    monkeypatch.setenv("CROWD_MAX_PIXELS", "7999")
    with pytest.raises(UserError, match="a.png: 100x80 are 8,000 pixels; expected at most 7,999, or a higher "
                                        "limit in the environment variable CROWD_MAX_PIXELS"):
        read(tmp_path / "a.png")
    monkeypatch.setenv("CROWD_MAX_PIXELS", "8000")
    read(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1)])
def test_sides_that_no_jpeg_can_have_are_refused_from_the_header(tmp_path, size):
    Image.new("1", size).save(tmp_path / "a.png")
    for read in (lambda path: decode(path, 1.0, None), lambda path: image_size(path, 1.0, None)):
        with pytest.raises(UserError, match=f"a.png: {size[0]}x{size[1]} pixels; expected sides of at most 65,535"):
            read(tmp_path / "a.png")


def test_images_of_182_million_pixels_are_within_the_usual_limit(monkeypatch):
    monkeypatch.delenv("CROWD_MAX_PIXELS", raising=False)
    assert image_files.pixel_limit() > 14_000 * 13_000


@pytest.mark.parametrize("limit", ["0", "-1", "1e9", "many", "1 000", "٣", "9" * 5000])
def test_a_limit_that_is_no_number_is_told_once(tmp_path, monkeypatch, limit):
    monkeypatch.setenv("CROWD_MAX_PIXELS", limit)
    with pytest.raises(UserError, match="environment variable CROWD_MAX_PIXELS = .*: expected a number") as caught:
        check(a_dataset(tmp_path, a=Image.new("RGB", (64, 48)), b=Image.new("RGB", (64, 48))))
    assert len(str(caught.value)) < 350


def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "LARGE", 10)
    decoding, most = [], []
    resized = image_files._resized

    def watched(*arguments):
        decoding.append(1)
        most.append(len(decoding))
        try:
            return resized(*arguments)
        finally:
            decoding.pop()

    monkeypatch.setattr(image_files, "_resized", watched)
    Image.new("L", (400, 300)).save(tmp_path / "a.png")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode(tmp_path / "a.png", 0.5, None), range(24)))
    assert max(most) == 1


# Warnings.

def test_what_pillow_warns_of_is_read_without_a_warning(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\xff\xff\0\x06"  # cut short
    Image.new("RGB", (64, 48)).save(tmp_path / "exif.jpg", exif=exif)
    Image.new("P", (64, 48)).save(tmp_path / "palette.png", transparency=b"\0\1")
    with warnings.catch_warnings(action="error"):
        for name in ("exif.jpg", "palette.png"):
            assert decode(tmp_path / name, 1.0, None)[0].shape == (48, 64, 3)


def test_reading_in_threads_leaves_pillow_and_the_filters_of_warnings_as_they_were(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode(tmp_path / "a.png", 1.0, None), range(200)))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_a_shared_context_is_left_with_the_last_of_those_that_entered_it():
    events = []

    class Noted:
        def __enter__(self):
            events.append("in")

        def __exit__(self, *_):
            events.append("out")

    shared = SharedContext(Noted)
    shared.__enter__()
    with pytest.raises(ZeroDivisionError), shared:
        1 / 0
    assert events == ["in"]
    shared.__exit__()
    with shared:
        assert events == ["in", "out", "in"]
    assert events == ["in", "out"] * 2


# What is no image.

@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    dataset = a_dataset(tmp_path, a=Image.new("RGB", (64, 48)), b=Image.new("RGB", (64, 48)))
    for path in (tmp_path / "train/a.png", tmp_path / "test/points.csv"):
        path.unlink()
        SPECIAL[kind](path)
    told = f"expected a file, found a {kind}"
    report = check(dataset)
    assert report.splits["train"].unreadable == [f"{tmp_path}/train/a.png: {told}"] and report.splits["train"].images == 1
    assert report.splits["test"].missing == f"{tmp_path}/test/points.csv: {told}" and not report.ok
    for read in (lambda: fingerprint(dataset.items("train")), lambda: decode(tmp_path / "train/a.png", 1.0, None)):
        with pytest.raises(UserError, match=f"a.png: {told}"):
            read()


def test_a_file_without_end_is_refused_before_it_is_hashed(tmp_path):
    dataset = a_dataset(tmp_path, a=Image.new("RGB", (64, 48)))
    with (tmp_path / "train/a.png").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="a.png: 1.1 TB; expected a file of at most 2.0 GB"):
        fingerprint(dataset.items("train"))
    with (tmp_path / "train/points.csv").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="points.csv: 1.1 TB; expected a file of at most 200.0 MB"):
        dataset.items("train")


def test_postscript_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("it was run"))
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 64\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="a.jpg: expected an image, found PostScript"):
        decode(tmp_path / "a.jpg", 1.0, None)


def test_the_size_is_that_of_the_decoded_image(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(30):
        width, height = (int(side) for side in rng.integers(1, 90, 2))
        scale, max_side = float(rng.uniform(0.05, 1)), int(rng.integers(1, 90))
        Image.new("L", (width, height)).save(tmp_path / f"{number}.jpg")
        pixels, _ = decode(tmp_path / f"{number}.jpg", scale, max_side)
        assert image_size(tmp_path / f"{number}.jpg", scale, max_side) == pixels.shape[1::-1]
