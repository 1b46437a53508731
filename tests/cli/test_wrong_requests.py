"""Wrong requests and wrong data: one line, exit code 2, and nothing is begun."""

import os
import shutil
from pathlib import Path

import pytest
from cli_cases import failed_on_the_way, flags, refused_at_once, results

from benchmark.cli import main
from benchmark.utils.device import device
from benchmark.utils.errors import LONGEST

pytestmark = pytest.mark.usefixtures("desk")


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


def test_a_defense_that_chooses_on_validation_images_is_refused_where_there_are_none(capsys):
    assert main(["run", "tiny.yaml", "--defense", "fine_pruning", "--set", "hold_out=0", "--set",
                 "training.select=last"]) == 2
    assert "leaves no validation images" in capsys.readouterr().err
