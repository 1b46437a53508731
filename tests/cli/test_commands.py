"""The command as its user meets it: what it prints, its exit code, and what it leaves on disk."""

import errno
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from factories import make_record
from PIL import Image

import benchmark
from benchmark import registry
from benchmark.cli import main
from benchmark.cli.options import SHORTCUTS
from benchmark.cli.show import LISTS
from benchmark.config.axes import expand
from benchmark.config.frozen_grids import frozen
from benchmark.config.request import PRESETS, load_request, preset_names
from benchmark.pipeline import dry_run
from benchmark.pipeline.dry_run import Plan
from benchmark.registry import PACKAGES, build, find, names, settings_of
from benchmark.results.record import Record
from benchmark.utils.device import device
from benchmark.utils.errors import LONGEST

SCENES = {"train": 16, "test": 8, "height": 64, "width": 96, "people": 20}
TINY = f"""
data: {{name: synthetic, {', '.join(f'{key}: {value}' for key, value in SCENES.items())}}}
model: {{name: tiny, width: 16}}
attack: [none, multiply]
defense: [none, {{name: fine_tune, epochs: 2}}]
training: {{epochs: 2}}
"""
CELLS = ["tiny clean none", "tiny clean fine_tune epochs=2", "tiny blended/multiply none",
         "tiny blended/multiply fine_tune epochs=2"]
STOPPED = "stopped: finished stages are kept, and the same command goes on from there"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache folder with the tiny scenes."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        build("dataset", "synthetic", SCENES).folder()
    return folder


@pytest.fixture(scope="session")
def grid(tmp_path_factory, cache):
    """A folder in which the tiny grid was run: tiny.yaml, out and store."""
    folder = tmp_path_factory.mktemp("grid")
    (folder / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        assert main(["run", f"{folder}/tiny.yaml", "--out", f"{folder}/out", "--store", f"{folder}/store"]) == 0
    return folder


@pytest.fixture
def scenes(cache, tmp_path):
    """A copy of the tiny scenes, in ShanghaiTech's layout."""
    [drawn] = cache.glob("crowdbench/synthetic-*")
    return Path(shutil.copytree(drawn, tmp_path / "scenes"))


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    """An empty working folder with tiny.yaml in it; nothing of the machine's own is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CROWD_DATA", raising=False)
    (tmp_path / "tiny.yaml").write_text(TINY)


def contents(folder):
    """Every file below a folder, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def results(folder="runs"):
    """Names of finished stages and records in a folder."""
    return [path.name for kind in ("counters", "counts", "records") for path in Path(folder).rglob(f"{kind}/[!.]*")]


def flags(*settings):
    return [part for setting in settings for part in ("--set", setting)]


def refused_at_once(capsys, arguments, *words):
    """The request is answered with exit code 2 and one line that has all the words, and nothing was begun."""
    before = contents(Path())
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("crowdbench: ") and told.err.count("\n") == 1
    assert [word for word in words if word not in told.err] == []
    assert contents(Path()) == before and not Path("runs").exists()


def failed_on_the_way(error, *words):
    """The last line tells what is wrong, no line before it does, and nothing is left half done."""
    *progress, last = error.splitlines()
    assert last.startswith("crowdbench: ") and [word for word in words if word not in last] == []
    assert "Traceback" not in error and not any("crowdbench" in line for line in progress)
    assert results() == []


# Wrong requests.

@pytest.mark.parametrize("setting, words", [
    ("attack.poison_rate=2", ["poison_rate = 2", "less than or equal to 1"]),
    ("attack.poison_rate=0", ["poison_rate = 0", "greater than 0"]),
    ("attack.poison_rate=abc", ["poison_rate = 'abc'", "number"]),
    ("attack.alpha=nan", ["alpha = 'nan'", "finite"]),
    ("attack.image=tiny.yaml", ["tiny.yaml", "not a readable image"]),
    ("attack.image=missing.png", ["missing.png", "not a readable image"]),
    ("training.lr=-1", ["training: lr = -1", "greater than 0"]),
    ("training.zoom_min=2", ["crowdbench: training: zoom_min = 2.0 is above zoom_max = 1.0\n"]),
    ("training.tracker=tensorbord", ["training.tracker = 'tensorbord'", "not installed or unknown"]),
    ("attack=mulitply", ["target 'mulitply'", "did you mean 'multiply'"]),
    ("attack.trigger=blened", ["trigger 'blened'", "did you mean 'blended'"]),
    ("model=tinny", ["model 'tinny'", "did you mean 'tiny'"]),
    ("defense=fine_tuen", ["defense 'fine_tuen'", "did you mean 'fine_tune'"]),
    ("data=syntetic", ["dataset 'syntetic'", "did you mean 'synthetic'"]),
    ("modle=tiny", ["unknown key 'modle'", "did you mean 'model'"]),
    ("training.epoch=1", ["training: unknown key 'epoch'", "did you mean 'epochs'"]),
    ("training.lr", ["--set 'training.lr'", "key=value"])])
def test_a_wrong_setting_is_refused_at_once(capsys, setting, words):
    refused_at_once(capsys, ["run", "tiny.yaml", "--set", setting], *words)


@pytest.mark.parametrize("arguments", [
    ["run", "{}"], ["run", "tiny.yaml", "--plugin", "{}"], ["run", "tiny.yaml", "--shard", "{}"], ["{}"],
    ["list", "{}"],
    ["run", "tiny.yaml", "--executor", "{}"], ["run", "tiny.yaml", "--set", "{}"],
    ["run", "tiny.yaml", "--set", "seed={}"],
    ["run", "tiny.yaml", "--set", "attack.image={}"], ["run", "tiny.yaml", "--model", "{}"],
    ["run", "tiny.yaml", "{}"],
    ["run", "tiny.yaml", "--{}"], ["show", "{}"], ["data", "check", "{}"], ["leaderboard", "{}"],
    ["new", "defense", "{}"]])
@pytest.mark.parametrize("text", ["x" * 3000, "a b " * 1000, "\x1b[31m " * 500])
def test_no_argument_is_repeated_in_full_length(capsys, arguments, text):
    given = [argument.format(text) for argument in arguments]
    assert main(given) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and len(line) < 1500 and line[:-1].isprintable()
    assert text[:LONGEST + 1] not in line and results() == []


@pytest.mark.parametrize("text, words", [
    ("seed: " + "[" * 3000, ["wrong.yaml", "line 1", "nested too deep"]),
    ("attack: &a [*a]\n", ["settings", "holds itself"]),
    ("seed: !!python/object/apply:os.mkdir [made]\n", ["wrong.yaml", "tag '!!python/object/apply:os.mkdir'"]),
    (f"seed: {[*range(3000)]}\neval_batch: {[*range(1, 3001)]}\n",
     ["9,000,000 cells (seed 3,000 x eval_batch 3,000)"])])
def test_settings_without_end_are_refused_at_once(capsys, text, words):
    Path("wrong.yaml").write_text(text)
    refused_at_once(capsys, ["run", "wrong.yaml"], *words)


def test_what_is_no_regular_file_is_refused_before_it_is_read(capsys):
    os.mkfifo("pipe.yaml")
    Path("folder.yaml").mkdir()
    refused_at_once(capsys, ["run", "pipe.yaml"], "pipe.yaml: expected a file, found a pipe")
    refused_at_once(capsys, ["run", "folder.yaml"], "folder.yaml: expected a file, found a folder")
    refused_at_once(capsys, ["run", "tiny.yaml", "--attack", "add", *flags("attack.choose=pipe.yaml")], "file of ids")


@pytest.mark.parametrize("text, words", [
    (b"IMG_2\nIMG_99\n", ["ids.txt: line 2: 'IMG_99' is not among the", "did you mean 'IMG_9'"]),
    (b"IMG_2 IMG_3", ["one id on each line"]),
    (b"", ["found none"]), (b"\xff\xfa", ["in UTF-8"]), (b"x" * 10**6, ["line 1: 'xxx", "one id on each line"])])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_list_of_ids_is_checked_before_anything_is_trained(capsys, cache, monkeypatch, text, words, more):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    Path("ids.txt").write_bytes(text)
    assert main(["run", "tiny.yaml", *flags("attack.choose=ids.txt"), *more]) == 2
    *progress, line = capsys.readouterr().err.splitlines()
    assert [word for word in ["attack.choose", *words] if word not in line] == [] and len(line) < 600
    assert not any("train" in one for one in progress) and not list(Path("runs").rglob("*.json"))


@pytest.mark.parametrize("text, words", [
    ("model: tiny\nsede: 0\n", ["unknown key 'sede'", "did you mean 'seed'"]),
    ("- tiny\n", ["wrong.yaml", "mapping"]),
    ("model: {name: tiny\n", ["wrong.yaml", "YAML", "line 2"]), ("model: {{a\n", ["wrong.yaml", "YAML", "line 2"])])
def test_a_wrong_file_is_refused_at_once(capsys, text, words):
    Path("wrong.yaml").write_text(text)
    refused_at_once(capsys, ["run", "wrong.yaml"], *words)


@pytest.mark.parametrize("arguments, words", [
    (["run", "quik"], ["'quik'", "did you mean 'quick'"]),
    (["run", "quick", "--seed", "10"], ["unrecognized arguments: --seed 10", "changed by --set seed=VALUE"]),
    (["run", "tiny.yaml", "--plugin", "missing.py"], ["missing.py", "existing .py file"]),
    (["run"], ["required: source", "run --help"]),
    (["rum"], ["'rum'", "run"]),
    (["list", "model"], ["'model'", "models"]),
    (["show", "blend"], ["'blend'", "did you mean 'blended'"]),
    (["show", "standart-quick"], ["no such component or preset", "did you mean 'standard-quick'"]),
    (["leaderboard", "missing.json"], ["missing.json"]),
    (["leaderboard", "tiny.yaml"], ["record tiny.yaml"]),
    (["leaderboard", "."], ["no record"]),
    (["ablation", "."], ["no record"]),
    (["ablation", "missing.json"], ["missing.json"]),
    (["figure"], ["required: FIGURE"]),
    (["figure", "trigers"], ["'trigers'", "triggers"]),
    (["figure", "triggers", "--out", "page"], ["--out page", ".md"]),
    (["figure", "maps", "quik"], ["'quik'", "did you mean 'quick'"]),
    (["figure", "maps", "tiny.yaml", "--defense", "fine_tuen"], ["'fine_tuen'", "did you mean 'fine_tune'"]),
    (["figure", "gradcam", "tiny.yaml", "--attack", "none"], ["no attack in this grid"]),
    (["speed", "--size", f"{5000 * '9'}x1"], ["--size", "expected WxH in pixels"]),
    (["run", "tiny.yaml", "--shard", f"1/{5000 * '9'}"], ["--shard", "expected I/N with I from 1 to N"]),
    (["run", "tiny.yaml", "--cpus", "3", "--dry-run"], ["--cpus: expected only with --executor ray"]),
    (["run", "tiny.yaml", "--executor", "ray", "--gpus", "-1"], ["--gpus", "expected a number of processors"]),
    (["run", "tiny.yaml", "--dry"], ["unrecognized arguments: --dry"]),
    (["run", ""], ["an argument: '' is empty; expected a value"]),
    (["run", "tiny.yaml", "--out", ""], ["--out: '' is empty; expected a value"]),
    (["data", "check", "shanghaitech", "--root="], ["--root: '' is empty; expected a value"]),
    (["figure", "growth", "tiny.yaml", "--out", ".."], ["--out: '..': expected a name that .png"]),
    (["figure", "growth", "tiny.yaml", "--out", "new/"], ["--out: 'new/': expected a name that .png"]),
    (["data", "check", "shanghai"], ["did you mean 'shanghaitech'"]),
    (["data", "check", "shanghaitech"], ["CROWD_DATA"]),
    (["data", "check", "shanghaitech", "--root", "nowhere"], ["root nowhere", "expected a folder"]),
    (["data", "check", "shanghaitech", "--set", "part=C"], ["part = 'C'", "'A' or 'B'"])])
def test_a_wrong_command_is_refused_at_once(capsys, arguments, words):
    refused_at_once(capsys, arguments, *words)


def test_fp16_on_a_cpu_is_refused_at_once(capsys):
    if device().type != "cpu":
        pytest.skip("this device has fp16")
    refused_at_once(capsys, ["run", "tiny.yaml", *flags("training.precision=fp16")], "precision = 'fp16'", "CPU")


def test_a_file_that_is_no_record_is_refused(capsys):
    Path("other.json").write_text('{"seed": 0}')
    refused_at_once(capsys, ["leaderboard", "other.json"], "record other.json", "variant")


# Wrong data.

@pytest.mark.parametrize("settings, words", [
    (["data=shanghaitech"], ["dataset shanghaitech", "CROWD_DATA"]),
    (["data=shanghaitech", "data.root=nowhere"], ["root nowhere", "expected a folder"]),
    (["data=shanghaitech", "data.root=."], ["expected a folder part_B_final"])])
def test_missing_data_is_refused_at_once(capsys, settings, words):
    refused_at_once(capsys, ["run", "tiny.yaml", *flags(*settings)], *words)


def on(scenes):
    """A run on a copy of the tiny scenes."""
    return ["run", "tiny.yaml", *flags("data=shanghaitech", f"data.root={scenes}")]


@pytest.mark.parametrize("lost, found, missing", [
    ("part_B_final/train_data/ground_truth/GT_IMG_3.mat", "IMG_3.jpg", "annotation"),
    ("part_B_final/test_data/images/IMG_2.jpg", "GT_IMG_2.mat", "image"),
    ("part_A_final/train_data/images/IMG_1.jpg", "GT_IMG_1.mat", "image")])
def test_an_image_or_annotation_that_stands_alone_is_refused_before_any_training(capsys, scenes, lost, found, missing):
    (scenes / lost).unlink()
    refused_at_once(capsys, on(scenes), found, f"expected an {missing}")


def test_images_that_a_defense_needs_are_missed_before_any_training(capsys, scenes):
    shutil.rmtree(scenes / "part_A_final")
    refused_at_once(capsys, on(scenes), "part_A_final")


def test_a_truncated_image_is_named(capsys, scenes):
    image = scenes / "part_B_final/train_data/images/IMG_3.jpg"
    image.write_bytes(image.read_bytes()[:1000])
    assert main(on(scenes)) == 2
    failed_on_the_way(capsys.readouterr().err, str(image), "truncated")


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors", "tiny.yaml"])
def test_weights_that_cannot_be_read_are_named(capsys, monkeypatch, cache, name, more):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert main(["run", "tiny.yaml", *flags("model=squeeze", f"model.weights={name}"), *more]) == 2
    failed_on_the_way(capsys.readouterr().err, name, "weights")


# Runs.

def test_a_run_writes_a_record_for_each_cell_and_the_tables(grid):
    records = [Record.read(path) for path in (grid / "out/records").iterdir()]
    attacks = [f"blended/{record.attack.target.name}" if record.attack else "clean" for record in records]
    told = [" ".join(["tiny", attack, record.defense.name, *(f"{k}={v}" for k, v in record.defense.given.items())])
            for attack, record in zip(attacks, records)]
    assert sorted(told) == sorted(CELLS)
    assert {len(record.images.id) for record in records} == {8}
    assert {path.suffix for path in (grid / "out/tables").iterdir()} == {".md", ".csv", ".parquet", ".tex", ".json"}
    assert not [path for path in contents(grid) if path.name.startswith(".") and path.suffix != ".lock"]


@pytest.fixture
def again(grid, cache, monkeypatch):
    """The run of the tiny grid once more."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.chdir(grid)
    return ["run", "tiny.yaml", "--store", "store"]


def test_a_second_run_does_nothing_again_and_prints_the_same(capsys, again, grid):
    before = contents(grid / "store") | contents(grid / "out/records")
    assert main([*again, "--out", "out"]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0] == "4 cells, 4 of them done before" and "img/s" not in told.err
    assert contents(grid / "store") | contents(grid / "out/records") == before
    assert main([*again, "--out", "out"]) == 0
    assert capsys.readouterr().out == told.out and "multiply" in told.out
    assert main(["leaderboard", "out/records"]) == 0
    assert capsys.readouterr().out.startswith("## Table 1.")


def test_a_run_answers_first_in_the_width_of_the_terminal_and_names_the_files(capsys, again, monkeypatch):
    for columns, width in ("40", 80), ("90", 90), ("500", 120):
        monkeypatch.setenv("COLUMNS", columns)
        assert main([*again, "--out", "out"]) == 0
        told = capsys.readouterr()
        assert max(map(len, told.out.splitlines())) <= width
    assert told.out.startswith("Summary\nWhat was run: tiny on synthetic, 8 test images, 1 seed for each row.\n")
    assert re.search(r"\ntiny, blended/multiply\n +none +\d\.\d\d .*\n +fine_tune +\d", told.out)
    assert re.search(r"\ntiny, fine_tune compared with none\n +blended/multiply .*(better|worse|tie)", told.out)
    assert re.search(r"\ntiny, fine_tune\n +none +1 +\d / \d / \d", told.out)
    assert "not run" not in told.out and "Table 1" not in told.out
    assert f"all tables: {Path('out/tables')}  page: {Path('out/leaderboard.html')}" in told.err.splitlines()[-1]


def test_the_leaderboard_is_for_a_terminal_where_stdout_is_one(capsys, grid, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["leaderboard", f"{grid}/out/records"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Summary\n") and max(map(len, out.splitlines())) <= 80


def test_another_out_folder_takes_what_is_trained_from_the_store(again, grid, tmp_path):
    before = contents(grid / "store")
    assert main([*again, "--out", str(tmp_path / "other")]) == 0
    assert contents(grid / "store") == before
    counted = [{Record.read(path).images.model_dump_json() for path in folder.glob("records/*")}
               for folder in (grid / "out", tmp_path / "other")]
    assert counted[0] == counted[1] and len(list(tmp_path.glob("other/records/*"))) == 4


def test_json_goes_alone_to_stdout(capsys, again):
    assert main([*again, "--out", "out", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 4 and {"tiny"} == {row["model"] for row in rows}
    assert main(["leaderboard", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows


def test_a_dry_run_tells_what_is_left_and_writes_nothing(capsys, again, tmp_path):
    assert main([*again, "--out", "out", "--dry-run"]) == 0
    finished = capsys.readouterr().out
    assert finished.count("done") == 4 and finished.count("nothing") == 4 and "4, 0 to do" in finished
    more = [*again, "--dry-run", "--json", "--out", str(tmp_path / "new/out"), "--store", str(tmp_path / "new/store")]
    assert main(more) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [row["to make"] for row in plan["cells"]] == [
        f"{counter}, counts" for counter in ("clean counter", "repair", "victim", "repair")]
    assert (plan["stages"], plan["stored"], plan["seconds"], plan["unmeasured"]) == (12, 0, None, ["tiny"])
    assert not (tmp_path / "new").exists()


def test_the_leaderboard_writes_the_tables_that_the_run_wrote(grid, tmp_path):
    assert main(["leaderboard", f"{grid}/out", "--out", str(tmp_path / "again")]) == 0
    first, second = ({path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
                     for folder in (grid / "out", tmp_path / "again"))
    assert first == second


def test_a_cell_that_fails_is_named_and_the_others_finish(capsys, again, grid, tmp_path):
    shutil.copytree(grid / "store", tmp_path / "store")
    changed = [*again, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main([*changed, *flags("defense.lr=1e30", "training.precision=fp32")]) == 1
    told = capsys.readouterr()
    failures = [line for line in told.err.splitlines() if line.startswith("failed: ")]
    assert [line[8:].partition(" seed 0: ")[0] for line in failures] == [
        f"{CELLS[number]} lr=1e30" for number in (1, 3)]
    assert all("the loss is" in line for line in failures) and "multiply" in told.out
    assert len(list(tmp_path.glob("out/records/*.json"))) == 2


@pytest.fixture
def ablated(grid, tmp_path):
    """A folder of records that differ in the poison rate and in alpha."""
    [victim] = grid.glob("out/records/tiny-multiply-none-*.json")
    for rate in (0.05, 0.1):
        for alpha in (0.1, 0.2):
            record = json.loads(victim.read_text())
            record["attack"]["poison_rate"] = rate
            record["attack"]["trigger"]["resolved"]["alpha"] = alpha
            (tmp_path / "some/records").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"some/records/{rate}-{alpha}.json").write_text(json.dumps(record))
    return tmp_path / "some/records"


@pytest.mark.slow
def test_an_ablation_is_printed_and_written_beside_its_records(capsys, ablated):
    assert main(["ablation", str(ablated)]) == 0
    told = capsys.readouterr()
    assert re.search(r"\| flip rate +\| 0\.05 +\| [01]\.\d+ \[.*\] +\| [01]\.\d+ \[", told.out)
    assert "tables and curves: " in told.err and "some/ablation" in told.err
    assert sorted(path.name for path in (ablated.parent / "ablation").iterdir()) == [
        "ablation-1.pdf", "ablation-1.png", "ablation-1.txt", "ablation.csv", "ablation.md", "ablation.parquet", "ablation.tex"]
    assert told.out.split("\n\n- ")[0] in (ablated.parent / "ablation/ablation.md").read_text()


def test_an_ablation_as_json_with_the_settings_the_other_way_round(capsys, ablated, tmp_path):
    choices = ["--rows", "trigger.alpha", "--columns", "poison_rate", "--out", str(tmp_path / "there"), "--json"]
    assert main(["ablation", *(str(path) for path in ablated.iterdir()), *choices]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted((row["poison_rate"], row["trigger.alpha"]) for row in rows) == [
        (0.05, 0.1), (0.05, 0.2), (0.1, 0.1), (0.1, 0.2)]
    assert "| alpha " in (tmp_path / "there/ablation.md").read_text() and not (ablated.parent / "ablation").exists()


@pytest.mark.parametrize("choice, words", [
    ([], ["--rows poison_rate", "two values", "poison_rate 0.1"]),
    (["--rows", "defense", "--columns", "alhpa"], ["--columns 'alhpa'", "known: defense"])])
def test_an_ablation_without_two_settings_that_vary_is_refused(capsys, grid, choice, words):
    refused_at_once(capsys, ["ablation", f"{grid}/out/records", *choice], *words)


def test_shortcuts_mean_what_set_means_and_set_goes_on_top(monkeypatch):
    asked = []
    monkeypatch.setattr(dry_run, "plan", lambda chosen, *_: asked.append(chosen) or Plan([], {}, *7 * [[]], 0, 0))
    short = ["--set", "model.width=8", "--weights", "scratch", "--attack", "none,multiply", "--model",
             "squeeze", "--defense", "none,fine_tune", "--data", "synthetic",
             *flags("attack.alpha=0.2", "data.test=6")]
    long = flags("model=squeeze", "model.weights=scratch", "attack=none,multiply", "defense=none,fine_tune",
                 "data=synthetic", "model.width=8", "attack.alpha=0.2", "data.test=6")
    for given in (short, long):
        assert main(["run", "paper", "--dry-run", *given]) == 0
    assert asked[0] == asked[1] and len(asked[0]) == 4
    assert {cell.model.given["width"] for cell in asked[0]} == {8}


def test_help_names_the_shortcuts(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for flag, key in SHORTCUTS.items():
        assert f"--{flag} VALUE short for --set {key}=VALUE; an explicit --set overrides it" in told


# Processes.

def started(cache, *arguments, stdout=subprocess.PIPE, unbuffered="", **options):
    """The command as a process of its own."""
    path = str(Path(benchmark.__file__).parents[1])
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
                                "PYTHONUNBUFFERED": unbuffered}
    return subprocess.Popen([sys.executable, "-m", "benchmark", *arguments], env=environment, stdout=stdout,
                            stderr=subprocess.PIPE, text=True, **options)


ONE_CELL = ["run", "tiny.yaml", *flags("attack=none", "defense=none", "training.checkpoint_seconds=0")]


def appears(folder, pattern, process):
    """Wait until a file is there; fail when the process ends first or a minute has passed."""
    deadline = time.monotonic() + 60
    while not list(folder.rglob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_the_same_command_goes_on(capsys, monkeypatch, cache, number, code):
    longer = [*ONE_CELL, "--set", "training.epochs=80"]
    heard = partial(signal.signal, number, signal.SIG_DFL)  # whatever the tests themselves were started by ignores
    process = started(cache, *longer, preexec_fn=heard)
    appears(Path(), "checkpoint.safetensors", process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.splitlines()[-1]) == (code, STOPPED)
    assert "Traceback" not in error and results() == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert main(longer) == 0
    first = re.search(r"train tiny clean: goes on after epoch (\d+) of 80", capsys.readouterr().err)
    assert int(first[1]) > 0 and len(results()) == 3  # a counter, its counts and the record


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing_half_written(monkeypatch, cache):
    process = started(cache, *ONE_CELL, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    failed_on_the_way(error, "checkpoint.safetensors", "File too large")
    assert not list(Path("runs").rglob("*.safetensors*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert main(ONE_CELL) == 0 and len(results()) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_results_that_cannot_be_printed_are_told(cache):
    with open("/dev/full", "w") as full:
        process = started(cache, "list", "models", stdout=full)
    line = process.communicate(timeout=60)[1]
    assert line.startswith("crowdbench: file system: No space left on device") and line.count("\n") == 1
    assert process.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_cannot_be_printed_is_told(cache, unbuffered):
    with open("/dev/full", "w") as full:
        process = started(cache, "--help", stdout=full, unbuffered=unbuffered)
    assert process.communicate(timeout=60)[1].startswith("crowdbench: file system: No space") and process.returncode == 2


@pytest.mark.parametrize("closed, arguments, code", [(1, ["list", "presets"], 0), (2, ["show", "nothing"], 2)])
def test_nothing_goes_to_the_other_stream_where_one_is_closed(cache, closed, arguments, code):
    process = started(cache, *arguments, preexec_fn=partial(os.close, closed))
    assert process.communicate(timeout=60) == ("", "") and process.returncode == code


@pytest.mark.slow
def test_a_defense_of_ones_own_gets_its_row(cache, grid):
    Path("leave.py").write_text('"""Leaves it."""\nfrom benchmark.registry import register\n'
                                "from defenses.base import Defense\n\n@register\nclass Leave(Defense):\n"
                                "    def apply(self, victim, knowledge):\n        return victim\n")
    table, error = started(cache, "run", "tiny.yaml", "--store", f"{grid}/store", "--plugin", "leave.py", "--set",
                           "defense=none,leave").communicate(timeout=120)
    assert re.search(r"tiny, blended/multiply\n +none .*\n +leave +0\.\d+ ", table), error


# Looking around.

@pytest.mark.parametrize("what", [*LISTS, "presets"])
def test_list_has_a_line_for_each_name(capsys, what):
    expected = preset_names() if what == "presets" else [name for kind in LISTS[what] for name in names(kind)]
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [name for name, line in zip(expected, lines, strict=True) if name not in line.split()] == []
    assert all(len(line.split()) > 3 for line in lines)


def test_list_alone_lists_everything_and_the_command_alone_is_its_help(capsys):
    assert main(["list"]) == 0
    everything = [(kind, name) for kind in PACKAGES for name in names(kind)]
    everything += [("preset", name) for name in preset_names()]
    assert [tuple(line.split()[:2]) for line in capsys.readouterr().out.splitlines()] == everything
    assert main([]) == 0
    alone = capsys.readouterr()
    assert main_help(capsys) == alone.out and "crowdbench show NAME" in alone.out and alone.err == ""


def main_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("name", preset_names())
def test_show_tells_what_a_preset_is(capsys, name):
    assert main(["show", name]) == 0
    told = " ".join(capsys.readouterr().out.split())
    request = load_request(name)
    assert told.startswith(f"preset {name} ") and f" cells {len([*expand(request)])}" in told
    [protocol] = [grid.name for grid in frozen() if grid.preset == name] or ["not frozen"]
    assert f" frozen as {protocol}" in told
    assert (PRESETS / f"{name}.yaml").read_text().split("\n")[0].lstrip("# ") in told
    assert [key for key in request if f" {key}" not in told] == []


def test_show_tells_the_choices_of_an_axis_as_they_can_be_set(capsys):
    assert main(["show", "standard-quick"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for line in ("standard-quick-2: with any defense, on the same images", "training.epochs 60", "seed 0, 1, 2",
                 "555, attack 5 x defense 37 x seed 3", "retrain images=40 extra=0 epochs=614, patchwork maps=annotated"):
        assert line in told
    assert main(["show", "ablation"]) == 0
    assert "none, target=multiply,minus poison_rate=0.02,0.05,0.1 alpha=0.05,0.1,0.2" in capsys.readouterr().out


@pytest.mark.parametrize("kind, name", [(kind, name) for kind in PACKAGES for name in names(kind)])
def test_show_tells_what_an_entry_is_and_its_settings(capsys, kind, name):
    assert main(["show", name]) == 0
    told = capsys.readouterr().out
    assert f"{kind} {name}" in told and sys.modules[find(kind, name).__module__].__doc__.strip() in told
    assert [key for key in settings_of(find(kind, name)).model_fields if f"\n{key} " not in told] == []


@pytest.mark.slow
def test_the_page_of_triggers_goes_where_it_is_asked_to_and_shows_ones_own(capsys, cache):
    Path("dim.py").write_text('"""Dims it."""\nfrom attacks.base import Trigger\n'
                              "from benchmark.registry import register\n\n@register\nclass Dim(Trigger):\n"
                              "    def stamp(self, images):\n        return images / 2\n")
    page, error = started(cache, "figure", "triggers", "--plugin", "dim.py").communicate(timeout=120)
    assert page == "docs/triggers.md\n", error
    assert "## dim\n\nDims it.\n" in Path(page.strip()).read_text() and Path("docs/triggers/dim.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("picture, name", [
    ("poisoning", "poisoning"), ("maps", "maps-fine_tune"), ("gradcam", "gradcam-fine_tune")])
def test_pictures_of_a_grid_are_drawn_from_its_store(capsys, grid, cache, monkeypatch, picture, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    before = contents(grid)
    assert main(["figure", picture, "tiny.yaml", "--store", f"{grid}/store"]) == 0
    assert capsys.readouterr().out == f"{name}.png\n{name}.pdf\n{name}.txt\n"
    assert Path(f"{name}.png").is_file() and Path(f"{name}.pdf").is_file() and contents(grid) == before
    assert f"Grid: `crowdbench run tiny.yaml --store {grid}/store`." in " ".join(Path(f"{name}.txt").read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("words, name, caption", [
    (["growth", "mine"], "growth", "40 test images. .* Drawn from the 3 records in mine."),
    (["reliability", "mine", "--defense", "anp"], "reliability-anp", "^Reliability .* the 3 records in mine."),
    (["trigger-panel"], "trigger-panel", "Below each name: the PSNR of the copy")])
def test_pictures_have_captions_that_name_the_records(capsys, words, name, caption):
    Path("mine").mkdir()
    for number, record in enumerate([make_record(), make_record(alpha=0.2), make_record(defense="anp")]):
        Path(f"mine/{number}.json").write_text(record.dumps())
    assert main(["figure", *words]) == 0
    assert capsys.readouterr().out == f"{name}.png\n{name}.pdf\n{name}.txt\n"
    assert re.search(caption, " ".join(Path(f"{name}.txt").read_text().split()))


@pytest.mark.slow
def test_a_picture_of_a_counter_that_is_missing_names_the_command_that_makes_it(capsys, cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    picture = ["figure", "maps", "tiny.yaml", "--defense", "blur", "--attack", "minus", "--store", "my store",
               *flags("training.epochs=1", "attack.alpha=0.3")]
    assert main(picture) == 2 and not Path("my store").exists()
    told = capsys.readouterr().err
    assert told.startswith("crowdbench: ") and told.count("\n") == 1 and "train tiny blended/minus" in told
    command = shlex.split(re.search("`(.*)`", told)[1])
    assert command == ["crowdbench", "run", "tiny.yaml", "--attack", "minus", "--defense", "blur",
                       *flags("training.epochs=1", "attack.alpha=0.3"), "--store", "my store"]
    assert main(command[1:]) == 0 and main(picture) == 0


# Data.

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


def test_show_tells_a_counters_recipe_as_it_can_be_set_and_types_without_their_checks(capsys):
    assert main(["show", "clip_ebc"]) == 0
    told = capsys.readouterr().out
    for line in ("window       int | None       None", "clip         'RN50' | 'tiny'  'RN50'",
                 "parameters  71,775,073 trained, 63,690,240 frozen",
                 "weights     openai by default: OpenAI CLIP, MIT"):
        assert line in told
    recipe = " ".join(told.rpartition("recipe ")[2].split()).split(", ")
    assert {"epochs=150", "lr=0.0004", "schedule=cosine", "crop=448", "zoom_max=2.0"} <= {*recipe}


def test_a_reader_that_leaves_is_no_error(capsys, monkeypatch):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Left())
    assert main(["list", "models"]) == 141
    assert capsys.readouterr().err == ""


# A defense of one's own

@pytest.fixture
def copied(grid, cache, tmp_path, monkeypatch):
    """A copy of the tiny grid's folder, with the scenes in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(registry, "_plugins", {})
    return Path(shutil.copytree(grid, tmp_path / "grid"))


def run_mine(copied, *more):
    return main(["run", "tiny.yaml", "--defense", "my_defense", "--plugin", "my_defense.py", "--out", f"{copied}/out",
                 "--store", f"{copied}/store", *more])


def test_a_new_defense_gets_its_row_among_earlier_ones_and_no_victim_is_trained_again(copied, capsys):
    assert main(["new", "defense", "my_defense"]) == 0
    assert capsys.readouterr().out.split() == ["my_defense.py", "test_my_defense.py"]
    before = {path.name for path in (copied / "store/counters").glob("[!.]*")}
    assert run_mine(copied) == 0
    out = capsys.readouterr()
    assert len({path.name for path in (copied / "store/counters").glob("[!.]*")} - before) == 2  # repairs
    assert "train tiny" not in out.err
    assert re.search(r"tiny, blended/multiply\n +none .*\n +my_defense ", out.out) and "Table 1" not in out.out
    assert re.search(r"against other defenses\n(.*\n)+tiny, my_defense\n +fine_tune +1 +\d / ", out.out)
    assert "my_defense" in (copied / "out/tables/defenses.md").read_text()


@pytest.mark.slow
def test_an_edited_defense_runs_again_and_is_printed_once(copied, capsys, monkeypatch):
    main(["new", "defense", "my_defense"])
    assert run_mine(copied) == 0
    Path("my_defense.py").write_text(Path("my_defense.py").read_text().replace("epochs: int = 10", "epochs: int = 1"))
    monkeypatch.setattr(registry, "_plugins", {})
    capsys.readouterr()
    assert run_mine(copied) == 0
    assert len(list((copied / "out/records").glob("*my_defense*"))) == 4  # nothing is lost


def test_compare_prints_a_table_or_json_and_refuses_what_is_not_there(copied, capsys):
    assert main(["compare", "fine_tune", f"{copied}/out/records"]) == 0
    out = capsys.readouterr().out
    assert out.index("Wins / ties / losses") < out.index("Differences of fine_tune")
    assert re.search(r"\ntiny, fine_tune\n +none +1 +\d / \d / \d", out) and max(map(len, out.splitlines())) <= 100
    assert main(["compare", "fine_tune", f"{copied}/out/records", "--out", str(copied / "compared")]) == 0
    assert {path.name for path in (copied / "compared").iterdir()} == {
        f"{name}.{kind}" for name in ("differences", "wins") for kind in ("md", "csv", "parquet", "tex", "json")}
    capsys.readouterr()
    assert main(["compare", "fine_tune", f"{copied}/out/records", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {line["compared with"] for line in rows} == {"none"} and len(rows) == 2
    assert {type(line["rho_Acc p, images"]) for line in rows} == {float} and rows[0]["flip rate_low, seeds"] is None
    assert main(["compare", "fine_tone", f"{copied}/out/records"]) == 2
    assert "did you mean 'fine_tune'" in capsys.readouterr().err


def test_a_defense_that_chooses_on_validation_images_is_refused_where_there_are_none(capsys):
    assert main(["run", "tiny.yaml", "--defense", "fine_pruning", "--set", "hold_out=0", "--set",
                 "training.select=last"]) == 2
    assert "leaves no validation images" in capsys.readouterr().err
