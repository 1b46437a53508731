"""CONTRIBUTING.md, 'An entry for the leaderboard', followed word for word on a small frozen grid."""

import json
import re
import shlex
from pathlib import Path

import pytest
from factories import ROOT

from benchmark import registry
from benchmark.cli import main
from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid
from benchmark.results.record import Record

GRID = """
data: {name: synthetic, train: 16, test: 8, height: 64, width: 96, people: 20}
model: {name: tiny, width: 16}
training: {epochs: 2}
attack: [none, add]
"""
SMALL = {"standard": "small.yaml", "runs/standard": "runs/small", "NAME": "My defense", "URL": "https://example.org"}


def commands():
    """The commands of the first four steps, in their order."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## An entry for the leaderboard\n")[2]
    steps = section.partition("\n5. ")[0]
    return [" ".join(command.split()) for command in re.findall(r"`(crowdbench [^`]+)`", steps)]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty working folder with the small grid, which is frozen."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(GRID)
    grid = FrozenGrid("small-1", "small.yaml", {})
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])


@pytest.mark.slow
def test_the_commands_of_the_section_make_a_complete_entry(desk, capsys, monkeypatch):
    told = []
    for command in commands():
        monkeypatch.setattr(registry, "_plugins", {})  # as in a process of its own
        assert main([SMALL.get(word, word) for word in shlex.split(command)[1:]]) == 0, command
        told.append(capsys.readouterr())
    written, checked, ran, submitted, validated = told
    assert f"for an entry:   {commands()[2]}\n" in written.err  # `new` names this command
    assert "missing" not in submitted.err and "1 entry without errors, 0 errors" in validated.out
    assert len(validated.out.splitlines()) == 2  # nothing is incomplete
    records = [Record.read(path) for path in Path(submitted.out.strip(), "cells").iterdir()]
    assert sorted(record.defense.name for record in records) == ["my_defense"] * 2 + ["none"] * 2 + ["retrain"] * 2
    [given] = {json.dumps(record.defense.given) for record in records if record.defense.name == "retrain"}
    assert json.loads(given) == {"extra": 0, "images": 40, "times": 6.1}  # 14 images: 1.1 + 10 / 2 epochs
    assert {record.knowledge["clean"] for record in records if record.defense.name != "none"} == {14}
