"""`crowdbench figure`: the files that it writes."""

import re
import shlex
from pathlib import Path

import pytest
from cli_cases import contents, flags, started
from factories import make_record

from benchmark.cli import main

pytestmark = pytest.mark.usefixtures("desk")


@pytest.mark.slow
def test_the_page_of_triggers_goes_where_it_is_asked_to_and_shows_ones_own(capsys, cache):
    Path("dim.py").write_text('"""Dims it."""\nfrom attacks.base import Trigger\n'
                              "from benchmark.registry import register\n\n@register\nclass Dim(Trigger):\n"
                              "    def stamp(self, images):\n        return images / 2\n")
    page, error = started(cache, "figure", "triggers", "--plugin", "dim.py").communicate(timeout=120)
    assert page == "docs/triggers.md\n", error
    assert "## dim\n\nDims it.\n" in Path(page.strip()).read_text() and Path("docs/triggers/dim.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("picture, name", [
    ("poisoning", "poisoning"), ("maps", "maps-fine_tune"), ("gradcam", "gradcam-fine_tune")])
def test_pictures_of_a_grid_are_drawn_from_its_store(capsys, grid, cache, monkeypatch, picture, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    before = contents(grid)
    assert main(["figure", picture, "tiny.yaml", "--store", f"{grid}/store"]) == 0
    assert capsys.readouterr().out == f"{name}.png\n{name}.pdf\n{name}.txt\n"
    assert Path(f"{name}.png").is_file() and Path(f"{name}.pdf").is_file() and contents(grid) == before
    assert f"Grid: `crowdbench run tiny.yaml --store {grid}/store`." in " ".join(Path(f"{name}.txt").read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("words, name, caption", [
    (["growth", "mine"], "growth", "40 test images. .* Drawn from the 3 records in mine."),
    (["reliability", "mine", "--defense", "anp"], "reliability-anp", "^Reliability .* the 3 records in mine."),
    (["trigger-panel"], "trigger-panel", "Below each name: the PSNR of the copy")])
def test_pictures_have_captions_that_name_the_records(capsys, words, name, caption):
    Path("mine").mkdir()
    for number, record in enumerate([make_record(), make_record(alpha=0.2), make_record(defense="anp")]):
        Path(f"mine/{number}.json").write_text(record.dumps())
    assert main(["figure", *words]) == 0
    assert capsys.readouterr().out == f"{name}.png\n{name}.pdf\n{name}.txt\n"
    assert re.search(caption, " ".join(Path(f"{name}.txt").read_text().split()))


@pytest.mark.slow
def test_a_picture_of_a_counter_that_is_missing_names_the_command_that_makes_it(capsys, cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    picture = ["figure", "maps", "tiny.yaml", "--defense", "blur", "--attack", "minus", "--store", "my store",
               *flags("training.epochs=1", "attack.alpha=0.3")]
    assert main(picture) == 2 and not Path("my store").exists()
    told = capsys.readouterr().err
    assert told.startswith("crowdbench: ") and told.count("\n") == 1 and "train tiny blended/minus" in told
    command = shlex.split(re.search("`(.*)`", told)[1])
    assert command == ["crowdbench", "run", "tiny.yaml", "--attack", "minus", "--defense", "blur",
                       *flags("training.epochs=1", "attack.alpha=0.3"), "--store", "my store"]
    assert main(command[1:]) == 0 and main(picture) == 0
