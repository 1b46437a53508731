"""`crowdbench data get`: where a dataset comes from, and its archives unpacked and counted."""

import zipfile

import pytest
from PIL import Image
from scipy.io import savemat

from benchmark.cli import main
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.data.datasets.ucf_cc_50 import UcfCc50
from benchmark.registry import find, names


@pytest.fixture
def archive(tmp_path):
    """UCF-CC-50 with black images, zipped."""
    Image.new("L", (64, 48)).save(tmp_path / "image.jpg")
    savemat(tmp_path / "points.mat", {"annPoints": [[1.0, 2.0], [3.0, 4.0]]})
    path = tmp_path / "UCF_CC_50.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1, 51):
            archive.write(tmp_path / "image.jpg", f"UCF_CC_50/{number}.jpg")
            archive.write(tmp_path / "points.mat", f"UCF_CC_50/{number}_ann.mat")
    return path


@pytest.mark.parametrize("name", names("dataset"))
def test_without_an_archive_the_facts_are_told(capsys, name):
    assert main(["data", "get", name]) == 0
    told, dataset = capsys.readouterr().out, find("dataset", name)
    assert dataset.where in told and dataset.licence in told and f" {name} " in told.splitlines()[-1]
    assert bool(dataset.licence) == bool(dataset.published)
    assert ("get" in told.splitlines()[-1]) == (bool(dataset.licence) and not dataset.unpacked_by_hand)
    for published in dataset.published:
        assert f"{published.images['train']} in train, {published.images['test']} in test" in told


def test_archives_are_unpacked_and_counted(capsys, tmp_path, archive):
    folder = tmp_path / "data"
    assert main(["data", "get", "ucf_cc_50", str(archive), "--to", str(folder)]) == 0
    told = capsys.readouterr().out
    assert told.splitlines() == [f"unpacked into {folder}", "train  40 images, as published",
                                 "test   10 images, as published"]
    assert main(["data", "check", "ucf_cc_50", "--root", str(folder), "--set", "fold=5"]) == 0
    assert "train  40 images, 64x48; 80 people" in capsys.readouterr().out


def test_other_numbers_than_the_papers_end_with_code_1(capsys, tmp_path, archive, monkeypatch):
    published = UcfCc50.published[0]._replace(images={"train": 41, "test": 10})
    monkeypatch.setattr(UcfCc50, "published", (published,))
    assert main(["data", "get", "ucf_cc_50", str(archive), "--to", str(tmp_path / "data")]) == 1
    assert "train  40 images, expected 41\ntest   10 images, as published" in capsys.readouterr().out
    assert (tmp_path / "data/UCF_CC_50/1.jpg").is_file()  # what is missing can be added


def test_an_archive_of_something_else_is_told_for_each_part(capsys, tmp_path, archive):
    assert main(["data", "get", "shanghaitech", str(archive), "--to", str(tmp_path / "data")]) == 1
    told = capsys.readouterr().out
    assert "part=A train  not usable: " in told and "part=B test   not usable: " in told
    assert len(told.splitlines()) == 1 + 2 * len(ShanghaiTech.published)


@pytest.mark.parametrize("words, told", [
    (["nwpu-crowd"], "unknown dataset 'nwpu-crowd': did you mean 'nwpu_crowd'"),
    (["jhu_crowd", "a.zip"], "expected the archives that were downloaded and --to FOLDER"),
    (["jhu_crowd", "--to", "data"], "expected the archives that were downloaded and --to FOLDER"),
    (["jhu_crowd", "a.zip", "--to", "data"], "a.zip: expected a file, found no such file"),
    (["synthetic", "a.zip", "--to", "data"], "dataset synthetic: it has no archive; it is drawn"),
    (["folder", "a.zip", "--to", "data"], "dataset folder: it has no archive; put images"),
    (["jhu_crowd", "a.zip", "--to", "."], "--to .: expected a new or empty folder")])
def test_a_wrong_request_is_one_line(capsys, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").write_text("")
    assert main(["data", "get", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and told in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]
