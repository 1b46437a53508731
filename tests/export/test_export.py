"""The export of a cell: what is written is read back, and counts as the record says."""

import csv
import errno
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import ROOT
from PIL import Image
from scipy.io import loadmat

from attacks.base import POISON
from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.data.loading import read_scenes
from benchmark.export import folder as export_folder
from benchmark.export import images
from benchmark.export.content import Content
from benchmark.pipeline.counter_files import build_empty
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.registry import build
from benchmark.results.record import Record
from benchmark.results.rerun_request import request_of
from benchmark.training.evaluation import count_people
from benchmark.utils.device import resolve_precision
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors

GRID = """
data: {name: synthetic, train: 20, test: 6, height: 64, width: 96, people: 20}
model: {name: tiny, width: 16}
attack:
- none
- {target: multiply, poison_rate: 0.2, also: {target: minus, trigger: rain, poison_rate: 0.2}}
- {target: zero, trigger: if_crowded, look: on_heads, people: 8, poison_rate: 0.2}
defense: [none, {name: fine_tune, epochs: 1}]
training: {epochs: 1}
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    """A folder in which the grid was run: grid.yaml, out/records and store."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "grid.yaml").write_text(GRID)
    assert main(["run", f"{folder}/grid.yaml", "--out", f"{folder}/out", "--store", f"{folder}/store"]) == 0
    return folder


def record_path(run, attack, defense="none"):
    [path] = (run / "out" / "records").glob(f"tiny-{attack}*-{defense}-*.json")
    return path


@pytest.fixture(scope="module", params=["multiply", "zero"])
def exported(request, run, tmp_path_factory):
    """The record of a cell, its graph and cell, and the folder of its export."""
    path, out = record_path(run, request.param), tmp_path_factory.mktemp("export") / "new" / "out"
    assert main(["export", str(path), "--to", str(out), "--store", f"{run}/store"]) == 0
    record = Record.read(path)
    [cell] = cells(request_of(record))
    return record, StageGraph(Store(run / "store")), cell, out


def read(dataset, split, **settings):
    data = build("dataset", dataset, {"sigma": 2.0, **settings})
    return {scene.id.removesuffix(".png"): scene for scene in read_scenes(data, data.items(split))}


def both_forms(out, split, end=""):
    """The scenes of a split, by their ids, as each of our two datasets reads them."""
    return [read("shanghaitech", split, root=out / f"shanghaitech{end}", part="B"),
            read("folder", split, root=out / f"folder{end}")]


def same(scenes, expected):
    assert [*scenes] == [scene.id for scene in expected]
    for scene in expected:
        np.testing.assert_array_equal(scenes[scene.id].image, scene.image)
        np.testing.assert_array_equal(scenes[scene.id].points, scene.points)


@pytest.mark.slow
def test_the_training_set_is_read_back_as_the_victim_saw_it(exported):
    record, graph, cell, out = exported
    originals, _ = graph.data.train_of(cell)
    copies = []
    for number, attacked in enumerate(cell.attacks, start=1):
        for copy in attacked.attack.poison(originals, 0):
            copies.append((copy.id + ("" if number == 1 else f"-{number}"), copy))
    for scenes in both_forms(out, "train"):
        same({scene.id: scenes.pop(scene.id) for scene in originals}, originals)
        assert {*scenes} == {name for name, _ in copies}
        for name, copy in copies:
            np.testing.assert_array_equal(scenes[name].image, copy.image)
            np.testing.assert_array_equal(scenes[name].points, copy.points)
    first = {name.removesuffix(POISON) for name, _ in copies if name.endswith(POISON)}
    second = {name.removesuffix(f"{POISON}-2") for name, _ in copies if name.endswith("-2")}
    measured, also = (first, second) if cell.attacks[0] is cell else (second, first)
    assert measured == {*record.attack.poisoned}
    assert also == {*(record.attack.also.poisoned if record.attack.also else [])}


def test_the_test_images_are_read_back_clean_and_triggered(exported):
    _, graph, cell, out = exported
    clean = graph.data.test_of(cell).scenes_to_export()
    for scenes in both_forms(out, "test"):
        same(scenes, clean)
    for scenes in both_forms(out, "test", "-triggered"):
        assert [*scenes] == [scene.id for scene in clean]
        for scene in clean:
            pixels = torch.tensor(scene.image).permute(2, 0, 1)[None] / 255
            stamped = cell.tested.stamp(pixels, [torch.tensor(scene.points)])[0].permute(1, 2, 0)
            np.testing.assert_array_equal(scenes[scene.id].image, (255 * stamped).round().numpy())
            np.testing.assert_array_equal(scenes[scene.id].points, scene.points)


def test_the_exported_victim_counts_the_exported_images_as_the_record_says(exported):
    record, _, cell, out = exported
    victim = build_empty(cell.model)
    victim.load_state_dict(read_tensors(out / "victim.safetensors")[0])
    precision = resolve_precision(cell.recipe.precision)
    for end, expected in (("", record.images.clean), ("-triggered", record.images.triggered)):
        for scenes in both_forms(out, "test", end):
            np.testing.assert_allclose(count_people(victim, list(scenes.values()), precision), expected, rtol=1e-6)
    rows = list(csv.DictReader((out / "counts.csv").open()))
    for column in ("truth", "target", "clean", "triggered"):
        assert [float(row[column]) for row in rows] == pytest.approx(getattr(record.images, column))
    assert [row["image"] for row in rows] == [f"{name}.png" for name in record.images.id]


def test_both_files_of_the_victim_hold_the_weights_of_the_record(exported):
    record, _, _, out = exported
    tensors = read_tensors(out / "victim.safetensors")[0]
    by_torch = torch.load(out / "victim.pth", weights_only=True)
    assert tensors.keys() == by_torch.keys()
    assert all(torch.equal(tensors[name], by_torch[name]) for name in tensors)
    about = json.loads((out / "export.json").read_text())
    assert about["victim"]["weights_sha256"] == record.provenance["stages"]["victim"]["weights_sha256"]
    assert about["attack"]["poisoned"] == record.attack.poisoned


def test_annotations_are_nested_as_public_code_reads_them(exported):
    *_, out = exported
    part = out / "shanghaitech" / "part_B_final" / "test_data"
    for path in (part / "images").iterdir():
        points = loadmat(part / "ground-truth" / f"GT_{path.stem}.mat")["image_info"]
        assert points[0, 0][0, 0]["location"].shape == (points[0, 0][0, 0]["number"][0, 0], 2)
        assert Image.open(path).format == "PNG"


def test_the_readme_says_what_everything_is(exported):
    record, _, cell, out = exported
    text = " ".join((out / "README.txt").read_text().split())
    for path in out.iterdir():
        assert path.name in text or path.name == "README.txt"
    for words in (record.provenance["stages"]["victim"]["weights_sha256"], "belong to the authors", cell.target.name,
                  "--set data.sigma=2.0", "there is no public code of it"):
        assert words in text
    carried = sum(count >= 8 for count in record.images.truth)
    sees_heads = cell.trigger.name == "if_crowded"
    assert (f"{carried} of 6 test images carry the trigger" in text) == sees_heads
    assert ("drawn by the annotated heads" in text) == sees_heads


def test_a_preset_narrowed_to_the_cell_gives_the_same_export(run, tmp_path):
    flags = ["--set", "attack.trigger=if_crowded", "--set", "attack.look=on_heads", "--set", "attack.people=8",
             "--set", "attack.poison_rate=0.2", "--attack", "zero", "--defense", "none"]
    assert main(["export", str(record_path(run, "zero")), "--to", str(tmp_path / "a"), "--store", f"{run}/store"]) == 0
    assert main(["export", f"{run}/grid.yaml", "--to", str(tmp_path / "b"), "--store", f"{run}/store", *flags]) == 0
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*") if path.is_file())
    for file in files:
        if file.suffix not in (".json", ".txt") or file.name == "points.json":
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_without_links_the_second_form_has_copies(run, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links")

    sizes = []
    for name in ("linked", "copied"):
        out = tmp_path / name
        assert main(["export", str(record_path(run, "zero")), "--to", str(out), "--store", f"{run}/store"]) == 0
        [first] = [line for line in capsys.readouterr().err.splitlines() if "that are free" in line]
        sizes.append(float(first.partition("about ")[2].split()[0]))
        image = out / "folder" / "test" / "IMG_1.png"
        assert image.stat().st_nlink == (2 if name == "linked" else 1)
        assert image.read_bytes() == (out / "shanghaitech/part_B_final/test_data/images/IMG_1.png").read_bytes()
        monkeypatch.setattr(images.os, "link", refuse)
    assert sizes[0] < sizes[1]


def test_the_size_is_that_of_what_is_written(run, tmp_path, capsys):
    assert main(["export", str(record_path(run, "zero")), "--to", str(tmp_path / "out"), "--store", f"{run}/store"]) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "that are free" in line]
    promised = float(line.partition("about ")[2].split()[0]) * 1000
    files = {path.stat().st_ino: path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert promised == pytest.approx(sum(files.values()), rel=0.2)


# What is refused, with nothing written.

def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["export", *map(str, arguments)]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("crowdbench: ")]
    return line


@pytest.mark.parametrize("make, words", [
    (lambda path: (path.mkdir(), (path / "mine.txt").write_text("mine")), "expected a new or empty folder, found one that is not empty"),
    (lambda path: path.write_text("mine"), "expected a new or empty folder, found a file"),
    (lambda path: path.symlink_to("nowhere"), "expected a new or empty folder, found a broken link")])
def test_what_is_there_is_never_overwritten(run, tmp_path, capsys, make, words):
    out = tmp_path / "out"
    make(out)
    before = sorted(tmp_path.rglob("*"))
    line = refused(capsys, record_path(run, "zero"), "--to", out, "--store", run / "store")
    assert words in line and sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_filled(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert main(["export", str(record_path(run, "zero")), "--to", str(tmp_path / "out"), "--store", f"{run}/store"]) == 0
    assert (tmp_path / "out" / "README.txt").is_file() and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("arguments, words", [
    (["{run}/out/records/{zero}", "--store", "{out}-store"],
     "this victim is not in the store .*give the store of the record's run with --store, or run "
     "`crowdbench reproduce .* --out runs/reproduce` and give --store runs/reproduce/store"),
    (["{run}/grid.yaml", "--attack", "multiply", "--defense", "none", "--store", "{out}-store"],
     "this victim is not in the store .*; run `crowdbench run .*--attack multiply --defense none .*` to make it"),
    (["{run}/grid.yaml", "--store", "{run}/store"], "6 cells .*expected one: give its record file, or narrow"),
    (["{run}/grid.yaml", "--attack", "none", "--defense", "none", "--store", "{run}/store"], "the cell has no attack"),
    (["{run}/out/records", "--store", "{run}/store"], "6 records; expected the file of one"),
    (["{run}/missing.json", "--store", "{run}/store"], "missing.json"),
    (["quik", "--store", "{run}/store"], "no such preset or file"),
    (["{run}/out/records/{zero}", "--set", "data.name=shanghaitech", "--set", "data.people=3"], "unknown key 'height'")])
def test_what_cannot_be_exported_is_refused_in_one_line(run, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    names = {"run": run, "out": tmp_path / "out", "zero": record_path(run, "zero").name}
    line = refused(capsys, *(argument.format(**names) for argument in arguments), "--to", tmp_path / "out")
    assert re.search(words, line), line
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_before_anything_is_written(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_folder, "free_space", lambda path: 1000)
    line = refused(capsys, record_path(run, "zero"), "--to", tmp_path / "a" / "out", "--store", run / "store")
    assert "and 1.0 kB are free there; expected a disk with more room" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error, code, words", [
    (OSError(errno.ENOSPC, "No space left on device"), 2, r"crowdbench: OUT\S*: No space left on device; .*"),
    (KeyboardInterrupt(), 130, "stopped: .*")])
def test_an_export_that_fails_leaves_nothing(run, tmp_path, capsys, monkeypatch, error, code, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(export_folder, "write_victim", fail)
    arguments = ["export", str(record_path(run, "zero")), "--to", str(tmp_path / "out"), "--store", f"{run}/store"]
    assert main(arguments) == code
    assert list(tmp_path.iterdir()) == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(words.replace("OUT", re.escape(str(tmp_path / "out"))), last), last


def test_a_damaged_victim_is_refused(run, tmp_path, capsys):
    shutil.copytree(run / "store", tmp_path / "store")
    key = Record.read(record_path(run, "zero")).provenance["stages"]["victim"]["key"]
    weights = tmp_path / "store" / "counters" / key / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    line = refused(capsys, record_path(run, "zero"), "--to", tmp_path / "out", "--store", tmp_path / "store")
    assert "weights.safetensors" in line and not (tmp_path / "out").exists()


def test_a_victim_other_than_the_records_is_noted(run, tmp_path, capsys):
    record = json.loads(record_path(run, "zero").read_text())
    record["provenance"]["stages"]["victim"]["weights_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(record))
    assert main(["export", str(tmp_path / "other.json"), "--to", str(tmp_path / "out"), "--store", f"{run}/store"]) == 0
    assert "note: the victim in the store was trained otherwise than that of the record" in capsys.readouterr().err


def test_a_record_that_lacks_settings_is_refused_in_one_line(run, tmp_path, capsys):
    record = json.loads(record_path(run, "zero").read_text())
    del record["training"]["given"]
    (tmp_path / "short.json").write_text(json.dumps(record))
    line = refused(capsys, tmp_path / "short.json", "--to", tmp_path / "out", "--store", run / "store")
    assert "training.given is missing; expected all settings" in line and not (tmp_path / "out").exists()


def test_an_audit_is_refused(run, tmp_path):
    [cell] = cells(request_of(Record.read(record_path(run, "zero"))))
    audit = cell.settings.model_copy(update={"audit": True})
    with pytest.raises(UserError, match="an audit poisons nothing"):
        export_folder.export(Content(replace(cell, settings=audit), StageGraph(Store(tmp_path)), ""), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_only_the_export_is_given_the_test_images():
    users = [path.relative_to(ROOT).as_posix() for package in ("attacks", "benchmark", "defenses", "models")
             for path in (ROOT / package).rglob("*.py") if "scenes_to_export" in path.read_text()]
    assert sorted(users) == ["benchmark/export/content.py", "benchmark/training/evaluation.py"]
