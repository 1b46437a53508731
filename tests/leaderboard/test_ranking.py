"""The leaderboard: who is in it, in which order, and whether its numbers and tests are those of the counts."""

import json

import numpy as np
import pytest
from factories import DEFENSES, GRID, SPLITS, record_of_cell
from scipy.stats import ttest_1samp

from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.leaderboard.ranking import ranking_tables
from benchmark.leaderboard.report import board
from benchmark.metrics import counting
from benchmark.metrics.significance import holm, sign_flip_test
from benchmark.results.record import Choice
from benchmark.results.result import SUMMARISED
from benchmark.results.scenarios import scenarios
from benchmark.tables.data import as_json

GOOD, BAD = Choice(name="good", version="a" * 12), Choice(name="bad", version="b" * 12)
NONE, _, RETRAIN = DEFENSES


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A small grid of two attacks, frozen under the name 'small-1'."""
    preset = tmp_path / "small.yaml"
    preset.write_text(GRID.replace("[none, add]", "[none, add, minus]"))
    grid = FrozenGrid("small-1", str(preset), SPLITS)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    return grid


def filled(grid, *defenses):
    """A record of every cell of the grid with each defense; of what is triggered, a share is counted wrong."""
    wrong = {"none": 0.9, "bad": 0.5, "good": 0.2, "retrain": 0.1}
    return [worse(record_of_cell(cell, defense, grid.name), wrong[defense.name])
            for cell in cells(override(load_request(grid.preset), ["defense=none"])) for defense in defenses]


def worse(record, share):
    """The first images are counted wrong, and the others right, where there is the trigger."""
    if record.attack is None:
        return record
    images = record.images
    seen = [c * (3 if i < share * len(images.truth) else 1) for i, c in enumerate(images.truth)]
    if record.attack.target.name == "minus":
        images = images.model_copy(update={"target": [max(c - 100, 1) for c in images.truth]})
    return record.model_copy(update={"images": images.model_copy(update={"triggered": [float(c) for c in seen]})})


def ranked(records):
    [table] = ranking_tables(scenarios(records))
    return table.frame.set_index("defense")


def test_defenses_are_ranked_by_what_they_leave_right_and_controls_stand_among_them(grid):
    frame = ranked(filled(grid, NONE, BAD, GOOD, RETRAIN))
    assert frame["rank"].to_dict() == {"retrain": "control", "good": "1", "bad": "2", "none": "control"}
    assert list(frame.index) == ["retrain", "good", "bad", "none"]


def test_a_number_is_the_mean_over_all_attacks_and_seeds(grid):
    records = filled(grid, NONE, BAD)
    line = ranked(records).loc["bad"]
    attacked = [record for record in records if record.defense.name == "bad" and record.attack]
    shown = (("RA", "ra", 3), ("flip rate", "flip_rate", 3), ("MAE", "mae", 2), ("eASR", "easr", 3))
    for heading, key, digits in shown:
        mean = np.mean([counting.summary(**record.images.model_dump(include=SUMMARISED),
                                        increases=record.attack.increases)[key] for record in attacked])
        value, low, high = map(float, line[heading].replace("[", "").replace("]", "").replace(",", "").split())
        assert value == pytest.approx(mean, abs=10.0**-digits) and low <= value <= high
    assert line["cells"] == "6/6" and "entry" not in line


def test_differences_are_tested_on_the_same_images_and_corrected_for_their_number(grid):
    records = filled(grid, NONE, BAD, GOOD)
    frame = ranked(records)

    def right(defense):
        found = sorted((record.attack.target.name, record.seed, record.images) for record in records
                       if record.defense.name == defense and record.attack)
        return [counting.bands(images.triggered, images.truth) == 0 for *_, images in found]

    tests = {("good", "none"): ("good", "none"), ("none", "best"): ("none", "good"), ("bad", "none"): ("bad", "none"),
             ("bad", "best"): ("bad", "good")}
    adjusted = dict(zip(tests, holm([sign_flip_test(right(own), right(other)) for own, other in tests.values()])))
    for (defense, beside), p in adjusted.items():
        printed = frame.loc[defense, f"p {beside}, images"]
        assert printed == ("<.001" if p < 0.001 else f"{p:.3f}"), (defense, beside)
    own, other = np.mean(right("bad")), np.mean(right("good"))
    assert frame.loc["bad", "RA - best"] == f"{own - other:+.3f}" and frame.loc["good", "RA - best"] == "/"


def test_p_over_seeds_is_of_the_mean_over_the_victims_of_each_seed(grid):
    records = [worse(record, 0.7) if (record.defense.name, record.seed) == ("bad", 1) else record
               for record in filled(grid, NONE, BAD)]

    def of_seed(defense, seed):
        return np.mean([counting.rho_acc(record.images.triggered, record.images.truth) for record in records
                        if record.attack and (record.defense.name, record.seed) == (defense, seed)])

    differences = [of_seed("bad", seed) - of_seed("none", seed) for seed in (0, 1)]
    p = min(1, 2 * ttest_1samp(differences, 0).pvalue)  # none - best is the other of two tests
    assert ranked(records).loc["bad", "p none, seeds"] == f"{p:.3f}"


def test_a_defense_that_changed_nothing_says_so(grid):
    records = filled(grid, NONE, BAD)
    none = {(record.seed, str(record.attack)): record.images for record in records if record.defense.name == "none"}
    idle = [record.model_copy(update={"images": none[record.seed, str(record.attack)]})
            if record.defense.name == "bad" and record.attack and record.attack.target.name == "add" else record
            for record in records]
    [table] = ranking_tables(scenarios(idle))
    assert "In bad tiny blended/add: its counts equal those of no defense: it changed nothing." in table.details
    assert "changed nothing" not in " ".join(ranking_tables(scenarios(records))[0].notes)


def test_where_no_defense_was_not_run_nothing_has_a_rank(grid):
    [table] = ranking_tables(scenarios(filled(grid, GOOD, RETRAIN)))
    assert table.frame.set_index("defense")["rank"].to_dict() == {
        "retrain": "control", "good": "unranked", "none": "incomplete"}
    assert "A defense is unranked where cells of no defense" in " ".join(table.notes)


def test_an_attack_without_a_number_is_left_out_of_the_mean(grid):
    def all_wrong(record):
        """The clean counter counts every triggered image of `minus` as the attacker wants: there is no eASR."""
        if record.attack is None or record.attack.target.name != "minus":
            return record
        images = record.images.model_copy(update={"reference_triggered": [0.0] * len(record.images.truth)})
        return record.model_copy(update={"images": images})

    records = filled(grid, NONE, GOOD)
    without = [record for record in records if record.attack is None or record.attack.target.name != "minus"]
    expected = np.mean([counting.summary(**record.images.model_dump(include=SUMMARISED), increases=True)["easr"]
                        for record in without if record.attack and record.defense.name == "good"])
    assert ranked(map(all_wrong, records)).loc["good", "eASR"].startswith(f"{expected:.3f} [")


def test_an_incomplete_defense_is_shown_without_a_rank_or_a_mean(grid):
    records = filled(grid, NONE, GOOD) + filled(grid, BAD)[:-1]
    line = ranked(records).loc["bad"]
    assert line["rank"] == "incomplete" and line["cells"] == "5/6" and line["RA"] == "/" and line["MAE"] == "/"


def test_what_only_says_that_it_is_of_the_grid_is_left_out(grid):
    *others, record = filled(grid, GOOD, NONE)
    other = record.model_copy(update={"training": record.training | {"scale": 0.5}})
    assert ranked([other, *others]).loc["none", "cells"] == "5/6"


def test_an_entry_says_its_name_and_its_tier(grid):
    records = filled(grid, NONE, GOOD)
    entry = {"entry": {"path": "good/abc", "name": "Our defense", "tier": "re-run, 1 of 12 cells"}}
    told = [record if record.defense.name == "none" else
            record.model_copy(update={"provenance": record.provenance | entry}) for record in records]
    frame = ranked(told)
    assert frame.loc["good", ["entry", "tier"]].tolist() == ["Our defense", "re-run, 1 of 12 cells"]
    assert frame.loc["none", ["entry", "tier"]].tolist() == ["/", "recomputed from counts"]


def test_without_a_whole_grid_there_is_no_leaderboard(grid):
    assert not ranking_tables(scenarios(filled(grid, NONE, RETRAIN)))
    assert not ranking_tables(scenarios(filled(grid, NONE, GOOD)[:-1]))
    assert board(filled(grid, NONE, GOOD)).tables[0].name == "leaderboard-small-1"


def test_as_json_numbers_are_numbers(grid):
    [table] = ranking_tables(scenarios(filled(grid, NONE, GOOD)))
    told = json.loads(as_json(table))
    good, none = told["rows"]
    assert good["RA_low"] < good["RA"] < good["RA_high"] and none["DER"] is None and good["rank"] == 1
    assert (none["rank"], none["rank_status"], good["cells"], good["cells_wanted"]) == (None, "control", 6, 6)
