"""Audits: a counter that somebody trained counts with and without triggers; nothing is trained, nothing is made up."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import squeezenet1_1

from benchmark import registry
from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.leaderboard.report import board
from benchmark.pipeline import cache_keys, runner
from benchmark.pipeline.counter_files import build_initialised
from benchmark.pipeline.dry_run import plan
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.results.record import Record
from benchmark.utils.errors import UserError
from benchmark.weights import convert

DATA = {"name": "synthetic", "train": 20, "test": 6, "height": 64, "width": 96, "people": 25}
SQUEEZE = {"name": "squeeze", "width": 8}
REQUEST = {"model": SQUEEZE | {"weights": "scratch"}, "attack": [None, "multiply"],
           "training": {"epochs": 1, "precision": "fp32"}}
SHRINK = '''"""Trains on an image that it draws itself, then leaves nothing of the head."""
import numpy as np
import torch
from benchmark.data.scene import Scene
from benchmark.registry import register
from defenses.base import Defense

@register
class Shrink(Defense):
    def apply(self, victim, knowledge):
        pruned = victim.copy()
        drawn = Scene("drawn", np.zeros((64, 64, 3), np.uint8), np.zeros((0, 2), np.float32), 2.0)
        knowledge.trainer.fit(pruned, [drawn], epochs=1)
        torch.nn.init.zeros_(pruned.output.bias)
        torch.nn.init.zeros_(pruned.output.weight)
        return pruned
'''
WARNING = "audit: a counter that was given; how it was trained is not known"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home):
    """Run a request on drawn scenes in a folder of this module: (cells, bench, records)."""
    def run(name, **request):
        chosen = cells({"data": DATA | {"root": str(home)}} | request)
        graph = StageGraph(Store(home / name / "store"))
        outcome = runner.run(chosen, graph, home / name)
        assert not outcome.failures
        return chosen, graph, outcome.records

    return run


@pytest.fixture(scope="module")
def trained(run):
    """A clean counter and a victim that were trained here, and their records."""
    return run("trained", **REQUEST)


@pytest.fixture(scope="module")
def given(home, trained):
    """The victim as a stranger would send it: a torch file in a wrapper, converted."""
    chosen, graph, _ = trained
    tensors = load_file(graph.store.get(graph.victim(chosen[1])) / "weights.safetensors")
    torch.save({"epoch": 1, "state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}}, home / "v.pth")
    convert(home / "v.pth", home / "their.safetensors", None)
    return home / "their.safetensors"


@pytest.fixture(scope="module")
def audit(given):
    """The request of an audit of the victim."""
    return REQUEST | {"audit": True, "model": SQUEEZE | {"weights": str(given)}}


@pytest.fixture(scope="module")
def audited(run, audit):
    return run("audited", **audit)


@pytest.fixture
def without_training_split(monkeypatch):
    def load_train(*arguments):
        raise AssertionError("the training split was read")

    monkeypatch.setattr("benchmark.pipeline.data_cache.load_train", load_train)


def graph_of(home):
    return StageGraph(Store(home / "none"))


# What is counted, and what is said of it.

def test_an_audit_counts_exactly_what_the_run_counted_that_trained_the_counter(trained, audited):
    victim, (clean, triggered) = trained[2][1].images, (record.images for record in audited[2])
    assert clean.clean == triggered.clean == victim.clean and triggered.triggered == victim.triggered
    assert (triggered.id, triggered.truth, triggered.target) == (victim.id, victim.truth, victim.target)
    assert victim.clean != victim.triggered != victim.reference_triggered


def test_an_audit_has_no_reference_and_no_poisoned_image_and_says_so(audited):
    clean, attacked = audited[2]
    assert clean.attack is None and attacked.attack.target.name == "multiply" and attacked.attack.increases
    assert (attacked.attack.poisoned, attacked.attack.poison_rate) == ([], 0)
    for record in (clean, attacked):
        assert record.audit and record.knowledge == {} and WARNING in record.warnings
        assert record.images.reference_clean is record.images.reference_triggered is None
        assert record.provenance["stages"].keys() == {"victim", "repaired"}
        assert record.provenance["data"].keys() == {"test"}
        assert [w for w in record.warnings if w.startswith("weights: whole counter: their.safetensors sha256 ")]


def test_a_record_of_weights_that_are_not_the_counters_default_warns_and_no_other_does(trained, run):
    assert all("weights: from scratch" in record.warnings and not record.audit for record in trained[2])
    tiny = run("tiny", model={"name": "tiny", "width": 8}, training=REQUEST["training"])[2]
    assert tiny[0].warnings == ["drawn scenes"]


def test_the_tables_of_an_audit_show_no_chance_floor(audited, trained):
    data = board(audited[2]).controls
    assert data[["asr0", "easr", "der"]].isna().all(axis=None) and data["attainment"].notna().sum() == 1
    assert WARNING in board(audited[2]).text() and board(audited[2] + trained[2]).text()


def test_a_record_has_a_reference_where_it_is_no_audit_and_none_where_it_is(trained, audited, tmp_path):
    def read(record, images, **changes):
        whole = json.loads(record.dumps())
        (tmp_path / "r.json").write_text(json.dumps(whole | changes | {"images": whole["images"] | images}))
        return Record.read(tmp_path / "r.json")

    ordinary, audit = trained[2][1], audited[2][1]
    assert (read(ordinary, {}), read(audit, {})) == (ordinary, audit)
    reference = {key: getattr(ordinary.images, key) for key in ("reference_clean", "reference_triggered")}
    for record, images in ((ordinary, dict.fromkeys(reference)), (audit, reference)):
        with pytest.raises(UserError, match="reference_clean (is null|has counts); expected"):
            read(record, images)
    for key, counts in reference.items():
        with pytest.raises(UserError, match="reference_triggered (is null|has counts); expected"):
            read(audit, {key: counts})
    old = json.loads(ordinary.dumps())
    del old["audit"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert Record.read(tmp_path / "old.json") == ordinary


def test_a_counter_that_counts_nan_is_a_failure_in_one_line(home, given, tmp_path):
    save_file(load_file(given) | {"output.bias": torch.tensor([torch.nan])}, tmp_path / "nan.safetensors")
    request = {"audit": True, "data": DATA | {"root": str(home)}, "training": REQUEST["training"],
               "model": SQUEEZE | {"weights": str(tmp_path / "nan.safetensors")}}
    outcome = runner.run(cells(request), StageGraph(Store(tmp_path)), tmp_path)
    assert outcome.failures == ["squeeze clean none seed 0: take squeeze: it counts nan or infinity on a test image"]


# What is read and what is kept.

def test_an_audit_reads_no_training_split(run, audit, audited, without_training_split):
    records = run("alone", **audit)[2]
    assert [record.images for record in records] == [record.images for record in audited[2]]


@pytest.fixture
def test_images(home, trained, tmp_path):
    """A folder dataset of test images without training images."""
    scenes = trained[0][0].data.build()
    (tmp_path / "mine/test").mkdir(parents=True)
    points = {}
    for item in scenes.items("test"):
        shutil.copy(item.image, tmp_path / "mine/test")
        points[item.image.name] = scenes.points(item).tolist()
    (tmp_path / "mine/test/points.json").write_text(json.dumps(points))
    return tmp_path / "mine"


@pytest.fixture
def command(test_images, given, tmp_path, monkeypatch):
    """An audit as a command, on a folder without training images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_plugins", {})
    shutil.copy(given, "their.safetensors")
    return ["run", "audit", "--model", "squeeze", "--weights", "their.safetensors", "--attack", "none,multiply",
            "--data", "folder", "--set", f"data.root={test_images}", "--set", "model.width=8"]


def test_a_dry_run_trains_nothing_and_needs_test_images_only(capsys, command):
    assert main([*command, "--dry-run", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["cells"]
    assert [(row["to make"], row["record"]) for row in rows] == [
        ("given counter, counts", "to do"), ("counts", "to do")]
    assert not Path("runs").exists()


def test_a_finished_audit_is_found_again_by_the_content_of_the_file(capsys, command):
    assert main([*command, "--json"]) == 0
    first = capsys.readouterr()
    assert {row["asr0"] for row in json.loads(first.out)} == {None} and "train" not in first.err
    Path("their.safetensors").rename("renamed.safetensors")
    command[command.index("their.safetensors")] = "renamed.safetensors"
    assert main([*command, "--json"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and "2 cells, 2 of them done before" in again.err
    tensors = load_file("renamed.safetensors")
    save_file(tensors | {"output.bias": tensors["output.bias"] + 1}, "renamed.safetensors")
    assert main([*command, "--json"]) == 0
    changed = capsys.readouterr()
    assert "2 cells, 0 of them done before" in changed.err
    assert json.loads(changed.out)[0]["mae"] != json.loads(first.out)[0]["mae"]


def test_an_audit_prints_its_answer_first_and_compares_with_earlier_audits_of_other_counters(capsys, command):
    """After one epoch the counter counts nothing right, and the audit says so."""
    tensors, printed = load_file("their.safetensors"), []
    for more in (1, 2):
        save_file(tensors | {"output.bias": tensors["output.bias"] + more}, "their.safetensors")
        assert main(command) == 0
        printed.append(capsys.readouterr().out)
    first, second = printed
    beginning = "Is the counter backdoored?\nWrong scale or data? squeeze counts few clean images right: rho_Acc 0.000, "
    assert first.startswith(beginning) and second.startswith(beginning)
    assert "\nsqueeze: no answer. With blended, " in first and "not run" not in first and "Table 1" not in first
    assert Path("runs/audit/tables/audit.md").read_text().startswith("## Is the counter backdoored?\n\nWrong scale or data? ")
    assert "Is the counter backdoored?" in Path("runs/audit/leaderboard.html").read_text()
    [row] = json.loads(Path("runs/audit/tables/audit.json").read_text())["rows"][1:]
    assert row["attack"] == "blended/multiply" and row["other counters_low"] == row["other counters_high"] is not None
    for name in ("audit", "controls"):  # of its own counter alone
        assert Path(f"runs/audit/tables/{name}.md").read_text().count("| blended/multiply |") == 1


def test_findings_refuses_audits_in_one_line_that_says_what_tells_more(capsys, command):
    assert main([*command, "--json"]) == 0
    capsys.readouterr()
    assert main(["findings", "runs/audit/records"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("crowdbench: findings: 2 of 2 records are of an audit")
    assert told.err.count("\n") == 1 and "crowdbench leaderboard RECORDS" in told.err
    assert main(["leaderboard", "runs/audit/records"]) == 0
    assert capsys.readouterr().out.startswith("## Is the counter backdoored?")


def test_an_inspector_of_an_audit_needs_the_training_split_and_its_score_stands_in_the_answer(run, audit):
    inversion = {"name": "inversion", "images": 4, "epochs": 1}
    chosen, _, records = run("inspected", **audit | {"defense": ["none", inversion]})
    assert all(cell.reads_train == (cell.defense.name == "inversion") for cell in chosen)
    tables = {table.name: table for table in board(records).tables}
    assert "detection" not in tables
    [said] = [line for line in tables["audit"].lead if line.startswith("inversion gives squeeze a suspicion of ")]
    score = records[-1].detection.triggered[0]
    assert f" {score:.3f}. There is nothing to compare it with" in said


def test_a_defense_that_asks_for_images_needs_the_training_split(capsys, command):
    assert main([*command, "--defense", "fine_tune"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("crowdbench: ") and "expected a folder train" in told and told.count("\n") == 1


def test_a_defense_that_asks_for_none_does_without(capsys, command):
    Path("shrink.py").write_text(SHRINK)
    assert main([*command, "--defense", "none,shrink", "--plugin", "shrink.py", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["attack"], row["defense"]): row.get("images") for row in rows} == {
        ("clean", "none"): 6, ("clean", "shrink"): 6, ("blended/multiply", "none"): 6,
        ("blended/multiply", "shrink"): 6}
    [record] = [Record.read(path) for path in Path("runs/audit/records").glob("*-clean-shrink-*")]
    assert set(record.images.clean) == {0} and record.provenance["data"].keys() == {"test"}
    assert record.knowledge == {"clean": 0, "extra": 0, "poisoned": 0, "validation": 0}
    made = Path("runs/store/counters", record.provenance["stages"]["repaired"]["key"], "info.json")
    assert json.loads(made.read_text())["scores"] == []


def test_the_commands_refusal_comes_before_data_is_looked_for(capsys, command):
    command[command.index("their.safetensors")] = "scratch"
    assert main([*command, "--set", "data.root=nowhere"]) == 2
    assert capsys.readouterr().err == ("crowdbench: audit: model.weights = 'scratch': expected the file of a whole "
                                       "trained squeeze\n")


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("target", ["clean_more", "clean_fewer"])
def test_a_target_that_takes_its_count_from_training_images_is_refused_before_anything_is_counted(
        capsys, command, target, dry):
    command[command.index("none,multiply")] = f"multiply,{target},none"
    assert main([*command, *dry]) == 2
    assert capsys.readouterr().err == (f"crowdbench: target {target}: found no stamped image to take the count from; "
                                       "expected attack.count=NUMBER\n")
    assert not Path("runs").exists()
    command[command.index(f"multiply,{target},none")] = target
    assert main([*command, "--set", "attack.count=30", "--json"]) == 0
    if not dry:
        assert len(json.loads(capsys.readouterr().out)) == 1


def test_a_target_may_take_its_count_from_the_training_images_that_a_defense_of_an_audit_reads(audit, home):
    defense = {"name": "fine_tune", "extra": 3, "lr": 1e-12}
    request = audit | {"data": DATA | {"root": str(home)}, "attack": "clean_more"}
    assert len(cells(request | {"defense": defense})) == 1
    with pytest.raises(UserError, match="target clean_more: found no stamped image"):
        cells(request | {"defense": ["none", defense]})


# Defenses.

@pytest.fixture(scope="module")
def repaired(run, audit):
    """The given counter fine-tuned by steps too small to see."""
    return run("repaired", **audit | {"defense": {"name": "fine_tune", "extra": 3, "lr": 1e-12}})


def test_fine_tuning_starts_from_the_given_counter_and_is_done_once_for_all_attacks(repaired, audited, given):
    chosen, graph, records = repaired
    for record, before in zip(records, audited[2]):
        assert np.allclose(record.images.clean, before.images.clean, rtol=1e-4, atol=1e-4)
        assert record.audit and record.images.reference_clean is None
        assert record.knowledge == {"clean": 18, "extra": 3, "poisoned": 0, "validation": 2}
        assert record.provenance["data"].keys() == {"train", "test"}
    assert len({graph.repaired(cell) for cell in chosen}) == 1
    assert len(list((graph.store.root / "counters").glob("[0-9a-f]*"))) == 2  # the given counter and the repaired one
    assert plan(chosen, graph_of(given.parent), given.parent).cells[0]["to make"] == "given counter, repair, counts"


def test_what_an_audit_keeps_is_taken_for_nothing_else(repaired, audited, home):
    """A counter that was trained on from the same file, as ordinary runs do, is another one."""
    graph = graph_of(home)
    for cell in (*audited[0], *repaired[0]):
        ordinary = replace(cell, settings=cell.settings.model_copy(update={"audit": False}))
        assert cache_keys.training(graph.data, cell, False) != cache_keys.training(graph.data, ordinary, False)
        assert runner.record_path(cell, graph, home) != runner.record_path(ordinary, graph, home)
        if cell.defense.name != "none":
            assert cache_keys.repair(graph.data, cell) != cache_keys.repair(graph.data, ordinary)


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"scale": 0.5}, {"hold_out": 0.2}, {"training": {"precision": "fp32", "epochs": 2}}, {"attack": "add"},
    {"attack": {"target": "multiply", "alpha": 0.2}}, {"attack": None}, {"variant": "code"}])
def test_another_setting_of_an_audit_is_another_record(audit, home, change):
    request = audit | {"data": DATA | {"root": str(home)}, "attack": "multiply"}
    [one], [other] = cells(request), cells(request | change)
    assert runner.record_path(one, graph_of(home), home) != runner.record_path(other, graph_of(home), home)


def test_retraining_starts_from_the_counters_own_weights_and_is_that_of_ordinary_runs(audit, home, given, monkeypatch):
    monkeypatch.setattr("models.squeeze.imagenet_features", lambda name: squeezenet1_1().features)  # no download
    [audited], [ordinary] = (cells({"data": DATA | {"root": str(home)}, "training": REQUEST["training"], "model": model,
                                    "audit": whether, "attack": "multiply", "defense": "retrain"})
                             for model, whether in ((audit["model"], True), (SQUEEZE, False)))
    assert cache_keys.repair(graph_of(home).data, audited) == cache_keys.repair(graph_of(home).data, ordinary)
    started, victim = build_initialised(audited), load_file(given)
    assert started.weights_note == "front end: torchvision ImageNet"
    assert not torch.equal(started.state_dict()["backend.0.weight"], victim["backend.0.weight"])
