"""Entries of several people in one leaderboard: each has victims of its own, and none stands for another's."""

import json

import pytest
from factories import make_record

from benchmark.cli import main
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.manifest import Manifest
from benchmark.leaderboard.report import board, compare
from benchmark.leaderboard.reruns import tier, verdicts
from benchmark.results.record import Choice
from benchmark.results.scenarios import scenarios
from benchmark.tables.controls import control_table
from benchmark.tables.defenses import defense_table
from benchmark.utils.errors import UserError


def records_in(*paths):
    return [record for _, record in read_record_files(paths)]


def write_entry(folder, *records):
    (folder / "cells").mkdir(parents=True)
    manifest = Manifest(name=f"The {folder.parent.name}", paper="https://example.org/paper", code="of the paper",
                        protocol="standard-1", defense=Choice(name=folder.parent.name), cells={}, crowdbench="1")
    (folder / "entry.json").write_text(manifest.dumps())
    for number, record in enumerate(records):
        (folder / "cells" / f"{number}.json").write_text(record.dumps())


def test_two_entries_with_victims_of_their_own_have_rows_of_their_own(tmp_path):
    first = [make_record("add", effect=0.4), make_record("add", effect=0.1, defense="fine_tune")]
    second = [make_record("add", effect=0.5), make_record("add", effect=0.2, defense="jpeg")]
    write_entry(tmp_path / "standard-1/fine_tune/aaa", *first)
    write_entry(tmp_path / "standard-1/jpeg/bbb", *second)
    table = board(records_in(tmp_path)).controls
    attacked = table[(table["attack"].str.startswith("blended/add")) & table["images"].notna()]
    assert set(zip(attacked["attack"], attacked["defense"])) == {
        ("blended/add (victims fine_tune/aaa)", "none"), ("blended/add (victims fine_tune/aaa)", "fine_tune"),
        ("blended/add (victims jpeg/bbb)", "none"), ("blended/add (victims jpeg/bbb)", "jpeg")}
    with pytest.raises(UserError, match="the same settings and seed"):
        board(first + second)


def test_what_two_entries_share_is_kept_once_and_their_defenses_stand_beside_each_other(tmp_path):
    """Both repaired the same victims: none is one row, and each defense is compared with it and with the other."""
    shared = [make_record("add", effect=0.4), make_record("add", effect=0.2, defense="retrain")]
    write_entry(tmp_path / "standard-1/fine_tune/aaa", *shared, make_record("add", effect=0.1, defense="fine_tune"))
    write_entry(tmp_path / "standard-1/jpeg/bbb", *shared, make_record("add", effect=0.3, defense="jpeg"))
    records = records_in(tmp_path)
    assert sorted(record.defense.name for record in records) == ["fine_tune", "jpeg", "none", "retrain"]
    table = board(records).controls
    assert set(table[table["images"].notna() & (table["attack"] == "blended/add")]["defense"]) == {
        "none", "fine_tune", "jpeg", "retrain"}


def test_two_revisions_of_one_defense_are_two_rows(tmp_path):
    none = make_record("add", effect=0.4)
    write_entry(tmp_path / "standard-1/jpeg/aaa", none, make_record("add", effect=0.3, defense="jpeg"))
    write_entry(tmp_path / "standard-1/jpeg/bbb", none, make_record("add", effect=0.2, defense="jpeg"))
    table = board(records_in(tmp_path)).controls
    assert set(table[table["images"].notna()]["defense"]) >= {"jpeg (entry jpeg/aaa)", "jpeg (entry jpeg/bbb)", "none"}


def test_an_entry_joins_the_records_of_no_entry_whose_victims_it_has(tmp_path):
    none = make_record("add", effect=0.4)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/none.json").write_text(none.dumps())
    write_entry(tmp_path / "entries/standard-1/jpeg/aaa", none, make_record("add", effect=0.3, defense="jpeg"))
    records = records_in(tmp_path / "runs", tmp_path / "entries")
    assert [record.defense.name for record in records] == ["none", "jpeg"]
    assert records[0].provenance["victims"] == records[1].provenance["victims"] == "of no entry"


def test_records_of_no_entry_with_other_victims_have_rows_of_their_own(tmp_path):
    (tmp_path / "runs").mkdir()
    for number, record in enumerate([make_record("add", effect=0.8), make_record("add", effect=0.7, defense="blur")]):
        (tmp_path / f"runs/{number}.json").write_text(record.dumps())
    write_entry(tmp_path / "entries/standard-1/jpeg/aaa", make_record("add", effect=0.4),
                make_record("add", effect=0.3, defense="jpeg"))
    found = scenarios(records_in(tmp_path / "runs", tmp_path / "entries"))
    attacks = {name.rpartition(" (")[2] for name in control_table(found).frame["attack"] if name != "clean"}
    assert attacks == {"victims jpeg/aaa)", "victims of no entry)"}
    none = defense_table(found).frame.set_index("defense").loc["none"]
    assert len({none[column] for column in none.index if column.endswith("flip rate")}) == 2


def test_defenses_of_other_victims_are_compared_on_the_same_images(tmp_path):
    write_entry(tmp_path / "standard-1/fine_tune/aaa", make_record("add", effect=0.4),
                make_record("add", effect=0.1, defense="fine_tune"))
    write_entry(tmp_path / "standard-1/jpeg/bbb", make_record("add", effect=0.5), make_record("add", effect=0.3, defense="jpeg"))
    table = compare(records_in(tmp_path), "jpeg")
    assert set(table.frame["compared with"]) == {"none", "fine_tune"} and len(table.frame) == 2
    assert "victims of their own" in " ".join(table.notes)


def test_a_record_of_no_entry_cannot_say_that_it_is_of_one(tmp_path):
    record = make_record("add").model_copy(update={"provenance": {"entry": {"path": "a/b"}, "victims": "<script>"}})
    (tmp_path / "one.json").write_text(record.dumps())
    [record] = records_in(tmp_path)
    assert record.provenance == {}


def test_a_broken_manifest_is_named(tmp_path):
    write_entry(tmp_path / "standard-1/jpeg/aaa", make_record("add"))
    (tmp_path / "standard-1/jpeg/aaa/entry.json").write_text("{}")
    with pytest.raises(UserError, match="entry.json: name: "):
        records_in(tmp_path)


# Cells that were run again

def test_a_rerun_with_the_same_counts_proves_a_cell():
    cells = [make_record("add", effect=0.4), make_record("add", effect=0.1, defense="jpeg")]
    again = cells[1].model_copy(update={"provenance": {"commit": "other"}})
    assert tier(cells, []) == "recomputed from counts"
    assert verdicts(cells, [again]) == ["the same"] and tier(cells, [again]) == "re-run, 1 of 2 cells"
    assert verdicts(cells, [cells[1]]) == ["the entry's own record"] and tier(cells, [cells[1]]) == tier(cells, [])


def test_a_rerun_with_other_counts_is_told():
    cells = [make_record("add", effect=0.9), make_record("add", effect=0.0, defense="jpeg")]
    again = make_record("add", effect=0.9, defense="jpeg")
    assert verdicts(cells, [again]) == ["differs"] and tier(cells, [again]) == "not reproduced"
    assert verdicts(cells, [make_record("minus")]) == ["not a cell of the entry"]


def test_reruns_are_no_cells_and_prove_the_entry(tmp_path):
    cell = make_record("add", effect=0.1, defense="jpeg")
    folder = tmp_path / "standard-1/jpeg/aaa"
    write_entry(folder, make_record("add", effect=0.4), cell)
    (folder / "reruns").mkdir()
    (folder / "reruns/1.json").write_text(cell.model_copy(update={"warnings": ["elsewhere"]}).dumps())
    records = records_in(tmp_path)
    assert len(records) == 2
    assert [record.provenance.get("entry", {}).get("tier") for record in records] == [None, "re-run, 1 of 2 cells"]


def test_two_entries_are_compared_by_their_folders(tmp_path, capsys):
    first, second = tmp_path / "standard-1/fine_tune/aaa", tmp_path / "standard-1/jpeg/bbb"
    none = make_record("add", effect=0.4)
    write_entry(first, none, make_record("add", effect=0.1, defense="fine_tune"))
    write_entry(second, none, make_record("add", effect=0.3, defense="jpeg"))
    assert main(["compare", str(first), str(second), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["defense"], row["compared with"]) for row in rows} == {("fine_tune", "none"), ("fine_tune", "jpeg")}
