"""`crowdbench data check`: what is there, and what is broken."""

import json

import pytest
from cli_cases import SCENES, flags
from PIL import Image

from benchmark.cli import main
from benchmark.registry import build

pytestmark = pytest.mark.usefixtures("desk")


def test_a_data_check_counts_what_is_there(capsys, scenes):
    report = ["data", "check", "shanghaitech", "--root", str(scenes)]
    assert main(report) == 0
    assert "train  16 images, 96x64" in capsys.readouterr().out
    assert main([*report, "--json", "--set", "part=A"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["splits"]["train"]["images"], told["splits"]["test"]["images"]) == (4, 2)


def test_a_data_check_of_drawn_scenes_draws_them(capsys):
    drawn = build("dataset", "synthetic", SCENES)
    assert main(["data", "check", "synthetic", *flags(*(f"{key}={value}" for key, value in SCENES.items()))]) == 0
    told = capsys.readouterr().out
    people = sum(len(drawn.points(item)) for item in drawn.items("test"))
    assert f"8 images, 96x64; {people} people" in told


def test_a_data_check_goes_on_where_something_is_broken(capsys, scenes):
    Image.new("L", (5, 5)).save(scenes / "part_B_final/test_data/images/IMG_1.jpg")
    (scenes / "part_B_final/train_data/images/IMG_1.jpg").write_bytes(b"")
    assert main(["data", "check", "shanghaitech", "--root", str(scenes)]) == 1
    told = capsys.readouterr().out
    assert "train  15 images" in told and "IMG_1.jpg" in told and "outside" in told
