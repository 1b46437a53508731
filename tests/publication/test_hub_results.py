"""Entries as evaluation results of Hugging Face."""

import json
import re
from argparse import ArgumentTypeError

import pytest
import yaml
from factories import GRID, SPLITS, run_of, submitted

from benchmark.cli import main
from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.report import board
from benchmark.publication.hub_results import HubDataset

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """An entry of the defense 'mine' on a small frozen grid."""
    preset = tmp_path / "small.yaml"
    preset.write_text(GRID)
    grid = FrozenGrid("small-1", str(preset), SPLITS)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    return submitted(run_of(grid, tmp_path / "run"), tmp_path / "entries")


def export(entry, out, dataset="crowd/records"):
    return main(["hub-results", str(entry), "--dataset", dataset, "--to", str(out)])


def test_the_results_are_those_of_the_leaderboard(entry, tmp_path, capsys):
    assert export(entry, tmp_path / "out", "crowd/records@0123abc") == 0
    paths = [tmp_path / "out/model/.eval_results/small-1.yaml", tmp_path / "out/dataset/eval.yaml"]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    rows = yaml.safe_load(paths[0].read_text())
    tables = board(record for _, record in read_record_files([entry]))
    [table] = [table for table in tables.rankings if "small-1" in table.name]
    [line] = [line for line in table.frame.to_dict("records") if line["defense"] == "mine"]
    assert [row["dataset"]["task_id"] for row in rows] == ["small-1-ra", "small-1-rho-acc"]
    for row, heading in zip(rows, ("RA", "rho_Acc")):
        value, low, high = re.findall(r"[\d.]+", line[heading])
        assert f"{row['value']:.3f}" == value and row["notes"].startswith(f"95% interval {low} to {high}; ")
        assert row["dataset"]["id"] == "crowd/records" and row["dataset"]["revision"] == "0123abc"
        assert row["source"] == {"url": "https://example.org/code", "name": "My defense"}
        for text in (f"flip rate {line['flip rate']}", f"MAE {line['MAE']}", "seeds 0, 1", "1 victims",
                     f"entry small-1/mine/{entry.name}", "recomputed from counts"):
            assert text in row["notes"]


def test_a_file_of_this_project_is_no_address(entry, tmp_path):
    told = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps(told | {"code": "defenses/patchwork.py"}))
    assert export(entry, tmp_path / "out") == 0
    rows = yaml.safe_load((tmp_path / "out/model/.eval_results/small-1.yaml").read_text())
    assert [row["source"] for row in rows] == [{"name": "My defense"}] * 2


def test_the_library_of_the_hub_reads_the_results_and_writes_them_alike(entry, tmp_path):
    assert export(entry, tmp_path / "out") == 0
    rows = yaml.safe_load((tmp_path / "out/model/.eval_results/small-1.yaml").read_text())
    assert hub.eval_result_entries_to_yaml(hub.parse_eval_result_entries(rows)) == rows
    tasks = yaml.safe_load((tmp_path / "out/dataset/eval.yaml").read_text())
    assert [*tasks] == ["name", "description", "evaluation_framework", "tasks"]
    assert [task["id"] for task in tasks["tasks"]] == [row["dataset"]["task_id"] for row in rows]
    assert {(task["config"], task["split"]) for task in tasks["tasks"]} == {("records", "test")}  # as the card has them


@pytest.mark.parametrize("text", ["crowd", "a/b/c", "/b", "a/", "a/b@", "a/b@main", "a b/c", "a/b\n", "../b",
                                  "a/" + "b" * 97, "https://huggingface.co/a/b"])
def test_a_wrong_dataset_is_told_in_one_line(text, tmp_path, capsys):
    with pytest.raises(ArgumentTypeError):
        HubDataset.parse(text)
    assert export(tmp_path, tmp_path / "out", text) == 2
    error = capsys.readouterr().err
    assert "expected OWNER/NAME" in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("change, line", [
    (lambda entry: (entry / "entry.json").unlink(), "no entry.json there; expected the folder of an entry"),
    (lambda entry: (entry / "entry.json").write_text("{"), "has an error"),
    (lambda entry: next((entry / "cells").iterdir()).write_text("{}"), "has an error")])
def test_what_is_no_sound_entry_is_refused_and_nothing_is_written(entry, tmp_path, capsys, change, line):
    change(entry)
    assert export(entry, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_entry_that_lacks_cells_has_no_mean(entry, tmp_path, capsys):
    for path in (tmp_path / "run").glob("*mine-seed1*"):
        path.unlink()
    part = submitted(tmp_path / "run", tmp_path / "part")
    capsys.readouterr()
    assert export(part, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "is not complete" in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_nothing_is_overwritten(entry, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    assert export(entry, tmp_path / "out") == 2
    assert "found one that is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
