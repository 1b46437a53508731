"""Entries of several people in one leaderboard: only sound ones, each with victims of its own."""

import json
import os
import shutil
from pathlib import Path

import pytest
from factories import DEFENSES, make_record, rewritten, run_of, submitted

from benchmark.cli import main
from benchmark.leaderboard.entry_labels import label_entries
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.manifest import Manifest
from benchmark.leaderboard.report import board, compare
from benchmark.leaderboard.reruns import tier, verdicts
from benchmark.leaderboard.validate import CheckedEntry, validate
from benchmark.results.record import Choice
from benchmark.results.scenarios import scenarios
from benchmark.tables.controls import control_table
from benchmark.tables.defenses import defense_table
from benchmark.utils.errors import UserError


def records_in(*paths):
    return [record for _, record in read_record_files(paths)]


def entry_of(defense, revision, *records):
    """An entry without errors that holds records, and the files of its cells."""
    manifest = Manifest(name=f"The {defense}", paper="https://example.org/paper", code="https://example.org/code",
                        protocol="standard-1", defense=Choice(name=defense), cells={}, crowdbench="1")
    folder = Path("entries/standard-1") / defense / revision
    cells = {f"{number}.json": record for number, record in enumerate(records)}
    return (CheckedEntry(folder, manifest, cells, [], "recomputed from counts"),
            [(folder / "cells" / name, record) for name, record in cells.items()])


def labelled(*entries, loose=()):
    files = [(Path(f"runs/{number}.json"), record) for number, record in enumerate(loose)]
    return [record for _, record in label_entries(files, entries)]


def test_two_entries_with_victims_of_their_own_have_rows_of_their_own():
    first = [make_record("add", effect=0.4), make_record("add", effect=0.1, defense="fine_tune")]
    second = [make_record("add", effect=0.5), make_record("add", effect=0.2, defense="jpeg")]
    table = board(labelled(entry_of("fine_tune", "aaa", *first), entry_of("jpeg", "bbb", *second))).controls
    attacked = table[(table["attack"].str.startswith("blended/add")) & table["images"].notna()]
    assert set(zip(attacked["attack"], attacked["defense"])) == {
        ("blended/add (victims fine_tune/aaa)", "none"), ("blended/add (victims fine_tune/aaa)", "fine_tune"),
        ("blended/add (victims jpeg/bbb)", "none"), ("blended/add (victims jpeg/bbb)", "jpeg")}
    with pytest.raises(UserError, match="the same settings and seed"):
        board(first + second)


def test_what_two_entries_share_is_kept_once_and_their_defenses_stand_beside_each_other():
    """Both repaired the same victims: none is one row, and each defense is compared with it and with the other."""
    shared = [make_record("add", effect=0.4), make_record("add", effect=0.2, defense="retrain")]
    records = labelled(entry_of("fine_tune", "aaa", *shared, make_record("add", effect=0.1, defense="fine_tune")),
                       entry_of("jpeg", "bbb", *shared, make_record("add", effect=0.3, defense="jpeg")))
    assert sorted(record.defense.name for record in records) == ["fine_tune", "jpeg", "none", "retrain"]
    table = board(records).controls
    assert set(table[table["images"].notna() & (table["attack"] == "blended/add")]["defense"]) == {
        "none", "fine_tune", "jpeg", "retrain"}


def test_two_revisions_of_one_defense_are_two_rows():
    none = make_record("add", effect=0.4)
    table = board(labelled(entry_of("jpeg", "aaa", none, make_record("add", effect=0.3, defense="jpeg")),
                           entry_of("jpeg", "bbb", none, make_record("add", effect=0.2, defense="jpeg")))).controls
    assert set(table[table["images"].notna()]["defense"]) >= {"jpeg (entry jpeg/aaa)", "jpeg (entry jpeg/bbb)", "none"}


def test_an_entry_joins_the_records_of_no_entry_whose_victims_it_has():
    none = make_record("add", effect=0.4)
    records = labelled(entry_of("jpeg", "aaa", none, make_record("add", effect=0.3, defense="jpeg")), loose=[none])
    assert [record.defense.name for record in records] == ["none", "jpeg"]
    assert records[0].provenance["victims"] == records[1].provenance["victims"] == "of no entry"


def test_records_of_no_entry_with_other_victims_have_rows_of_their_own():
    entry = entry_of("jpeg", "aaa", make_record("add", effect=0.4), make_record("add", effect=0.3, defense="jpeg"))
    found = scenarios(labelled(entry, loose=[make_record("add", effect=0.8),
                                             make_record("add", effect=0.7, defense="blur")]))
    attacks = {name.rpartition(" (")[2] for name in control_table(found).frame["attack"] if name != "clean"}
    assert attacks == {"victims jpeg/aaa)", "victims of no entry)"}
    none = defense_table(found).frame.set_index("defense").loc["none"]
    assert len({none[column] for column in none.index if column.endswith("flip rate")}) == 2


def test_defenses_of_other_victims_are_compared_on_the_same_images():
    first = entry_of("fine_tune", "aaa", make_record("add", effect=0.4), make_record("add", effect=0.1, defense="fine_tune"))
    second = entry_of("jpeg", "bbb", make_record("add", effect=0.5), make_record("add", effect=0.3, defense="jpeg"))
    table = compare(labelled(first, second), "jpeg")
    assert set(table.frame["compared with"]) == {"none", "fine_tune"} and len(table.frame) == 2
    assert "victims of their own" in " ".join(table.notes)


def test_a_record_of_no_entry_cannot_say_that_it_is_of_one(tmp_path):
    record = make_record("add").model_copy(update={"provenance": {"entry": {"path": "a/b"}, "victims": "<script>"}})
    (tmp_path / "one.json").write_text(record.dumps())
    [record] = records_in(tmp_path)
    assert record.provenance == {}


# Cells that were run again

def test_a_rerun_whose_counts_differ_by_rounding_proves_a_cell():
    cells = [make_record("add", effect=0.4), make_record("add", effect=0.1, defense="jpeg")]
    rounded = {"triggered": [count * (1 + 2e-6) for count in cells[1].images.triggered]}
    again = cells[1].model_copy(update={"images": cells[1].images.model_copy(update=rounded)})
    assert tier(cells, []) == "recomputed from counts"
    assert verdicts(cells, [again]) == ["the same"] and tier(cells, [again]) == "re-run, 1 of 2 cells"


@pytest.mark.parametrize("change", [
    {}, {"provenance": {"commit": "1" * 40}}, {"provenance": {"device_name": "another"}}, {"provenance": {"stages": {"repaired": {"seconds": 7.0}}}},
    {"provenance": {"threads": 77, "python": "3.99"}}, {"warnings": ["elsewhere"]}])
def test_a_copy_of_ones_own_cell_is_no_rerun_whatever_else_it_says(change):
    cells = [make_record("add", effect=0.1, defense="jpeg")]
    copy = cells[0].model_copy(update=change)
    [verdict] = verdicts(cells, [copy])
    assert "its counts to the last digit" in verdict and tier(cells, [copy]) == "recomputed from counts"


def test_noise_below_what_a_counter_gives_makes_no_rerun_of_a_copy():
    cells = [make_record("add", effect=0.1, defense="jpeg")]
    images = cells[0].images
    noisy = images.model_copy(update={"triggered": [count + 1e-9 for count in images.triggered]})
    assert tier(cells, [cells[0].model_copy(update={"images": noisy})]) == "recomputed from counts"


def test_a_rerun_with_other_counts_is_told():
    cells = [make_record("add", effect=0.9), make_record("add", effect=0.0, defense="jpeg")]
    again = make_record("add", effect=0.9, defense="jpeg")
    assert verdicts(cells, [again]) == ["differs"] and tier(cells, [again]) == "not reproduced"
    assert verdicts(cells, [make_record("minus")]) == ["not a cell of the entry"]


# Records that are broken, repeated or contradict each other.

def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record if isinstance(record, str) else record.dumps())
    return path


@pytest.mark.parametrize("broken, told", [
    ("", "file: 0 bytes without content"), ("\n\n", "file: 2 bytes without content"), ("{", "JSON: "), ("[]", "record: "),
    ("null", "record: "), (make_record("add").dumps()[:300], "JSON: "), ("{" * 10**5, "JSON: ")])
def test_a_broken_record_among_others_is_named_and_skipped(tmp_path, capsys, broken, told):
    sound, path = write(tmp_path / "a.json", make_record("add")), write(tmp_path / "b.json", broken)
    assert [found for found, _ in read_record_files([tmp_path])] == [sound]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skipped: record {path}: {told}") and len(line) < 500
    assert main(["leaderboard", str(tmp_path)]) == 0 and "skipped: " in capsys.readouterr().err
    assert main(["leaderboard", str(sound), str(path)]) == 0


def test_a_folder_and_a_file_that_cannot_be_read_are_skipped_too(tmp_path, capsys):
    sound = write(tmp_path / "a.json", make_record("add"))
    (tmp_path / "b.json").mkdir()
    (tmp_path / "c.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "d.json")
    assert [found for found, _ in read_record_files([tmp_path])] == [sound]
    assert [line.partition(".json: ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "file: expected a regular file", "file: No such file or directory", "file: expected a regular file"]


def test_nothing_but_broken_records_is_an_error(tmp_path, capsys):
    path = write(tmp_path / "a.json", "")
    assert main(["leaderboard", str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("crowdbench: ") and f"no record is left; skipped: record {path}" in line


def test_the_same_record_given_twice_is_no_error(tmp_path):
    record = make_record("add")
    paths = [write(tmp_path / name, record) for name in ("a.json", "b.json", "copy/a.json")]
    assert [path for path, _ in read_record_files([tmp_path, paths[0], tmp_path / "copy"])] == paths[:1]
    assert main(["leaderboard", str(tmp_path), str(tmp_path)]) == 0


@pytest.mark.parametrize("command", [["leaderboard"], ["compare", "fine_tune"], ["findings"]])
def test_two_different_records_of_one_cell_are_named_with_both_paths(tmp_path, capsys, command):
    record = make_record("add", "fine_tune")
    first, second = write(tmp_path / "a.json", record), write(
        tmp_path / "b/b.json", record.model_copy(update={"warnings": ["other"]}))
    assert main([*command, str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{first} and {second}: two different records of one cell" in line


def test_of_controls_that_were_run_twice_the_first_folder_has_those_that_count(tmp_path, capsys):
    mine = [write(tmp_path / f"mine/{name}.json", make_record("add", name, effect=0.3)) for name in ("none", "mine")]
    write(tmp_path / "theirs/none.json", make_record("add", "none", effect=0.9))
    theirs = write(tmp_path / "theirs/jpeg.json", make_record("add", "jpeg"))
    assert [path for path, _ in read_record_files([tmp_path / "mine", tmp_path / "theirs"])] == [*sorted(mine), theirs]
    [line] = capsys.readouterr().err.splitlines()
    assert line == (f"left out: 1 record of controls that an earlier folder has too, for instance "
                    f"{tmp_path / 'theirs/none.json'}")


# Entries on disk: what `validate` refuses is not shown.

def shown_rows(root, capsys, code=0):
    """The lines of the tables that name the entry's defense, and what was told on stderr."""
    assert main(["leaderboard", str(root)]) == code
    printed = capsys.readouterr()
    return [line for line in printed.out.splitlines() if "mine" in line], printed.err.splitlines()


def test_an_entry_without_errors_is_ranked_and_nothing_is_told(entry, tmp_path, capsys):
    rows, told = shown_rows(tmp_path / "entries", capsys)
    assert told == [] and rows[0].startswith("| 1 ") and "My defense" in rows[0]


def change_a_count(entry):
    rewritten(entry / "cells", "add-mine-seed0", lambda record: record["images"]["triggered"].reverse())


@pytest.mark.parametrize("spoil, told", [
    (change_a_count, ["tiny-add-mine-seed0-", "sha256", "as entry.json says"]),
    (lambda entry: (entry / "entry.json").unlink(), ["entry.json: file: missing"]),
    (lambda entry: (entry / "entry.json").write_text("{}"), ["entry.json: name: "]),
    (lambda entry: (entry / "more.json").write_text("{}"), ["more.json: file: not part of an entry"]),
    (lambda entry: next((entry / "cells").iterdir()).write_text(""), ["without content"]),
    (lambda entry: shutil.rmtree(entry / "cells"), ["cells: file: missing"]),
    (lambda entry: entry.rename(entry.with_name("0" * 12)), [": path: "])])
def test_what_validate_refuses_is_left_out_and_told(entry, tmp_path, capsys, spoil, told):
    write(tmp_path / "runs/a.json", make_record("add"))
    spoil(entry)
    assert not validate([tmp_path / "entries"]).ok
    assert main(["leaderboard", str(tmp_path / "entries"), str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr()
    assert "mine" not in printed.out and "My defense" not in printed.out
    [line] = printed.err.splitlines()
    assert line.startswith("left out: ") and [word for word in told if word not in line] == []
    assert main(["leaderboard", str(tmp_path / "entries")]) == 2


def test_one_cell_of_a_refused_entry_is_not_shown_either(entry, capsys):
    change_a_count(entry)
    cell = next((entry / "cells").glob("*add-mine-seed1*"))
    assert main(["leaderboard", str(cell)]) == 2 and main(["leaderboard", str(entry / "cells")]) == 2
    assert "left out: " in capsys.readouterr().err


@pytest.mark.parametrize("place", ["x.json", "small-1/x.json", "small-1/mine/x.json", "small-1/theirs/x.json"])
def test_a_record_that_lies_among_entries_and_in_none_is_left_out(entry, tmp_path, capsys, place):
    path = write(tmp_path / "entries" / place, next((entry / "cells").glob("*add-mine-seed1*")).read_text())
    rows, told = shown_rows(tmp_path / "entries", capsys)
    assert told == [f"left out: {path}: not part of an entry, but among entries"] and len(rows[0].split("|")) > 5
    assert not any("of no entry" in row for row in rows)


def test_a_record_outside_of_entries_is_read_beside_them(entry, tmp_path, capsys):
    write(tmp_path / "runs/a.json", make_record("add"))
    _, told = shown_rows(tmp_path, capsys)
    assert told == []


@pytest.mark.parametrize("name, told", [
    ("none-seed1", "2 of 4 cells with the defense none are missing"), ("add-none", "2 of 4 cells with the defense none"),
    ("-none-", "4 of 4 cells with the defense none are missing"), ("-retrain-", "4 of 4 cells with the defense retrain"),
    ("add-retrain-seed0", "1 of 4 cells with the defense retrain")])
def test_an_entry_that_lacks_cells_has_no_rank_and_says_why(run, tmp_path, capsys, name, told):
    for path in run.glob(f"*{name}*"):
        path.unlink()
    entry = submitted(run, tmp_path / "entries")
    assert f"incomplete, shown without a rank: {entry}: cells: {told}" in capsys.readouterr().err
    rows, lines = shown_rows(tmp_path / "entries", capsys)
    assert not [row for row in rows if row.startswith("| 1 ")]
    assert lines[0].startswith(f"without a rank: {entry}: cells: {told}") and len(lines) == 1


def test_why_an_entry_has_no_rank_stands_below_the_others(grid, run, tmp_path, capsys):
    theirs = run_of(grid, tmp_path / "theirs", [*DEFENSES[:1], DEFENSES[1].model_copy(update={"name": "theirs"})])
    submitted(run, tmp_path / "entries")
    submitted(theirs, tmp_path / "entries", "theirs")
    assert main(["leaderboard", str(tmp_path / "entries")]) == 0
    out = capsys.readouterr().out
    assert "theirs has no rank: 4 of 4 cells with the defense retrain are missing" in out
    [row] = [line for line in out.splitlines() if line.startswith("| incomplete")]
    assert "theirs" in row and "4/4" in row


def test_two_entries_are_compared_by_their_folders(grid, run, tmp_path, capsys):
    first = submitted(run, tmp_path / "entries")
    other = Choice(name="theirs", version="0" * 12)
    second = submitted(run_of(grid, tmp_path / "theirs", [DEFENSES[0], DEFENSES[2], other]), tmp_path / "entries", "theirs")
    capsys.readouterr()
    assert main(["compare", str(second), str(first), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["defense"], row["compared with"]) for row in rows} >= {("theirs", "none"), ("theirs", "mine")}


def test_a_path_that_is_mistyped_among_others_is_told(tmp_path):
    (tmp_path / "one.json").write_text(make_record("add").dumps())
    with pytest.raises(UserError, match="nothere: no such file or folder; expected record files"):
        read_record_files([tmp_path / "one.json", tmp_path / "nothere"])
