"""Scaffolds: the files that `crowdbench new` writes, and their test."""

import subprocess
import sys
from pathlib import Path

import pytest
from factories import ROOT

from benchmark.cli.scaffold import KINDS, next_steps, write_new
from benchmark.config.request import preset_names
from benchmark.utils.errors import UserError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("template", ["defense", "detector", "inspector"])
def test_what_is_written_works_and_its_test_passes(template, tmp_path):
    paths = write_new(template, "my_own2", tmp_path / "mine")
    assert [path.name for path in paths] == ["my_own2.py", "test_my_own2.py"]
    assert "class MyOwn2(" in paths[0].read_text() and len(paths[0].read_text().splitlines()) <= 24
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", paths[1].name], cwd=tmp_path / "mine",
                          capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("broken, message", [
    ("repaired = victim", "changes the victim"),
    ("repaired = victim.copy(); knowledge.poisoned", "NotDeclared"),
    ("repaired = victim.copy(); victim.eval(); return repaired", "uses")])
def test_its_test_fails_when_it_breaks_the_contract(broken, message, tmp_path):
    source, test = write_new("defense", "broken", tmp_path)
    source.write_text(source.read_text().replace("repaired = victim.copy()", broken))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", test.name], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 1 and message in done.stdout


def test_nothing_is_overwritten_and_no_name_is_taken_twice(tmp_path):
    first, _ = write_new("defense", "mine", tmp_path)
    first.write_text("mine")
    for name, message in (("mine", "exists already"), ("none", "a defense of that name"),
                          ("No-name", "lower-case"), ("class", "lower-case"),
                          ("../up", "lower-case"), ("_", "lower-case"), ("__init__", "lower-case"),
                          ("base", "a module of that name"), ("torch", "a module of that name"),
                          ("models", "a module of that name"), ("json", "a module of that name")):
        with pytest.raises(UserError, match=message):
            write_new("defense", name, tmp_path)
    assert first.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("template", ["defense", "trigger"])
def test_the_commands_that_follow_are_those_of_the_documentation(template):
    pages = " ".join(path.read_text() for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
    steps = next_steps(template, f"my_{template}", Path(f"my_{template}.py")).splitlines()
    check, on_a_laptop, for_an_entry = (step.partition(":")[2].strip() for step in steps)
    assert check in pages and on_a_laptop in " ".join(pages.split())
    assert template == "trigger" or for_an_entry in " ".join(pages.split())


@pytest.mark.parametrize("template", KINDS)
def test_the_commands_that_follow_name_presets_and_quote_the_path(template):
    steps = next_steps(template, "mine", Path("my folder/mine.py"))
    assert steps.count("'my folder/mine.py'") == 3
    assert {grid.partition(" ")[0] for grid in KINDS[template].grids.values()} <= {*preset_names()}
