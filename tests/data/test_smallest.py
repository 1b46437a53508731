"""Small images: told by `data check` and before training, with the smallest size, and harmless in training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.cli import main
from benchmark.data.batches import Batch
from benchmark.data.check import check
from benchmark.data.datasets.folder import Folder
from benchmark.data.scene import Scene
from benchmark.data.smallest import describe_small, smallest_for_all, smallest_side
from benchmark.registry import build, find, names

SMALL = [(1, 1), (7, 7), (1, 200), (16, 16)]  # (H, W)
SETTINGS = {"clip_ebc": {"weights": "scratch", "clip": "tiny"}, "tiny": {}, "mcnn": {}}


def a_dataset(root, *sizes, **settings):
    """Images a0.png, a1.png, ... of these sizes (W, H) in both splits, each with a head."""
    for split in ("train", "test"):
        (root / split).mkdir()
        for number, size in enumerate(sizes):
            noise = np.random.default_rng(number).integers(0, 256, size[::-1], dtype=np.uint8)
            Image.fromarray(noise).save(root / split / f"a{number}.png")
        (root / split / "points.json").write_text(json.dumps({f"a{number}.png": [[0, 0]] for number in range(len(sizes))}))
    return Folder(root=root, **settings)


@pytest.mark.parametrize("size, settings, told", [
    ((7, 7), {}, "7x7"), ((1, 400), {}, "1x400"), ((400, 31), {}, "400x31"), ((4000, 40), {"max_side": 1000}, "1000x10"),
    ((32, 32), {}, None), ((64, 400), {"max_side": 200}, None)])
def test_data_check_names_a_small_image(tmp_path, size, settings, told):
    report = check(a_dataset(tmp_path, (64, 48), size, **settings))
    assert report.splits["train"].small == ({"a1.png": told} if told else {}) and report.ok == (not told)
    line = f"train  too small: a1.png is read as {told} pixels; expected at least 32x32, which suits every counter"
    assert (line in report.text()) == bool(told)


def test_the_smallest_side_is_two_squares_of_the_coarsest_map():
    assert {name: smallest_side(name) for name in ("mcnn", "tiny", "sfanet")} == {"mcnn": 8, "tiny": 16, "sfanet": 32}
    assert smallest_for_all() == 32 and all(smallest_side(name) == 2 * find("model", name).multiple
                                            for name in names("model"))


@pytest.mark.parametrize("size, crop, told", [
    ((16, 16), None, False), ((15, 400), None, True), ((400, 15), 100, True), ((16, 16), 0.5, True),
    ((32, 33), 0.5, False), ((31, 400), 0.5, True)])
def test_an_image_is_small_for_a_counter_as_it_is_trained_on(tmp_path, size, crop, told):
    line = describe_small({tmp_path / "a.png": (64, 64), tmp_path / "b.png": size}, "tiny", crop)
    assert (line is not None) == told
    if told:
        assert line.startswith(f"{tmp_path}/b.png: read as {size[0]}x{size[1]} pixels: too small for tiny, which takes "
                               "at least 16x16")
        assert ("in crops of 0.5 of each side" in line) == (crop == 0.5)


def test_several_small_images_take_one_line(tmp_path):
    sizes = {tmp_path / f"{number}.png": (7, 7) for number in range(5)}
    assert "0.png: read as 7x7 pixels (and 4 more like it): too small" in describe_small(sizes, "tiny")


@pytest.mark.parametrize("more", [["--dry-run"], ["--dry-run", "--set", "scale=0.25"], []])
def test_a_run_names_small_images_before_it_trains_and_goes_on(tmp_path, monkeypatch, capsys, more):
    monkeypatch.chdir(tmp_path)
    a_dataset(tmp_path, *[(96, 64)] * 7, (7, 7), (1, 400))
    run = ["run", "quick", "--data", "folder", "--set", f"data.root={tmp_path}", "--attack", "none", "--defense", "none",
           "--set", "training.epochs=1", "--set", "training.batch_size=2", "--out", "out"]
    assert main([*run, *more]) == 0
    told = capsys.readouterr().err
    size = "2x2" if "scale=0.25" in more else "7x7"
    for split in ("test", "train"):
        line = f"{tmp_path}/{split}/a7.png: read as {size} pixels (and 1 more like it): too small for tiny, which takes " \
               "at least 16x16; it is padded, and better left out"
        assert told.count(line) == 1 and ("img/s" not in told.split(line)[0].replace("read folder", ""))


@pytest.mark.parametrize("model", ["tiny", "mcnn", "squeeze", "can", "sfanet", "clip_ebc"])
def test_a_counter_is_trained_on_an_image_of_any_size_alone_in_its_batch(model):
    counter = build("model", model, SETTINGS.get(model, {"weights": "scratch"}))
    for size in SMALL:
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        scene = Scene("a", image, np.float32([[size[1] / 2, size[0] / 2]]), None)
        batch = Batch.of([scene], torch.device("cpu"))
        counter.prepare([scene])
        counter.train().zero_grad()
        loss = counter.loss(batch).mean()
        loss.backward()
        gradients = [parameter.grad for parameter in counter.parameters() if parameter.grad is not None]
        assert torch.isfinite(loss) and all(torch.isfinite(gradient).all() for gradient in gradients)
        blocks = [-(-side // counter.stride) for side in size]
        assert list(counter(batch.images).shape[-2:]) == list(counter.eval()(batch.images).shape[-2:]) == blocks
