"""An entry that somebody tampered with is refused in one line, in bounded time and memory, and nothing of it is run."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from factories import ROOT, rewritten, run_of, submitted
from forging import cell, elsewhere, forged, put, refused, root_of, sealed

from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.report import board
from benchmark.leaderboard.validate import validate
from benchmark.results.record import Choice, Record, schema
from benchmark.utils.errors import UserError
from benchmark.utils.strict_json import MOST_BYTES

# Good entries.

def test_a_good_entry_is_told_in_one_line(entry):
    report = validate([root_of(entry)])
    assert report.ok and report.text().split("\n") == [
        f"ok: {entry}: mine on small-1: 12 cells, seeds 0, 1, tier: recomputed from counts",
        "1 entry without errors, 0 errors"]
    assert report.to_dict() == {"ok": True, "findings": [], "entries": [
        {"path": str(entry), "protocol": "small-1", "defense": "mine", "cells": 12, "seeds": [0, 1], "complete": True,
         "tier": "recomputed from counts"}]}


@pytest.mark.parametrize("up", range(4))
def test_an_entry_is_found_in_any_folder_above_it(entry, up):
    folder = [entry, *entry.parents][up]
    assert [Path(found.path) for found in validate([folder]).entries] == [entry]


def test_no_entry_at_all_is_no_error(tmp_path):
    (tmp_path / "README.md").write_text("Here will be entries.")
    assert validate([tmp_path]).text() == "0 entries without errors, 0 errors"


def test_an_older_record_that_lacks_a_setting_means_its_default(entry):
    def older(record):
        del record["model"]["resolved"]["width"], record["training"]["resolved"]["noise"]

    rewritten(entry / "cells", "tiny", older)
    assert validate([sealed(entry)]).ok


def test_what_the_device_rounds_otherwise_is_no_disagreement(entry):
    def nudged(record):
        record["images"]["reference_clean"][0] *= 1.0005

    rewritten(entry / "cells", "add-mine-seed0", nudged)
    assert validate([sealed(entry)]).ok


@pytest.mark.parametrize("name", ["mine-seed1", "none-seed0"])
def test_an_incomplete_entry_may_be_and_says_what_it_lacks(entry, name):
    for path in (entry / "cells").glob(f"*{name}*"):
        path.unlink()
    report = validate([sealed(entry)])
    defense, _, seed = name.partition("-seed")
    assert report.ok and not report.entries[0].complete and [problem.line() for problem in report.problems] == [
        f"incomplete, shown without a rank: {report.entries[0].path}: cells: 2 of 4 cells with the defense {defense} "
        f"are missing, for instance tiny clean seed {seed}"]


def test_the_same_defense_with_other_settings_fills_no_gap(grid, run, tmp_path):
    run_of(grid, run, [Choice(name="retrain", resolved={"images": 8})])
    entry = submitted(run, tmp_path / "entries", "retrain", settings=["defense.images=8"])
    [own] = [path for path in (entry / "cells").glob("*-add-retrain-seed1-*")
             if Record.read(path).defense.resolved == {"images": 8}]
    own.unlink()
    [incomplete] = validate([sealed(entry)]).problems
    assert "1 of 4 cells with the defense retrain are missing, for instance tiny blended/add seed 1" in incomplete.what


def test_a_request_that_cannot_be_met_is_refused(tmp_path, entry):
    with pytest.raises(UserError, match="nowhere: not a folder; expected a folder of entries"):
        validate([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="2 folders; expected one that is compared with it"):
        validate([entry, entry], root_of(entry))


# Somebody changed a file and left the rest: hashes, the path and the listing tell.

def test_a_changed_count_changes_the_hash(entry):
    rewritten(entry / "cells", "add-mine-seed0", lambda record: record["images"]["triggered"].reverse())
    refused(root_of(entry), cell(entry).name, "sha256", "as entry.json says")


def test_a_changed_hash_is_not_that_of_the_cell(entry):
    path = entry / "entry.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"cells": told["cells"] | {cell(entry).name: "0" * 64}}))
    refused(root_of(entry), cell(entry).name, "sha256", f"expected {'0' * 64}, as entry.json says")


@pytest.mark.parametrize("level, name", [(0, "0123456789ab"), (1, "theirs"), (2, "small-2")])
def test_a_moved_entry_says_where_it_belongs(entry, level, name):
    moved = [entry, *entry.parents][level]
    moved.rename(moved.with_name(name))
    refused(root_of(entry), "path", f"expected small-1/mine/{entry.name}")


def test_a_removed_cell_is_missed(entry):
    cell(entry).unlink()
    refused(root_of(entry), "tiny-add-mine-seed0-", "no such file; expected ")


def test_a_renamed_cell_is_missed(entry):
    path = cell(entry)
    path.rename(path.with_name("tiny-add-mine-seed0-00000000.json"))
    refused(root_of(entry), "tiny-add-mine-seed0-00000000.json", "expected no such file, as entry.json says")


@pytest.mark.parametrize("change, words", [
    ({"defense": {"name": "theirs", "version": 1}}, ["path", "expected small-1/theirs"]),
    ({"defense": {"name": "../../x", "version": 1}}, ["path", "expected small-1/../../x"]),
    ({"protocol": "../../x"}, ["protocol", "pattern"]),
    ({"cells": {"../../../secret.json": "0" * 64}}, ["cells.../../../secret.json", "pattern"]),
    ({"name": "a\nb"}, ["name", "printable"]), ({"name": "x" * 301}, ["name", "at most 300"]),
    ({"tier": "verified"}, ["tier", "self-reported"]), ({"score": 1.0}, ["score", "not permitted"]),
    ({"schema_version": 2}, ["schema_version", "1"])])
def test_a_manifest_that_says_something_else_is_refused(entry, change, words):
    path = entry / "entry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(root_of(entry), str(entry), *words)


@pytest.mark.parametrize("place", ["notes.txt", "cells/notes.txt", "cells/.hidden", "../notes.txt", "../../../x.py"])
def test_an_extra_file_is_unexpected(entry, place):
    (entry / place).write_text("")
    refused(root_of(entry), str((entry / place).name))


@pytest.mark.parametrize("place", ["cells/more.json", "cells/more", "more"])
def test_an_extra_folder_is_unexpected(entry, place):
    (entry / place).mkdir()
    refused(root_of(entry), place)


def test_a_pipe_is_not_waited_for(entry):
    os.mkfifo(entry / "cells/pipe.json")
    refused(root_of(entry), "pipe.json", "expected only records")


@pytest.mark.parametrize("place", ["entry.json", "cells", "cells/tiny.json", "", "..", "../.."])
def test_a_link_is_not_followed(entry, tmp_path, place):
    at = entry if place == "" else entry.parents[place.count("..") - 1] if ".." in place else entry / place
    if at.exists():
        at.rename(tmp_path / "elsewhere")
    at.symlink_to(tmp_path / "elsewhere" if (tmp_path / "elsewhere").exists() else cell(entry))
    refused(root_of(entry), str(at))


def test_an_entry_without_its_manifest_or_without_cells_is_refused(entry):
    shutil.copytree(entry, entry.with_name("copy"))
    (entry.with_name("copy") / "entry.json").unlink()
    shutil.rmtree(entry / "cells")
    errors = refused(root_of(entry))
    assert len(errors) == 2 and {word for word in ("copy/entry.json", f"{entry.name}/cells") for line in errors
                                 if word in line} == {"copy/entry.json", f"{entry.name}/cells"}


# A forger who keeps hashes and path right is told by what records say of each other and of the grid.

@pytest.mark.parametrize("name, change, words", [
    ("add-mine-seed0", put("images", "reference_clean", 0, 1.0), ["images.reference_clean", "as by the same counter"]),
    ("add-none-seed0", put("images", "reference_triggered", 3, 1.0), ["images.reference_triggered", "IMG_4"]),
    ("clean-none-seed0", put("images", "clean", 11, 1.0), ["images.clean", "IMG_12: 1.0"]),
    ("add-mine-seed0", put("images", "truth", lambda truth: [5, *truth[1:]]), ["images.target", "add makes that of 5 people"]),
    ("clean-mine-seed0", put("images", "truth", lambda truth: [5, *truth[1:]]), ["images.truth", "5; expected"]),
    ("clean-mine-seed0", put("images", "id", lambda ids: ["x", *ids[1:]]), ["images.id", "'x'; expected 'IMG_1'"]),
    ("add-mine-seed0", put("images", "target", 0, 1.0), ["images.target", "IMG_1: 1.0"]),
    ("add-mine-seed0", put("attack", "poisoned", lambda ids: ids[:1]), ["attack.poisoned", "1 ids", "expected 22"]),
    ("add-mine-seed0", put("attack", "poisoned", lambda ids: [ids[1], *ids[1:]]), ["attack.poisoned", "occurs twice"]),
    ("add-mine-seed0", put("attack", "poisoned", lambda ids: ids[::-1]), ["attack.poisoned", "; expected 'IMG_"]),
    ("add-mine-seed0", put("attack", "psnr", 0, 99.0), ["attack.psnr", "30.0; expected 99.0"]),
    ("add-mine-seed0", put("attack", "images", None), ["attack.images"]),
    ("add-mine-seed0", put("seed", 1), ["file", "expected tiny-add-mine-seed1-"]),
    ("add-mine-seed0", put("seed", 7), ["cell", "seed 7", "no such cell"]),
    ("add-mine-seed0", put("model", "name", "csrnet"), ["cell", "csrnet", "no such cell"]),
    ("add-mine-seed0", put("protocol", "small-2"), ["protocol", "small-2"]),
    ("add-mine-seed0", put("protocol", None), ["protocol", "None"]),
    ("add-mine-seed0", put("variant", "code"), ["variant", '"code"', '"text"']),
    ("add-mine-seed0", put("attack", "poison_rate", 0.5), ["attack.poison_rate", "0.5", "0.1"]),
    ("add-mine-seed0", put("attack", "increases", False), ["attack.increases", "false"]),
    ("add-mine-seed0", put("attack", "trigger", "resolved", "alpha", 0.9), ["attack.trigger.resolved.alpha", "0.9"]),
    ("add-mine-seed0", put("attack", "trigger", "version", 9), ["attack.trigger.version", "9"]),
    ("add-mine-seed0", put("training", "resolved", "epochs", 1), ["training.resolved.epochs", "1"]),
    ("add-mine-seed0", put("training", "hold_out", 0.2), ["training.hold_out", "0.2"]),
    ("add-mine-seed0", put("training", "note", 1), ["note"]),
    ("add-mine-seed0", put("data", "resolved", "people", 9), ["data.resolved.people", "9"]),
    ("add-mine-seed0", put("model", "given", {"x": 1}), ["model.given", "'x'"]),
    ("add-mine-seed0", put("defense", "name", "theirs"), ["file", "tiny-add-theirs-seed0-"]),
    ("add-mine-seed0", put("defense", "version", "abc"), ["defense", "version abc"]),
    ("add-mine-seed0", put("defense", "resolved", "epochs", 9), ["defense", "'epochs': 9"]),
    ("add-none-seed0", put("defense", "resolved", {"epochs": 9}), ["defense", "'epochs': 9"]),
    ("add-none-seed0", put("defense", "version", 2), ["defense", "version 2"]),
    ("add-retrain-seed0", put("defense", "version", "abc"), ["defense.version", "retrain is not a plugin"]),
    ("add-retrain-seed0", put("defense", "version", 99), ["defense.version", "99"]),
    ("add-mine-seed0", put("provenance", "data", "test", "c" * 32), ["provenance.data.test", "b" * 32]),
    ("add-mine-seed0", put("provenance", "data", {"train": "a" * 32}), ["provenance.data.test"]),
    ("add-mine-seed0", put("provenance", {}), ["provenance.data"]),
    ("add-mine-seed0", put("provenance", "stages", "victim", "weights_sha256", "c" * 64), ["stages.victim", "c" * 30]),
    ("add-none-seed0", put("provenance", "stages", "repaired", "weights_sha256", "c" * 64), ["stages.repaired"]),
    ("add-mine-seed0", put("provenance", "stages", "clean", "weights_sha256", "x"), ["stages.clean", "pattern"]),
    ("add-mine-seed0", put("knowledge", {"clean": "all"}), ["knowledge.clean", "integer"]),
    ("add-mine-seed0", put("knowledge", {"clean": -1}), ["knowledge.clean"]),
    ("add-mine-seed0", put("provenance", "commit", ["a"]), ["provenance.commit", "string"]),
    ("add-mine-seed0", put("model", "resolved", "width", {}), ["model.resolved.width", "{}", "64"]),
    ("add-mine-seed0", put("training", "resolved", "clip", True), ["training.resolved.clip", "true", "1.0"]),
    ("add-mine-seed0", put("images", "clean", 0, 1e300), ["images", "not finite"]),
    ("add-mine-seed0", put("images", "id", 0, "<script>alert(1)</script>"), ["images.id", "<script>"]),
    ("add-mine-seed0", put("warnings", ["a\u202eb"]), ["warnings", "'a\\u202eb'"]),
    ("add-mine-seed0", put("provenance", "<b>", 1), ["provenance.<b>", "unknown key"]),
    ("add-mine-seed0", put("provenance", "packages", {"<b>": "1"}), ["provenance", "'<b>'"]),
    ("add-mine-seed0", put("images", "id", 0, "a\x1b[31m"), ["images.id", "printable"]),
    ("add-mine-seed0", put("model", "name", "../../x"), ["cell", "../../x"]),
    ("add-mine-seed0", put("defense", "given", "epochs", 6), ["defense.given.epochs", "6", "expected 5 as in defense.resolved"]),
    ("add-retrain-seed0", put("defense", "resolved", {"wonder": "x"}), ["defense.resolved", "'wonder'"]),
    ("add-none-seed0", put("detection", {"of": "counters", "clean": [0.0], "triggered": [1.0]}),
     ["detection", "none detects nothing"]),
    ("add-retrain-seed0", put("detection", {"of": "counters", "clean": [0.0], "triggered": [1.0]}), ["detection"]),
    ("add-mine-seed0", put("detection", {"of": "training images", "clean": [0.0], "triggered": [1.0]}),
     ["detection", "scores of training images by mine; expected null, since it only repairs"]),
    ("add-mine-seed0", put("training", "given", None), ["training.given", "dictionary"]),
    ("add-mine-seed0", put("provenance", "stages", []), ["provenance.stages"]),
    ("add-mine-seed0", put("provenance", "stages", "repaired", None), ["provenance.stages.repaired"])])
def test_a_forged_record_is_refused(entry, name, change, words):
    forged(entry, name, change, f"{name}", *words)


@pytest.mark.parametrize("change", [
    lambda images: {key: column[:5] for key, column in images.items()},  # those that the defense counts right, say
    lambda images: {key: column[::-1] for key, column in images.items()},
    lambda images: images | {"truth": [count + 1 for count in images["truth"]],
                             **({"target": [count + 101 for count in images["truth"]]} if images["target"] else {})}])
def test_images_and_true_counts_that_are_not_the_grids_are_refused(grid, entry, change, monkeypatch):
    fixed = replace(grid, counted=Record.read(cell(entry)).images.checksum)
    monkeypatch.setattr("benchmark.config.frozen_grids.frozen", lambda: [fixed])
    assert validate([entry]).ok
    for name in ("mine", "none", "retrain"):
        rewritten(entry / "cells", name, lambda record: record.update(images=change(
            {key: column or [] for key, column in record["images"].items()}) | {
                key: None for key, column in record["images"].items() if column is None}))
    refused(root_of(sealed(entry)), "images", "other ids and true counts; expected those of small-1")


def test_the_draft_that_a_killed_submission_left_is_no_entry(entry):
    shutil.copytree(root_of(entry), root_of(entry) / ".draft")
    assert [one.path for one in validate([root_of(entry)]).entries] == [str(entry)]
    assert len(read_record_files([root_of(entry)])) == len(list((entry / "cells").iterdir()))


def test_a_repair_whose_seconds_nobody_measured_is_in_the_tables(entry):
    for name in ("mine", "none", "retrain"):
        rewritten(entry / "cells", name, put("provenance", "stages", "repaired", "seconds", None))
    assert validate([sealed(entry)]).ok
    files = read_record_files([root_of(entry).joinpath("small-1")])
    text = board(record for _, record in files).text()
    assert "| mine" in text


def test_a_cell_that_is_there_twice_is_refused(entry):
    shutil.copy(cell(entry), entry / "cells/tiny-add-mine-seed0-00000000.json")
    refused(root_of(sealed(entry)), "cell", "tiny blended/add seed 0 with this defense", "is also in")


def test_a_protocol_that_is_not_frozen_is_refused(entry):
    path = entry / "entry.json"
    path.write_text(path.read_text().replace("small-1", "small-2"))
    entry.parent.parent.rename(entry.parent.parent.with_name("small-2"))
    refused(root_of(entry), "entry.json", "protocol", "did you mean 'small-1'")


def test_an_entry_of_a_defense_that_no_cell_has_is_refused(entry):
    for path in (entry / "cells").glob("*-mine-*"):
        path.unlink()
    refused(root_of(sealed(entry)), "entry.json", "defense", "no cell has mine")


def test_many_errors_are_cut_off(entry):
    for name in ("mine", "none", "retrain"):
        rewritten(entry / "cells", name, lambda record: record["images"].update(id=[f"<{i}>" for i in range(12)]))
    assert len(refused(root_of(sealed(entry)))) == 20


def test_a_prediction_that_is_forged_with_all_hashes_is_not_told(entry):
    """What no recomputation can tell: whether a counter did count that. The published revision, and a rerun, can."""
    rewritten(entry / "cells", "add-mine-seed0", put("images", "triggered", 0, 55.5))
    assert validate([sealed(entry)]).ok


def test_a_record_names_no_code_that_is_imported(entry):
    rewritten(entry / "cells", "add-mine-seed0", put("model", "name", "mcnn"))
    rewritten(entry / "cells", "add-none-seed0", put("attack", "target", "name", "antigravity"))
    before = {*sys.modules}
    refused(root_of(sealed(entry)), "no such cell")
    assert not {"models.mcnn", "antigravity"} & ({*sys.modules} - before)


# Files that would take a reader in.

def replaced(entry, text):
    cell(entry).write_text(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + 5000 * "0"])
@pytest.mark.parametrize("old", ['"seconds": 1.0', '"seed": 0', '"psnr": [\n   30.0'])
def test_a_number_that_is_not_finite_is_refused(entry, old, number):
    text = cell(entry).read_text()
    key, _, _ = old.rpartition(" ")
    assert old in text
    replaced(entry, text.replace(old, f"{key} {number}"))
    refused(root_of(entry), cell(entry).name, "JSON", number[:5])


@pytest.mark.parametrize("text, words", [
    ('{"seed": 0, "seed": 1}', ["JSON", "'seed' occurs twice"]), ("[" * 10**6, ["JSON", "nested too deep"]),
    ('{"a":' * 30 + "0" + "}" * 30, ["JSON", "nested too deep"]), ("{", ["JSON"]), ("", ["JSON"]), ("[]", ["record"]),
    ("\ufeff{}", ["JSON", "BOM"]), ('{"variant": "\\ud800"}', ["JSON", "UTF-8"]),
    ("{" + ",".join(f'"{i}":0' for i in range(10**5)) + "}", ["JSON", "100000 keys"]),
    ('{"warnings": [' + "0," * 10**6 + "0]}", [])])
def test_a_file_that_is_no_strict_json_or_no_record_is_refused(entry, text, words):
    replaced(entry, text)
    refused(root_of(entry), cell(entry).name, *words)


def test_bytes_that_are_no_text_are_refused(entry):
    cell(entry).write_bytes(b'{"variant": "\xff"}')
    refused(root_of(entry), cell(entry).name, "JSON", "UTF-8")


@pytest.mark.slow
@pytest.mark.parametrize("column, value", [("id", '"IMG_1",'), ("clean", "1,"), ("clean", '"x",'), ("truth", "-1,")])
def test_too_many_images_are_refused(entry, column, value):
    record = json.loads(cell(entry).read_text())
    record["images"][column] = "HERE"
    replaced(entry, json.dumps(record).replace('"HERE"', f"[{(value * 10**6)[:-1]}]"))
    refused(root_of(entry), cell(entry).name, f"images.{column}")
    cell(entry).write_text('{"images": {"id": [' + '"a",' * 10**7)
    refused(root_of(entry), cell(entry).name, f"expected at most {MOST_BYTES}")


@pytest.mark.parametrize("place", ["entry.json", "cells/huge.json"])
def test_a_huge_file_is_not_read(entry, place):
    (entry / place).touch()
    os.truncate(entry / place, 2**30)
    refused(root_of(entry), place, f"{2**30} bytes")


def test_too_many_bytes_in_all_and_too_many_files_are_refused(entry):
    for i in range(5):
        (entry / f"cells/{i}.json").touch()
        os.truncate(entry / f"cells/{i}.json", MOST_BYTES)
    refused(root_of(entry), "cells", "bytes in all")
    for i in range(1000):
        (entry / f"cells/{i}.json").write_text("")
    refused(root_of(entry), "cells", "at most 1000 records")


# Against what was published.

@pytest.fixture
def base(entry, tmp_path):
    """The entries as they were published."""
    return Path(shutil.copytree(root_of(entry), tmp_path / "base"))


def test_what_is_as_it_was_and_what_is_new_is_fine(entry, base, grid, tmp_path):
    theirs = run_of(grid, tmp_path / "run-2", [Record.read(cell(entry, "add-none-seed0")).defense,
                                               Record.read(cell(entry)).defense.model_copy(update={"name": "theirs"})])
    submitted(theirs, root_of(entry), "theirs")
    report = validate([root_of(entry)], base)
    assert report.ok and len(report.entries) == 2


def test_a_published_entry_may_not_change_its_words(entry, base):
    path = entry / "entry.json"
    path.write_text(path.read_text().replace("My defense", "Your defense"))
    assert validate([root_of(entry)]).ok
    refused(root_of(entry), "entry.json", "differs from what was published", against=base)


def test_a_published_entry_may_not_vanish(entry, base):
    shutil.rmtree(entry)
    refused(root_of(entry), str(entry), "is gone; expected the published entry", against=base)


def test_a_published_cell_may_not_change_even_under_a_new_revision(entry, base):
    rewritten(entry / "cells", "add-mine-seed0", put("images", "triggered", 0, 55.5))
    sealed(entry)
    refused(root_of(entry), str(entry), "is gone; expected the published entry", against=base)


def test_a_published_cell_may_not_become_a_link(entry, base, tmp_path):
    shutil.move(cell(entry), tmp_path / "cell.json")
    (entry / "cells" / cell(base / entry.relative_to(root_of(entry))).name).symlink_to(tmp_path / "cell.json")
    errors = refused(root_of(entry), "no links", against=base)
    assert "differs from what was published" in errors[1]


# Records of one's own are read as carefully.

def test_a_record_of_ones_own_may_lie_behind_a_link(entry, tmp_path):
    (tmp_path / "link.json").symlink_to(cell(entry))
    assert Record.read(tmp_path / "link.json") == Record.read(cell(entry))


@pytest.mark.parametrize("text, words", [
    ('{"seed": NaN}', "JSON: NaN; expected finite numbers"),
    ('{"variant": "text", "seed": 1.5}', "seed: Input should be"),
    ('{"schema_version": 2, "a\\nb": 1}', "schema_version: Input should be")])
def test_a_record_that_is_wrong_is_told_by_file_and_key(tmp_path, text, words):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"^record {path}: {words}"):
        Record.read(path)


def test_a_large_file_a_folder_and_no_file_are_told(tmp_path):
    (tmp_path / "large.json").touch()
    os.truncate(tmp_path / "large.json", 2**30)
    for name, words in (("large.json", f"{2**30} bytes"), ("", "regular file"), ("none.json", "No such file")):
        with pytest.raises(UserError, match=words):
            Record.read(tmp_path / name)


def test_the_published_schema_is_that_of_the_record():
    # If this fails, write it again:
    # python -c 'import json; from benchmark.results.record import schema; print(json.dumps(schema(), indent=1))' > docs/...
    assert json.loads((ROOT / "docs/record.schema.json").read_text()) == schema()
    assert schema()["$defs"]["Images"]["properties"]["id"]["maxItems"] == 10**5


# Cells that somebody ran again.

def rerun(entry, changed=lambda record: None, name="add-mine-seed0"):
    """A record of another run of a cell, on another machine."""
    record = json.loads(cell(entry, name).read_text())
    elsewhere(record)
    changed(record)
    (entry / "reruns").mkdir(exist_ok=True)
    (entry / "reruns" / cell(entry, name).name).write_text(json.dumps(record))
    return entry


def test_a_cell_that_another_machine_got_too_raises_the_tier(entry):
    report = validate([rerun(entry)])
    assert report.ok and report.entries[0].tier == "re-run, 1 of 12 cells" and "re-run, 1 of 12" in report.text()


def test_a_rerun_with_other_counts_is_told(entry):
    def other(record):
        record["images"]["triggered"] = [10 * count for count in record["images"]["triggered"]]
        record["images"]["clean"] = [count * (3 if place % 2 else 1 / 3) for place, count in
                                     enumerate(record["images"]["truth"])]

    refused(root_of(rerun(entry, other)), "reruns", "differs")


def test_what_a_rerun_says_of_entries_is_nothing(entry):
    def forged(record):
        record["provenance"] |= {"entry": 5, "victims": ["x"]}

    refused(root_of(rerun(entry, forged)), "reruns", "not a cell of the entry")


def test_the_entrys_own_record_is_no_rerun_and_neither_is_another_cell(entry):
    (entry / "reruns").mkdir()
    shutil.copy(cell(entry), entry / "reruns")
    refused(root_of(entry), "reruns", "the entry's own record")

    def another(record):
        record["seed"] = 7

    refused(root_of(rerun(entry, another)), "reruns", "not a cell of the entry")


@pytest.mark.parametrize("spoil, words", [
    (lambda path: path.write_text("{"), ["reruns"]),
    (lambda path: path.rename(path.with_suffix(".py")), ["reruns", "only records"]),
    (lambda path: path.write_text(path.read_text().replace('"seed": 0', '"seed": NaN')), ["reruns", "seed"])])
def test_a_broken_rerun_is_refused(entry, spoil, words):
    rerun(entry)
    [path] = (entry / "reruns").iterdir()
    spoil(path)
    refused(root_of(entry), *words)


def test_reruns_are_added_to_a_published_entry_and_never_changed_or_brought_along(entry, tmp_path):
    base = shutil.copytree(root_of(entry), tmp_path / "published")
    rerun(entry)
    assert validate([root_of(entry)], base).ok
    again = shutil.copytree(root_of(entry), tmp_path / "with-rerun")
    shutil.rmtree(entry / "reruns")
    refused(root_of(entry), "reruns", "differs from what was published", against=again)
    rerun(entry)
    shutil.rmtree(base / entry.relative_to(root_of(entry)))
    refused(root_of(entry), "reruns", "in a new entry; expected none", against=base)
