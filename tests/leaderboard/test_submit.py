"""A run becomes an entry: which cells it takes, what it says, and what it refuses to write."""

import hashlib
import json
import subprocess
import sys

import pytest
from factories import ROOT, digest, rewritten, run_of, submitted

from benchmark.leaderboard.manifest import revision
from benchmark.leaderboard.submit import submit
from benchmark.leaderboard.validate import validate
from benchmark.results.record import Choice
from benchmark.utils.errors import UserError


LINKS = ("https://example.org/paper", "https://example.org/code")


def refused(run, out, *words, defense="mine", **more):
    """Nothing is written, and the one line has all the words."""
    before = sorted(out.rglob("*"))
    with pytest.raises(UserError) as told:
        submitted(run, out, defense, **more)
    assert [word for word in words if word not in str(told.value)] == [] and "\n" not in str(told.value)
    assert sorted(out.rglob("*")) == before


def test_an_entry_holds_the_cells_byte_for_byte_and_says_what_they_are(run, tmp_path):
    entry = submitted(run, tmp_path / "entries")
    told = json.loads((entry / "entry.json").read_text())
    files = {path.name: path for path in (entry / "cells").iterdir()}
    assert {name: path.read_bytes() for name, path in files.items()} == {
        path.name: path.read_bytes() for path in run.iterdir()}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert entry.relative_to(tmp_path / "entries").parts == ("small-1", "mine", revision(digests))
    assert told["cells"] == digests and told["tier"] == "self-reported" and told["name"] == "My defense"
    assert told["defense"] == {"name": "mine", "version": "0123456789ab", "given": {}, "resolved": {"epochs": 5}}
    assert [entry.path for entry in validate([tmp_path / "entries"]).entries] == [str(entry)]


def test_a_revision_is_what_the_shell_makes_of_the_cells():
    listed = f"{'a' * 64}  a.json\n{'b' * 64}  b.json\n"
    assert revision({"b.json": "b" * 64, "a.json": "a" * 64}) == digest(listed)[:12]


def test_the_same_run_gives_the_same_entry_once(run, tmp_path):
    first = submitted(run, tmp_path / "a")
    second = submitted(run, tmp_path / "b")
    assert first.relative_to(tmp_path / "a") == second.relative_to(tmp_path / "b")
    refused(run, tmp_path / "a", "exists already")


def test_cells_of_other_defenses_and_of_other_victims_stay_behind(grid, run, tmp_path):
    run_of(grid, run, [Choice(name="theirs")])
    for path in run.glob("*-mine-seed1-*"):
        path.unlink()
    entry = submitted(run, tmp_path / "entries")
    assert {(path.name.split("-")[2], path.name.split("-")[3]) for path in (entry / "cells").iterdir()} == {
        (defense, "seed0") for defense in ("mine", "none", "retrain")}
    incomplete, *_ = validate([entry]).problems
    assert validate([entry]).ok and (
        "2 of 4 cells with the defense mine are missing, for instance tiny clean seed 1" in incomplete.what)


def test_the_control_is_given_as_many_clean_images_as_the_defense(tmp_path):
    run, published = tmp_path / "run", ROOT / "records/standard-quick"
    run.mkdir()
    for name in ("none", "fine_pruning", "retrain"):
        for path in published.glob(f"*-{name}-seed*.json"):
            if name != "retrain" or "images" not in json.loads(path.read_text())["defense"]["given"]:
                (run / path.name).write_bytes(path.read_bytes())
    entry = submitted(run, tmp_path / "entries", "fine_pruning")
    [told] = validate([entry]).problems
    assert told.what == ("15 of 15 cells with the defense retrain images=40 extra=0 epochs=614 are missing, "
                         "for instance tiny clean seed 0")
    for path in published.glob("*-retrain-seed*.json"):
        (run / path.name).write_bytes(path.read_bytes())
    assert validate([submitted(run, tmp_path / "complete", "fine_pruning")]).problems == []


@pytest.mark.parametrize("name", ["../../../evil", "a/b", "", "mine\n"])
def test_a_name_that_is_no_defenses_makes_no_folder(run, tmp_path, name):
    refused(run, tmp_path, "expected the name of a defense", defense=name)


def test_a_record_outside_of_the_grid_stays_behind(run, tmp_path):
    rewritten(run, "retrain", lambda record: record.update(protocol=None))
    entry = submitted(run, tmp_path / "entries")
    assert not list((entry / "cells").glob("*retrain*")) and validate([entry]).ok


@pytest.mark.parametrize("other, wish, key", [
    (Choice(name="mine", version="0123456789ab", resolved={"epochs": 9}), "defense.epochs=9", "defense.epochs=5"),
    (Choice(name="mine", version="fedcba987654", resolved={"epochs": 5}), "defense.version=fedcba987654",
     "defense.version=0123456789ab")])
def test_one_of_several_settings_or_versions_is_chosen_by_hand(grid, run, tmp_path, other, wish, key):
    run_of(grid, run, [other])
    refused(run, tmp_path / "entries", "2 of the 2 settings", "expected one", f"--set {key}", f"--set {wish}")
    refused(run, tmp_path / "entries", "0 of the 2 settings", settings=["defense.epochs=7"])
    entry = submitted(run, tmp_path / "entries", settings=[wish])
    assert json.loads((entry / "entry.json").read_text())["defense"] == other.model_dump()
    assert len(list((entry / "cells").iterdir())) == 12


def test_a_control_can_be_submitted_and_none_cannot(run, tmp_path):
    assert validate([submitted(run, tmp_path / "entries", "retrain")]).ok
    refused(run, tmp_path / "entries", "'none'", "no record of a frozen grid has this defense", defense="none")


@pytest.mark.parametrize("more, words", [
    ({"defense": "mien"}, ["'mien'", "did you mean 'mine'"]),
    ({"settings": ["training.epochs=5"]}, ["training.epochs=5", "defense.KEY=VALUE"]),
    ({"settings": ["defense=retrain"]}, ["defense=retrain", "defense.KEY=VALUE"])])
def test_a_wrong_request_is_refused(run, tmp_path, more, words):
    refused(run, tmp_path / "entries", *words, **more)


def test_what_is_typed_is_bounded_and_on_one_line(run, tmp_path):
    for name in ("", "x" * 301, "a\nb", "\u202e"):
        with pytest.raises(UserError, match="submit mine: name = "):
            submit(run, "mine", name, *LINKS, tmp_path / "entries")
    assert submit(run, "mine", "A & B <b>", *LINKS, tmp_path / "entries").is_dir()  # shown escaped


def test_a_run_that_is_not_there_or_of_no_frozen_grid_is_refused(run, tmp_path):
    refused(tmp_path / "nowhere", tmp_path / "entries", "nowhere is not a folder", "expected the folder of a run")
    rewritten(run, "tiny", lambda record: record.update(protocol=None))
    refused(run, tmp_path / "entries", "none of the 12 records", "frozen grid")


def test_a_run_that_would_be_no_valid_entry_leaves_nothing(run, tmp_path):
    rewritten(run, "add-none-seed1", lambda record: record["images"]["truth"].reverse())
    refused(run, tmp_path / "entries", "submit mine: cells/tiny-add-none-seed1-", "images.target")


# An entry that exists.

def test_addresses_are_corrected_by_submitting_again(run, tmp_path, capsys):
    entry = submitted(run, tmp_path / "entries")
    cells = {path.name: path.read_bytes() for path in (entry / "cells").iterdir()}
    moved = ("https://example.org/moved", "https://example.org/code")
    assert submit(run, "mine", "My defense", *moved, tmp_path / "entries") == entry
    told = json.loads((entry / "entry.json").read_text())
    assert (told["paper"], told["code"]) == moved and validate([entry]).ok
    assert {path.name: path.read_bytes() for path in (entry / "cells").iterdir()} == cells
    assert "entry.json were written again" in capsys.readouterr().err


@pytest.mark.parametrize("name, links, words", [
    ("My defense", LINKS, ["exists already", "other addresses"]), ("Another", LINKS, ["under the name 'My defense'"]),
    ("Another", ("https://a.org", "https://b.org"), ["under the name 'My defense'"])])
def test_nothing_else_of_an_entry_is_written_again(run, tmp_path, name, links, words):
    entry = submitted(run, tmp_path / "entries")
    before = (entry / "entry.json").read_bytes()
    with pytest.raises(UserError) as told:
        submit(run, "mine", name, *links, tmp_path / "entries")
    assert [word for word in words if word not in str(told.value)] == []
    assert (entry / "entry.json").read_bytes() == before


def test_an_entry_with_an_error_is_not_corrected(run, tmp_path):
    entry = submitted(run, tmp_path / "entries")
    (entry / "entry.json").write_text("{}")
    refused(run, tmp_path / "entries", "exists and has an error: Field required")
    assert (entry / "entry.json").read_text() == "{}"


@pytest.mark.parametrize("link", ["paper", "javascript:alert(1)", "ftp://example.org", "https://a b", "docs/../x.md",
                                  "/docs/own.md", "records/own.md", "defenses/own.sh", "docs/https://a.md"])
def test_what_is_no_address_of_the_web_is_refused(run, tmp_path, link):
    for links in ((link, LINKS[1]), (LINKS[0], link)):
        with pytest.raises(UserError, match="submit mine: (paper|code) = .*expected the address of a web page"):
            submit(run, "mine", "My defense", *links, tmp_path / "entries")
    assert not list((tmp_path / "entries").rglob("*"))


def test_a_component_of_this_project_names_its_files(run, tmp_path):
    places = ("docs/patchwork.md", "defenses/parts/patches.py")
    entry = submit(run, "mine", "My defense", *places, tmp_path / "entries")
    told = json.loads((entry / "entry.json").read_text())
    assert (told["paper"], told["code"]) == places and validate([entry]).ok


# What is missing, broken or repeated is told at once.

@pytest.mark.parametrize("gone, lines", [
    ("-none-", ["4 of 4 cells with the defense none"]), ("-retrain-", ["4 of 4 cells with the defense retrain"]),
    ("add-*-seed1", ["1 of 4 cells with the defense mine", "1 of 4 cells with the defense none", "1 of 4 cells with the defense retrain"]),
    ("nothing", [])])
def test_submit_says_at_once_what_is_missing(run, tmp_path, capsys, gone, lines):
    for path in run.glob(f"*{gone}*"):
        path.unlink()
    entry = submitted(run, tmp_path / "entries")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(lines)
    for line, start in zip(told, lines):
        assert line.startswith(f"incomplete, shown without a rank: {entry}: cells: {start} are missing, for instance ")


def test_a_broken_record_of_the_run_is_named_and_counts_as_missing(run, tmp_path, capsys):
    [path] = run.glob("*add-none-seed1*")
    path.write_text("")
    submitted(run, tmp_path / "entries")
    skipped, missing = capsys.readouterr().err.splitlines()
    assert skipped.startswith(f"skipped: record {path}: ")
    assert "1 of 4 cells with the defense none are missing, for instance tiny blended/add seed 1" in missing


def test_a_copy_of_a_record_is_taken_once_and_another_record_of_a_cell_is_refused(run, tmp_path):
    [path] = run.glob("*add-mine-seed1*")
    copy = path.with_name("tiny-add-mine-seed1-00000000.json")
    copy.write_bytes(path.read_bytes())
    assert len(list((submitted(run, tmp_path / "entries") / "cells").iterdir())) == 12
    rewritten(run, copy.name, lambda record: record.update(warnings=["other"]))
    refused(run, tmp_path / "other", copy.name, "is also in", path.name)


def test_several_errors_are_counted(run, tmp_path):
    rewritten(run, "add-mine", lambda record: record["images"]["truth"].reverse())
    refused(run, tmp_path / "entries", "images.target", "(and 1 more errors)")

# What a submitter waits for.

@pytest.mark.slow
def test_to_submit_and_to_validate_no_library_of_tables_or_figures_is_loaded(tmp_path):
    script = f"""
import sys
from benchmark.cli import main
told = [main(["submit", "{ROOT}/records/standard-quick", "--defense", "fine_tune", "--name", "X", "--paper",
              "https://example.org", "--code", "https://example.org", "--out", "entries"]), main(["validate", "entries"])]
print(told, sorted({{"pandas", "scipy", "matplotlib", "torchvision"}} & {{*sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[0, 0] []" and "75 cells" in done.stdout, done.stderr
