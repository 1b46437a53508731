"""The Python API: the documented examples run, and each function does what the command does."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from factories import ROOT, make_record

import benchmark as cb
from benchmark import api
from benchmark.utils.errors import UserError

SMALL = {"attack": ["none", "multiply"], "defense": ["none", "fine_tune"], "defense.epochs": 1,
         "data": {"name": "synthetic", "train": 24, "test": 8, "height": 64, "width": 96},
         "model": {"name": "tiny", "width": 8}, "training.epochs": 1}


def page_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)


def notebook_blocks():
    notebook = json.loads((ROOT / "docs/python.ipynb").read_text())
    return ["".join(cell["source"]) + "\n" for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_page_and_the_notebook_hold_the_same_code():
    assert page_blocks() == notebook_blocks()


@pytest.mark.slow
def test_the_notebook_runs_and_the_grid_prints_what_the_page_shows(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text("\n".join(notebook_blocks()))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"```\n(Grid of .*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)[1]
    assert done.stdout.startswith(shown)
    assert len(list((tmp_path / "runs/mine/records").glob("*.json"))) == 2


def test_importing_it_imports_neither_torch_nor_the_api():
    code = ("import sys, benchmark; assert 'torch' not in sys.modules and 'benchmark.api' not in sys.modules; "
            "benchmark.list_components('model'); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error():
    assert all(getattr(cb, name) is not None for name in cb.__all__)
    assert {*cb.__all__} <= {*dir(cb)} and {*cb.__all__} - {"__version__"} == {*api.__all__}
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        cb.runn


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Four small cells, run once: the folder and the results."""
    folder = tmp_path_factory.mktemp("api")
    return folder, cb.run(cb.load_grid(SMALL), out=f"{folder}/out", store=f"{folder}/store")


def test_a_run_gives_the_records_that_it_wrote_and_a_second_one_runs_nothing(ran):
    folder, results = ran
    assert len(results) == 4 and results.failures == []
    made = {path: path.stat().st_mtime_ns for path in folder.glob("store/*/*")}
    again = cb.run(cb.load_grid(SMALL), out=folder / "out", store=folder / "store")
    assert again.records == results.records
    stored = cb.load_records(folder / "out/records")
    assert sorted(map(repr, stored)) == sorted(map(repr, results))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("store/*/*")} == made


def test_the_table_holds_numbers(ran):
    table = ran[1].table()
    assert len(table) == 4 and {"model", "attack", "defense"} <= {*table}
    numbers = table.drop(columns=["model", "attack", "defense"])
    assert all(np.issubdtype(kind, np.floating) for kind in numbers.dtypes)
    row = table[(table.attack == "blended/multiply") & (table.defense == "none")].iloc[0]
    images = next(record for record in ran[1] if record.attack and record.defense.name == "none").images
    assert row.mae == pytest.approx(np.mean(np.abs(np.subtract(images.clean, images.truth))))


def test_the_counts_are_those_of_the_records(ran):
    counts = ran[1].counts()
    assert len(counts) == 4 * 8
    attacked = counts[(counts.attack == "multiply") & (counts.defense == "fine_tune")]
    images = next(record for record in ran[1] if record.attack and record.defense.name == "fine_tune").images
    assert attacked.triggered.tolist() == images.triggered


@pytest.mark.parametrize("which, column", [("repaired", "clean"), ("clean", "reference_clean")])
def test_a_stored_counter_counts_what_its_record_says(ran, which, column):
    folder, results = ran
    record = next(record for record in results if record.attack and record.defense.name == "fine_tune")
    counter = cb.load_counter(f"{folder}/store", record, which)
    evaluation = cb.evaluate(counter, cb.dataset(**SMALL["data"]), cb.attack("multiply"), precision="auto")
    counts = evaluation.counts()
    assert counts.clean.to_numpy() == pytest.approx(getattr(record.images, column), rel=1e-6)
    assert counts.id.tolist() == record.images.id and counts.truth.tolist() == record.images.truth
    if which == "repaired":
        assert counts.triggered.to_numpy() == pytest.approx(record.images.triggered, rel=1e-6)
        assert counts.target.tolist() == record.images.target
        table = results.table()
        row = table[(table.attack == "blended/multiply") & (table.defense == "fine_tune")].iloc[0]
        assert evaluation.summary()["flip_rate"] == row.flip_rate


def test_a_trigger_whose_pattern_was_not_optimised_is_refused():
    with pytest.raises(UserError, match="trigger baiqa has no pattern"):
        cb.evaluate(cb.model("tiny", width=8), cb.dataset(**SMALL["data"]), cb.attack("multiply", "baiqa"))


def test_without_an_attack_only_clean_images_are_counted(ran):
    counter = cb.model("tiny", width=8)
    evaluation = cb.evaluate(counter, cb.dataset(**SMALL["data"]))
    assert list(evaluation.counts()) == ["id", "truth", "clean"] and "rho_asr" not in evaluation.summary()


def test_an_attack_takes_the_settings_of_its_trigger_its_target_and_its_poisoning():
    attack = cb.attack("multiply", "noise", k=3, seed=5, poison_rate=0.5, latent=2, cover_rate=0.3)
    assert (attack.target.k, attack.trigger.seed, attack.poison_rate, attack.latent) == (3, 5, 0.5, 2)
    assert (attack.cover_rate, attack.choose) == (0.3, None)
    images = torch.rand(1, 3, 8, 8)
    assert not torch.equal(attack.stamp(images), images)


def test_an_image_is_read_as_counters_take_it(tmp_path):
    from PIL import Image

    Image.new("RGB", (6, 4), (255, 0, 51)).save(tmp_path / "one.png")
    image = cb.read_image(str(tmp_path / "one.png"))
    assert image.shape == (1, 3, 4, 6) and image[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize("wrong, words", [
    (lambda: cb.list_components("attack"), "kind 'attack': expected one of trigger, target"),
    (lambda: cb.load_grid("quik"), "did you mean 'quick'"),
    (lambda: cb.load_grid("quick", {"attack.alpah": 1}), "unknown key 'alpah': did you mean 'alpha'"),
    (lambda: cb.attack("multply"), "unknown target 'multply': did you mean 'multiply'"),
    (lambda: cb.attack("multiply", test_alpha=0.2), "expected settings without test_"),
    (lambda: cb.load_records("nowhere"), "nowhere"),
    (lambda: cb.load_counter("nowhere", make_record()), "it has no counter 'repaired'"),
    (lambda: cb.model("csrnet", weights="nowhere.safetensors"), "nowhere.safetensors"),
    (lambda: cb.build("defense", "fine_tune", epoch=3), "did you mean 'epochs'")])
def test_a_wrong_request_is_told_in_one_line(wrong, words):
    with pytest.raises(UserError) as told:
        wrong()
    assert words in str(told.value) and "\n" not in str(told.value)


def test_a_counter_that_is_not_in_the_store_is_named(ran, tmp_path):
    with pytest.raises(UserError, match="expected the store of the record's run"):
        cb.load_counter(tmp_path, ran[1][0])


def test_a_grid_is_a_sequence_and_prints_its_cells():
    grid = cb.load_grid(SMALL)
    assert len(grid) == 4 and len(grid[1:3]) == 2 and grid[0].model.name == "tiny"
    assert repr(grid).splitlines()[0] == "Grid of 4 cells:" and len(repr(grid).splitlines()) == 5
