"""Forgers who keep every hash right: what they write into records is told by what else the entry says.

Each kind is tried with several inputs, and each is refused in one line that names the record and the key.
"""

import json
import shutil

import numpy as np
import pytest
from factories import DEFENSES, GRID, SPLITS, rewritten, run_of, submitted
from forging import cell, elsewhere, forged, put, refused, root_of, sealed

from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid, frozen
from benchmark.leaderboard.grid_slots import slots
from benchmark.leaderboard.submit import submit
from benchmark.leaderboard.training_images import numbered_images, training_images
from benchmark.leaderboard.validate import validate
from benchmark.registry import find
from benchmark.results.record import Choice, Record
from benchmark.utils.errors import UserError
from benchmark.utils.hashing import content_key
from models.tiny import Tiny

MINE = "add-mine-seed0"


def columns(entry, name):
    return json.loads(cell(entry, name).read_text())["images"]


def jittered(counts, share=1.0):
    """Counts that are changed by no more than two devices would; beyond a share of them they are wild."""
    rng = np.random.default_rng(0)
    kept = np.arange(len(counts)) < share * len(counts)
    return (np.array(counts) * np.where(kept, 1 + 1e-4 * rng.uniform(-1, 1, len(counts)), 1.7)).tolist()


# Counts of another counter, or of other images.

COPIES = [("add-retrain-seed0", "triggered", "triggered"), ("add-retrain-seed0", "clean", "triggered"),
          ("add-none-seed0", "reference_clean", "triggered"), ("add-none-seed0", "reference_triggered", "triggered"),
          ("add-none-seed0", "clean", "triggered"), (MINE, "clean", "triggered"), (MINE, "reference_clean", "clean"),
          ("add-retrain-seed0", "clean", "clean"), ("add-mine-seed1", "triggered", "triggered"),
          ("add-none-seed1", "clean", "clean"), (MINE, "truth", "triggered"), (MINE, "truth", "clean"),
          ("clean-mine-seed0", "clean", "triggered"), ("clean-retrain-seed1", "clean", "triggered")]


@pytest.mark.parametrize("change", [lambda counts: counts, jittered, lambda counts: jittered(counts, 0.7),
                                    lambda counts: [round(count, 3) for count in counts]])
@pytest.mark.parametrize("source, taken, given", COPIES)
def test_counts_of_another_counter_or_of_other_images_are_refused(entry, source, taken, given, change):
    counts = change([float(count) for count in columns(entry, source)[taken]])
    forged(entry, MINE, put("images", given, counts), f"tiny-{MINE}-", f"images.{given}", "of the counts agree with",
           "expected counts of their own")


def test_a_seed_that_is_a_copy_of_another_is_refused(entry):
    for target in ("add", "clean"):
        counts = columns(entry, f"{target}-mine-seed0")
        taken = {key: counts[key] for key in ("clean", "triggered")}
        rewritten(entry / "cells", f"{target}-mine-seed1", lambda record: record["images"].update(taken))
    refused(root_of(sealed(entry)), "mine-seed1", "images.clean", "100% of the counts agree with")


def test_the_weights_of_a_control_are_not_those_of_the_entrys_defense(entry):
    def taken(record):
        theirs = json.loads(cell(entry, "add-retrain-seed0").read_text())
        record["provenance"]["stages"]["repaired"] = theirs["provenance"]["stages"]["repaired"]
        record["images"].update({key: theirs["images"][key] for key in ("clean", "triggered")})

    forged(entry, MINE, taken, "repaired.weights_sha256", "'a counter by retrain'", "'a counter by mine'")


def test_the_weights_of_a_control_are_those_of_the_clean_counter_after_the_defense(entry):
    sha256 = json.loads(cell(entry, "clean-mine-seed0").read_text())["provenance"]["stages"]["repaired"]["weights_sha256"]
    rewritten(entry / "cells", MINE, put("provenance", "stages", "control", {"weights_sha256": sha256}))
    entry = sealed(entry)
    assert validate([entry]).ok
    forged(entry, MINE, put("provenance", "stages", "control", {"weights_sha256": "c" * 64}),
           "clean-mine-seed0", "stages.repaired.weights_sha256", "c" * 30, "add-mine-seed0")


def test_a_defense_that_changes_next_to_nothing_is_believed(entry):
    """Pruning dormant channels gives other weights and the counts of the victim."""
    for seed in (0, 1):
        for target in ("add", "clean"):
            victim = columns(entry, f"{target}-none-seed{seed}")
            for column in ("clean", "triggered"):
                if victim[column]:
                    rewritten(entry / "cells", f"{target}-mine-seed{seed}", put("images", column, jittered(victim[column])))
    assert validate([sealed(entry)]).ok


def test_a_counter_that_collapsed_is_believed(entry):
    """It counts the same in every image, with and without a trigger."""
    for column in ("clean", "triggered"):
        rewritten(entry / "cells", MINE, put("images", column, [90.0] * 12))
    assert validate([sealed(entry)]).ok


def test_the_same_weights_count_the_same_whatever_the_target_of_the_attack(tmp_path, monkeypatch):
    (tmp_path / "two.yaml").write_text(GRID.replace("[none, add]", "[none, add, multiply]"))
    grid = FrozenGrid("small-1", str(tmp_path / "two.yaml"), SPLITS)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    run = run_of(grid, tmp_path / "run")
    rewritten(run, "-multiply-", lambda record: record["images"].update(target=[2 * c for c in record["images"]["truth"]]))
    entry = submitted(run, tmp_path / "entries")
    forged(entry, "multiply-mine-seed0", put("images", "reference_triggered", 0, 999.0), "reference_triggered",
           "as by the same counter")


@pytest.mark.parametrize("counts", [lambda counts: [-count for count in counts], lambda counts: [-1e6, *counts[1:]]])
@pytest.mark.parametrize("column", ["clean", "triggered"])
def test_impossible_negative_counts_are_refused(entry, column, counts):
    forged(entry, MINE, put("images", column, lambda old: counts([1000 + count for count in old])), f"images.{column}",
           "the largest crowd below nobody")


def test_a_counter_without_negative_counts_has_none(entry, monkeypatch):
    rewritten(entry / "cells", MINE, put("images", "triggered", 3, -0.5))
    entry = sealed(entry)
    assert validate([entry]).ok  # the last layer of this counter is linear
    monkeypatch.setattr(Tiny, "may_be_negative", False)
    refused(root_of(entry), "images.triggered", "IMG_4: -0.5; expected at least 0, because tiny has no negative counts")


# Knowledge, scores and poisoned images.

@pytest.mark.parametrize("name, knowledge, words", [
    ("add-none-seed0", {"clean": 40}, ["knowledge: {'clean': 40}", "expected no images, as none declares"]),
    ("add-retrain-seed0", {}, ["knowledge.clean: 0; expected 216, as retrain declares"]),
    ("add-retrain-seed0", {"clean": 216}, ["knowledge.extra: 0; expected 40, as retrain declares"]),
    ("add-retrain-seed0", {"clean": 216, "extra": 41}, ["knowledge.extra: 41; expected 40"]),
    ("add-retrain-seed0", {"clean": 40, "extra": 40}, ["knowledge.clean: 40; expected 216"]),
    ("clean-retrain-seed0", {"clean": 240, "extra": 40}, ["knowledge.clean: 240; expected at most 216"]),
    ("add-retrain-seed0", {"clean": 216, "extra": 40, "poisoned": 238}, ["knowledge.poisoned: 238; expected 0"]),
    (MINE, {"clean": 40, "test": 100}, ["knowledge.test: unknown key"]),
    (MINE, {"clean": 217}, ["knowledge.clean: 217; expected at most 216 training images"]),
    (MINE, {"clean": 40, "poisoned": 216}, ["knowledge.poisoned: 216; expected 0, or 238"]),
    (MINE, {"clean": 40, "validation": 100}, ["knowledge.validation: 100; expected 0, or 24"]),
    (MINE, {"clean": True}, ["knowledge.clean", "integer"]), (MINE, {"clean": 40.0}, ["knowledge.clean", "integer"]),
    (MINE, {"clean": 20}, ["knowledge.clean: 40; expected 20 as in"])])
def test_knowledge_that_the_defense_does_not_declare_is_refused(entry, name, knowledge, words):
    forged(entry, name, put("knowledge", knowledge), *words)


def test_a_training_needs_images(entry):
    rewritten(entry / "cells", "mine", put("knowledge", {}))
    assert validate([entry := sealed(entry)]).ok  # pruning needs none, say
    for path in (entry / "cells").glob("*mine*"):
        rewritten(entry / "cells", path.name, put("provenance", "stages", "repaired", "best_epoch", 3))
    refused(root_of(sealed(entry)), "knowledge: no training images", "because a training has a best epoch")


def test_a_choice_of_a_strength_needs_validation_images(entry):
    tried = [{"settings": {"lr": 0.1}, "validation_mae": 5.0, "channels": None}]
    forged(entry, MINE, put("strengths", [{"tried": tried, "kept": 0}]), "knowledge.validation: 0; expected validation")


PERFECT = {"of": "test images", "clean": [0.0] * 12, "triggered": [1.0] * 12}


@pytest.mark.parametrize("name, detection, words", [
    (MINE, PERFECT, ["weights_sha256"]),
    (MINE, PERFECT | {"of": "counters", "clean": [0.0], "triggered": [1.0]}, ["weights_sha256"]),
    (MINE, {"of": "training images", "clean": [0.0] * 216, "triggered": [1.0] * 22}, ["expected null, since it only repairs"]),
    ("add-retrain-seed0", PERFECT, ["retrain detects nothing"]), ("add-none-seed0", PERFECT, ["none detects nothing"])])
def test_detection_scores_of_a_repair_are_refused(entry, name, detection, words):
    forged(entry, name, put("detection", detection), *words)


def test_a_repair_that_detects_in_one_cell_is_refused(entry):
    def detecting(record):
        record["detection"] = {"of": "training images", "clean": [0.0] * 216, "triggered": [1.0] * 22}
        record["knowledge"]["poisoned"] = 238

    for name in ("add-mine-seed0", "add-mine-seed1"):
        rewritten(entry / "cells", name, detecting)
    refused(root_of(sealed(entry)), "knowledge.poisoned: 'none'; expected 'some' as in")


@pytest.mark.parametrize("name, resolved, detection, words", [
    ("jpeg", {"quality": 75}, PERFECT, ["scores of test images by jpeg; expected null, since it only repairs"]),
    ("strip", {}, None, ["null; expected scores of test images by strip"]),
    ("strip", {}, {"of": "counters", "clean": [0.0], "triggered": [1.0]}, ["expected scores of test images"])])
def test_scores_are_of_what_a_defense_of_this_project_detects(grid, tmp_path, name, resolved, detection, words):
    own = Choice(name=name, version=find("defense", name).version, resolved=resolved)
    run = run_of(grid, tmp_path / "run", [DEFENSES[0], DEFENSES[2], own])
    rewritten(run, f"-{name}-", put("detection", detection))
    rewritten(run, f"-{name}-", put("knowledge", {"clean": 40} if name == "strip" else {}))
    with pytest.raises(UserError) as told:
        submitted(run, tmp_path / "entries", name)
    assert [word for word in words if word not in str(told.value)] == [], str(told.value)


@pytest.mark.parametrize("ids", [
    lambda ids: ["IMG_0", *ids[1:]], lambda ids: ["IMG_241", *ids[1:]], lambda ids: ["img_1", *ids[1:]],
    lambda ids: [f"x{i}" for i in range(22)], lambda ids: ["IMG_01", *ids[1:]]])
def test_poisoned_images_that_are_no_training_images_are_refused(entry, ids):
    rewritten(entry / "cells", "add-mine-seed0", put("attack", "poisoned", ids))
    refused(root_of(sealed(entry)), "attack.poisoned", "is no training image of this data")


def test_a_validation_image_is_not_poisoned(entry):
    training = numbered_images("synthetic", 240, 0.1)
    held_out = next(f"IMG_{i}" for i in range(1, 241) if f"IMG_{i}" not in training.ids)
    forged(entry, MINE, put("attack", "poisoned", lambda ids: [held_out, *ids[1:]]), f"'{held_out}' is no training image")


def test_the_number_of_training_images_is_that_of_the_data(entry):
    rewritten(entry / "cells", "add-", put("attack", "images", 220))
    refused(root_of(sealed(entry)), "attack.images: 220; expected 216")


def test_the_training_images_of_the_frozen_grids_are_those_of_their_lists():
    for grid in frozen():
        for slot in slots(grid.preset):
            images = training_images(slot)
            every = {f"IMG_{i}" for i in range(1, len(images.ids) + images.validation + 1)}
            held_out = sorted(every - images.ids, key=lambda image: int(image.removeprefix("IMG_")))
            assert grid.splits.get("validation") in (None, content_key(held_out))


# Keys, types, numbers and names that no run writes.

@pytest.mark.parametrize("keys", [
    ["provenance"], ["provenance", "stages", "repaired"], ["provenance", "stages", "clean"],
    ["provenance", "data"], ["knowledge"], ["training"], ["images"], ["attack"], ["attack", "trigger"], ["defense"], []])
def test_an_unknown_key_is_refused_anywhere(entry, keys):
    forged(entry, MINE, put(*keys, "rank", 1), ".".join([*keys, "rank"]), "unknown key")


def test_an_unknown_stage_is_refused(entry):
    forged(entry, MINE, put("provenance", "stages", "ranked", {"seconds": 1.0}), "stages.ranked: unknown key")


@pytest.mark.parametrize("label", [{"entry": {"path": "a/b"}}, {"victims": "of no entry"}])
def test_a_record_cannot_say_which_entry_it_is_of(entry, label):
    forged(entry, MINE, lambda record: record["provenance"].update(label), "provenance.", "unknown key")


@pytest.mark.parametrize("keys, value", [
    (["defense", "version"], True), (["defense", "version"], 1.0), (["defense", "version"], None), (["defense", "version"], []),
    (["model", "version"], True), (["attack", "trigger", "version"], 1.0), (["attack", "images"], 216.0),
    (["attack", "poison_rate"], "0.1"), (["attack", "poison_rate"], True), (["audit"], 0), (["audit"], "no"),
    (["schema_version"], True), (["schema_version"], 1.0), (["seed"], False), (["seed"], "0"),
    (["training", "scale"], True), (["attack", "increases"], 1), (["provenance", "dirty"], "no"),
    (["provenance", "threads"], 2.0)])
def test_nothing_is_taken_for_another_type(entry, keys, value):
    forged(entry, MINE, put(*keys, value), ".".join(keys))


@pytest.mark.parametrize("name, version, words", [
    ("retrain", "2", "because retrain is not a plugin"), ("retrain", 0, "expected 1 to 2"),
    ("retrain", -1, "expected 1 to 2"), ("none", 2, "expected version 1"), ("none", "1", "expected version 1")])
def test_a_version_that_there_never_was_is_refused(entry, name, version, words):
    forged(entry, f"add-{name}-seed0", put("defense", "version", version), "defense", words)


@pytest.mark.parametrize("version", ["1.0", "v2", "0123456789AB", "0" * 13, 0, -3])
def test_the_version_of_a_plugin_is_a_hash_or_a_whole_number(run, tmp_path, version):
    rewritten(run, "-mine-", put("defense", "version", version))
    with pytest.raises(UserError, match="submit mine: entry.json: defense.version: "):
        submitted(run, tmp_path / "entries")
    assert not list((tmp_path / "entries").rglob("*"))


@pytest.mark.parametrize("resolved, words", [
    ({"images": 40.0, "extra": 0}, "images"), ({"images": True, "extra": 0}, "images"), ({"extra": False}, "extra")])
def test_a_setting_of_another_type_is_refused(run, tmp_path, resolved, words):
    rewritten(run, "-retrain-", put("defense", "resolved", resolved))
    with pytest.raises(UserError, match=f"defense.resolved.*{words}"):
        submitted(run, tmp_path / "entries")


@pytest.mark.parametrize("seconds", [1e-9, 0.05, 1.23456, -1, 1e9, 10**8, True, "1", [1]])
@pytest.mark.parametrize("stage", ["victim", "repaired", "clean"])
def test_seconds_that_no_run_writes_are_refused(entry, stage, seconds):
    forged(entry, MINE, put("provenance", "stages", stage, "seconds", seconds), f"stages.{stage}.seconds")


def test_only_a_repair_takes_no_time(entry):
    rewritten(entry / "cells", "-mine-", put("provenance", "stages", "repaired", "seconds", 0.0))
    entry = sealed(entry)
    assert validate([entry]).ok
    forged(entry, MINE, put("provenance", "stages", "victim", "seconds", 0.0), "because a counter was trained")


NAMES = ["-h", "--help", "Retrain", "NONE", "none_", "re_train", "_retrain", "Fine_Tune", "finetune", "a b", "a/b", "..", "",
         "a\n", "retr\u0430in", "m" * 101, "1st", "a.b", "mine\u200b"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_mislead_are_refused(run, tmp_path, name):
    with pytest.raises(UserError, match="submit: --defense .*expected (the name of a defense|a name that is not so similar)"):
        submitted(run, tmp_path / "entries", name)


@pytest.mark.parametrize("name", ["Retrain", "re_train", "NONE", "m" * 101])
def test_a_misleading_name_in_an_entry_is_refused(grid, entry, name):
    told = json.loads((entry / "entry.json").read_text())
    told["defense"]["name"] = name
    for path in sorted((entry / "cells").glob("*-mine-*")):
        record = json.loads(path.read_text())
        record["defense"]["name"] = name
        path.write_text(json.dumps(record))
        path.rename(path.with_name(path.name.replace("-mine-", f"-{name}-")))
    (entry / "entry.json").write_text(json.dumps(told))
    entry.parent.rename(entry.parent.with_name(name))
    moved = sealed(entry.parent.with_name(name) / entry.name)
    refused(moved.parents[2], "entry.json", "defense.name")


@pytest.mark.parametrize("name", ["mine2", "my_defense", "X", "retrain_longer", "_a"])
def test_an_honest_name_is_taken(grid, tmp_path, name):
    own = Choice(name=name, version="0" * 12)
    run = run_of(grid, tmp_path / "run", [DEFENSES[0], DEFENSES[2], own])
    assert validate([submitted(run, tmp_path / "entries", name)]).ok


def test_every_message_cuts_what_it_repeats(entry):
    long = "x" * 10**5
    for name, change in ((MINE, put("defense", "resolved", {long: long})), ("add-none-seed0", put("variant", long)),
                         ("add-mine-seed1", put("provenance", long, 1)), ("clean-mine-seed0", put("protocol", long))):
        rewritten(entry / "cells", name, change)
    entry = sealed(entry)
    refused(root_of(entry))
    assert all(len(found["what"]) <= 400 for found in validate([entry]).to_dict()["findings"])


# The addresses of the paper and of the code.

BAD_LINKS = ["javascript:alert(1)", "paper", "", "ftp://example.org/x", "http://", "https:///x", "https://a b.org/x",
             "http://user@example.org/", "http://user:word@example.org/", "https://example.org/<b>", "//example.org/x",
             "https://ex\u0430mple.org/x", "https://example.org/\n", "data:text/html,x", "https://example.org:port/",
             "https://[1/", "https://example.org/" + "x" * 300, "HTTPS//x", "file:///etc/passwd", "=HYPERLINK(1)"]


@pytest.mark.parametrize("key", ["paper", "code"])
@pytest.mark.parametrize("link", BAD_LINKS)
def test_an_address_that_is_none_is_refused(entry, key, link):
    path = entry / "entry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: link}))
    refused(root_of(entry), "entry.json", f": {key}: ")


@pytest.mark.parametrize("link", ["http://example.org", "https://github.com/a/b", "https://arxiv.org/abs/1.2?x=1#y",
                                  "https://medium.com/@me/x", "https://example.org:8080/~me/(a)"])
def test_an_address_of_the_web_is_taken(entry, link):
    path = entry / "entry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"paper": link}))
    assert validate([entry]).ok


@pytest.mark.parametrize("changes, is_correction", [
    ({"paper": "https://example.org/moved"}, True), ({"paper": "https://a.org", "code": "https://b.org"}, True),
    ({"paper": "javascript:alert(1)"}, False), ({"name": "Another"}, False),
    ({"paper": "https://example.org/moved", "name": "Another"}, False), ({"crowdbench": "99"}, False)])
def test_of_what_was_published_only_addresses_are_corrected(entry, tmp_path, changes, is_correction):
    base = shutil.copytree(root_of(entry), tmp_path / "published")
    path = entry / "entry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert validate([root_of(entry)], base).ok == is_correction


@pytest.mark.parametrize("name", [" ", "...", "123", "-"])
def test_a_name_without_letters_is_refused(run, tmp_path, name):
    with pytest.raises(UserError, match="name = .*expected a name with letters"):
        submit(run, "mine", name, "https://example.org/paper", "https://example.org/code", tmp_path / "entries")


@pytest.mark.parametrize("keys, value", [
    (["commit"], "z"), (["commit"], "HEAD"), (["precision"], "fp64"), (["stages", "victim", "key"], "../../x"),
    (["stages", "clean", "key"], "0" * 19)])
def test_facts_that_no_run_writes_are_refused(entry, keys, value):
    forged(entry, MINE, put("provenance", *keys, value), ".".join(["provenance", *keys]))


# Reruns are checked as carefully as cells.

@pytest.mark.parametrize("change, words", [
    (put("provenance", "rank", 1), ["provenance.rank", "unknown key"]), (put("warnings", ["<b>"]), ["warnings"]),
    (put("knowledge", {"test": 1}), ["knowledge.test"]), (put("provenance", "stages", "clean", "seconds", 1e-9), ["seconds"]),
    (put("protocol", None), [])])
def test_a_forged_rerun_is_refused(entry, change, words):
    record = json.loads(cell(entry, MINE).read_text())
    elsewhere(record)
    change(record)
    (entry / "reruns").mkdir()
    (entry / "reruns" / "again.json").write_text(json.dumps(record))
    if words:
        refused(root_of(entry), "reruns", *words)
    else:
        assert validate([entry]).entries[0].tier == "re-run, 1 of 12 cells"


def test_copies_of_all_cells_with_other_seconds_and_commits_earn_nothing(entry):
    (entry / "reruns").mkdir()
    for path in (entry / "cells").iterdir():
        record = json.loads(path.read_text())
        record["provenance"]["commit"], record["warnings"] = "f" * 40, ["elsewhere"]
        for stage in record["provenance"]["stages"].values():
            stage["seconds"] = 77.0
        (entry / "reruns" / path.name).write_text(json.dumps(record))
    assert len(refused(root_of(entry), "reruns", "its counts to the last digit")) == 12
    assert Record.read(path).warnings == ["drawn scenes"]


@pytest.mark.parametrize("changes", [{}, {"device_name": "Intel Xeon"}, {"system": "Windows", "cores": 64, "device": "cuda"}])
def test_a_copy_that_names_another_machine_earns_nothing(entry, changes):
    record = json.loads(cell(entry, MINE).read_text())
    record["provenance"] |= changes
    (entry / "reruns").mkdir()
    (entry / "reruns" / "again.json").write_text(json.dumps(record))
    refused(root_of(entry), "reruns", "its counts to the last digit")


@pytest.mark.parametrize("scale, shift", [(1.003, 0.02), (0.96, 0), (1.2, -3.0), (1.0, 0.5)])
@pytest.mark.parametrize("source, taken, given", [(MINE, "clean", "triggered"), ("add-none-seed0", "reference_clean", "triggered"),
                                                  ("add-retrain-seed0", "triggered", "triggered")])
def test_copies_that_are_scaled_and_shifted_are_refused(entry, source, taken, given, scale, shift):
    counts = [scale * count + shift for count in columns(entry, source)[taken]]
    forged(entry, MINE, put("images", given, counts), f"images.{given}", "of the counts agree with")
