"""The second side of the board: attacks by the damage that is left, what they cost, and what they do to defenses."""

import json

import numpy as np
import pytest
from attacking import ATTACK_GRID, attack_grid, attack_records, attack_submitted, written
from factories import GRID, SPLITS, record_of_cell, run_of
from scipy.stats import ttest_1samp

from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.leaderboard.attack_ranking import attack_tables
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.ranking import ranking_tables
from benchmark.leaderboard.report import board
from benchmark.metrics.counting import bands, rho_acc
from benchmark.metrics.significance import holm, sign_flip_test
from benchmark.results.record import Choice
from benchmark.results.scenarios import scenarios
from benchmark.tables.data import as_json

RIGHT = {"none": 0.1, "jpeg": 0.4, "blur": 0.5, "strip": 0.1, "retrain": 0.9}


@pytest.fixture
def grid(tmp_path, monkeypatch):
    grid = attack_grid(tmp_path)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    return grid


def right(record, share, column="triggered"):
    """The first images are counted right, and the others three times too high."""
    truth = record.images.truth
    counts = [float(c if i < share * len(truth) else 3 * c) for i, c in enumerate(truth)]
    return record.model_copy(update={"images": record.images.model_copy(update={column: counts})})


def attacked(grid, harm=0.0, reference=0.8, **more):
    """The records of an attack after which each defense counts the share RIGHT less `harm` of the images right."""
    return [right(right(record, max(RIGHT[record.defense.name] - harm, 0)), reference, "reference_triggered")
            for record in attack_records(grid, **more)]


def ranked(records):
    [table] = attack_tables(scenarios(records))
    return table.frame.set_index("attack")


def test_attacks_are_ranked_by_what_is_left_after_the_best_repair(grid):
    frame = ranked(attacked(grid) + attacked(grid, harm=0.2, attack="attack=multiply"))
    assert frame["rank"].to_dict() == {"sig/multiply": "1", "sig/add": "2"}
    assert frame.loc["sig/add", "best defense"] == "blur"  # neither retrain, a control, nor strip, a detector
    seen = {name: np.ceil(12 * value) / 12 for name, value in (("reference", 0.8), ("blur", 0.5), ("none", 0.1), ("re", 0.9))}
    line = frame.loc["sig/add"]
    assert line["damage left"].startswith(f"{seen['reference'] - seen['blur']:.3f} [")
    assert line["RA best"].startswith(f"{seen['blur']:.3f} [") and line["RA undefended"].startswith(f"{seen['none']:.3f} [")
    assert line["RA clean counter"].startswith(f"{seen['reference']:.3f} [") and line["RA retrain"] == f"{seen['re']:.3f}"
    assert line["cells"] == "10/10" and line["poisoned"] == "0.100" and line["PSNR"] == "30.0" and line["SSIM"] == "0.900"
    assert line["found by"].startswith("strip 0.") and "entry" not in frame and "tier" not in frame
    low, high = map(float, line["damage left"].split("[")[1].rstrip("]").split(", "))
    assert low <= seen["reference"] - seen["blur"] <= high


def test_the_best_repair_is_that_of_the_mean_over_seeds_and_not_of_each_seed(grid):
    records = [right(record, {("jpeg", 0): 1.0, ("jpeg", 1): 0.0, ("blur", 0): 0.5, ("blur", 1): 0.75}.get(
        (record.defense.name, record.seed), 0.1)) for record in attacked(grid)]
    assert ranked(records).loc["sig/add", "best defense"] == "blur"


def test_both_tests_are_of_the_differences_of_images_and_of_seeds_and_are_corrected(grid):
    strong = [right(record, 0.25) if record.seed and record.defense.name == "blur" else record
              for record in attacked(grid, harm=0.2, attack="attack=multiply")]
    frame = ranked(attacked(grid) + strong)

    def images(blur):
        return np.array([[i < 0.8 * 12 for i in range(12)], [i < 0.8 * 12 for i in range(12)]]), np.array(
            [[i < right * 12 for i in range(12)] for right in blur])

    weak_pair, strong_pair = images([0.5, 0.5]), images([0.3, 0.25])
    damages = [pair[0].astype(int) - pair[1] for pair in (strong_pair, weak_pair)]
    p_images = holm([sign_flip_test(*strong_pair), sign_flip_test(*weak_pair), sign_flip_test(damages[1], damages[0])])
    printed = [frame.loc["sig/multiply", "p damage, images"], frame.loc["sig/add", "p damage, images"],
               frame.loc["sig/add", "p first, images"]]
    assert printed == [f"{p:.3f}" for p in p_images]
    by_seed = [damage.mean(axis=1) for damage in damages]
    differences = by_seed[1] - by_seed[0]
    with np.errstate(all="ignore"):
        # The seeds of the weak attack are equal, which shows nothing.
        p_seeds = holm([ttest_1samp(by_seed[0], 0).pvalue, 1.0, ttest_1samp(differences, 0).pvalue])
    assert frame.loc["sig/multiply", "p damage, seeds"] == f"{p_seeds[0]:.3f}"
    assert frame.loc["sig/add", "damage - first"] == f"{differences.mean():+.3f}"
    assert frame.loc["sig/multiply", "damage - first"] == "/"


@pytest.mark.parametrize("key", ["checkpoint_seconds", "compile"])
def test_how_a_training_was_run_makes_no_other_cell_of_it(grid, key):
    records = attacked(grid)
    told = [record.model_copy(update={"training": record.training | {"given": record.training["given"] | {key: 30}}})
            if record.seed == 0 else record for record in records]
    assert told != records and ranked(told).equals(ranked(records))


def test_a_setting_that_only_some_seeds_write_out_splits_no_attack(grid):
    records = attacked(grid)
    older = []
    for record in records:
        if (record.defense.name, record.seed) == ("retrain", 0):
            settings = {key: value for key, value in record.defense.resolved.items() if key != "times"}
            record = record.model_copy(update={"defense": record.defense.model_copy(update={"resolved": settings})})
        older.append(record)
    assert older != records and ranked(older).equals(ranked(records))


def test_only_detectors_of_the_grid_find_an_attack(grid):
    records = attacked(grid)
    other = next(record for record in records if record.defense.name == "strip")
    scores = other.detection.model_copy(update={"triggered": [99.0] * len(other.detection.triggered)})
    settings = other.training["resolved"] | {"epochs": 5}
    outside = other.model_copy(update={"detection": scores, "seed": 9, "protocol": None,
                                       "training": other.training | {"resolved": settings}})
    assert ranked([*records, outside]).loc["sig/add", "found by"] == ranked(records).loc["sig/add", "found by"]


def test_an_attack_without_all_cells_is_incomplete(grid):
    records = attacked(grid) + attacked(grid, attack="attack=multiply")[:-1]
    frame = ranked(records)
    assert frame.loc["sig/multiply", ["rank", "damage left", "cells"]].tolist() == ["incomplete", "/", "9/10"]
    assert not attack_tables(scenarios(records[:9]))


def test_a_record_belongs_to_the_grid_by_its_settings_and_not_by_its_name(grid):
    records = attacked(grid)
    renamed = [record.model_copy(update={"protocol": "another-1"}) for record in records]
    assert ranked(renamed).loc["sig/add", "cells"] == "10/10"
    others = [record.model_copy(update={"training": record.training | {"scale": 0.5}}) for record in records]
    assert not attack_tables(scenarios(others))


def test_attacks_that_poison_more_than_the_grid_allows_are_left_out(grid):
    many = [record.model_copy(update={"attack": record.attack.model_copy(update={"poison_rate": 0.5})})
            for record in attacked(grid)]
    assert not attack_tables(scenarios(many))


def test_settings_tell_apart_attacks_of_one_trigger_and_target(grid):
    strong = [record.model_copy(update={"attack": record.attack.model_copy(update={"trigger": record.attack.trigger.model_copy(
        update={"resolved": record.attack.trigger.resolved | {"amplitude": 60.0}})})}) for record in attacked(grid, 0.3)]
    frame = ranked(attacked(grid) + strong)
    assert list(frame.index) == ["sig/add (amplitude 60)", "sig/add (amplitude 40)"]


def test_the_table_is_among_the_leaderboards_and_its_numbers_are_numbers(grid):
    tables = board(attacked(grid)).rankings
    assert [table.name for table in tables] == ["attacks-attacks-1"]
    [row] = json.loads(as_json(tables[0]))["rows"]
    assert row["rank"] == 1 and row["damage left_low"] <= row["damage left"] <= row["damage left_high"]


# What attacks cost.

def test_a_grid_without_repairs_gives_the_cost_on_clean_images(tmp_path, monkeypatch):
    grid = attack_grid(tmp_path, ATTACK_GRID.replace("[none, jpeg, blur, strip, retrain]", "none"), "costs-1")
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])

    def counted(cost, **more):
        return [right(right(record, 0.75 - cost, "clean"), 0.75, "reference_clean") for record in attack_records(grid, **more)]

    [table] = attack_tables(scenarios(counted(0.5) + counted(0.0, attack="attack=multiply")))
    assert table.name == "cost-costs-1" and list(table.frame["attack"]) == ["sig/multiply", "sig/add"]
    frame = table.frame.set_index("attack")
    assert frame.loc["sig/add", "rho_Acc - clean counter"] == "-0.500"
    assert frame.loc["sig/add", "rho_Acc"].startswith("0.250") and frame.loc["sig/add", "rho_Acc clean counter"].startswith("0.75")
    truth = np.array(attack_records(grid)[0].images.truth)
    assert frame.loc["sig/add", "MAE clean counter"].startswith(f"{(2 * truth)[9:].sum() / 12:.2f} [")


# The strongest attack lowers a defense.

DEFENSES = [Choice(name="none"), Choice(name="jpeg", resolved={"quality": 75}), Choice(name="mine", version="0" * 12)]


@pytest.fixture
def both(tmp_path, monkeypatch):
    """A grid of defenses and one of attacks on the same clean counters."""
    (tmp_path / "small.yaml").write_text(GRID)
    defenses = FrozenGrid("small-1", str(tmp_path / "small.yaml"), SPLITS)
    attacks = attack_grid(tmp_path)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [defenses, attacks])
    return defenses, attacks


def standard(grid):
    """The records of a grid of defenses: jpeg counts most images right, mine fewer."""
    wanted = {"none": 0.1, "jpeg": 0.9, "mine": 0.6}
    records = []
    for cell in cells(override(load_request(grid.preset), ["defense=none"])):
        for defense in DEFENSES:
            record = record_of_cell(cell, defense, grid.name)
            records.append(right(record, wanted[defense.name]) if record.attack else record)
    return records


def entered(attacks, tmp_path, jpeg=0.3, spoils=False):
    """The records of an entry of an attack, as the leaderboard reads them.

    spoils: whether the clean counter gets no stamped image right either; otherwise it counts them as it counts clean ones.
    """
    records = [right(record, jpeg if record.defense.name == "jpeg" else 0.2)
               for record in attack_records(attacks) if record.defense.name != "strip"]
    strip = [record for record in attack_records(attacks) if record.defense.name == "strip"]
    nones = {record.seed: record.images for record in records if record.defense.name == "none"}
    strip = [record.model_copy(update={"images": nones[record.seed]}) for record in strip]
    whole = [clean_counter_under_trigger(record, spoils) for record in varied([*records, *strip])]
    entry = attack_submitted(written(whole, tmp_path / "run"), tmp_path / "entries")
    return [record for _, record in read_record_files([entry])]


def clean_counter_under_trigger(record, spoils):
    """The record with other counts of stamped images by the clean counter, of which as many are right as of clean ones."""
    images, rng = record.images, np.random.default_rng([record.seed, 7])
    is_right = np.array(bands(images.reference_clean, images.truth)) == 0
    noise = rng.uniform(0.95, 1.05, len(is_right)) * np.where(is_right & (not spoils), 1, 3)
    counts = (images.truth * noise).tolist()
    return record.model_copy(update={"images": images.model_copy(update={"reference_triggered": counts})})


def varied(records):
    """Wrong counts differ between counters, as validation wants it."""
    changed = []
    for record in records:
        rng = np.random.default_rng([record.seed, len(record.defense.name), ord(record.defense.name[0])])
        noise = rng.uniform(1.5, 4, len(record.images.truth)) if record.defense.name != "strip" else None
        counts = record.images.triggered
        if noise is not None:
            counts = [c * f if c > 1.1 * t else c * (0.95 + f / 50)
                      for c, t, f in zip(counts, record.images.truth, noise)]
        changed.append(record.model_copy(update={"images": record.images.model_copy(update={"triggered": counts})}))
    nones = {record.seed: record.images for record in changed if record.defense.name == "none"}
    return [record.model_copy(update={"images": record.images.model_copy(update={"triggered": nones[record.seed].triggered})})
            if record.defense.name == "strip" else record for record in changed]


def clean_accuracy(records):
    """The mean rho_Acc of the clean counters of a grid of defenses."""
    return np.mean([rho_acc(record.images.reference_clean, record.images.truth) for record in records if record.attack])


def left_over(entered_records, defense, of_grid):
    """The RA of a defense after an entered attack, with what the clean counter lacks."""
    found = []
    for images in (record.images for record in entered_records if record.defense.name == defense):
        clean, own = (rho_acc(counts, images.truth) for counts in (images.reference_triggered, images.triggered))
        found.append(own + max(of_grid - clean, 0))
    return f"{np.mean(found):.3f}"


def test_a_defense_is_ranked_by_the_lower_of_both_and_says_where_it_was_not_run(both, tmp_path):
    defenses, attacks = both
    before = ranking_tables(scenarios(standard(defenses)))[0]
    assert before.frame.set_index("defense")["rank"].to_dict() == {"jpeg": "1", "mine": "2", "none": "control"}
    records = entered(attacks, tmp_path)
    [table] = ranking_tables(scenarios(standard(defenses) + records))
    frame = table.frame.set_index("defense")
    assert frame["rank"].to_dict() == {"mine": "1", "jpeg": "2", "none": "control"}
    assert frame.loc["jpeg", ["strongest attack", "its RA"]].tolist() == [
        "sig/add", left_over(records, "jpeg", clean_accuracy(standard(defenses)))]
    assert frame.loc["mine", ["strongest attack", "its RA"]].tolist() == ["not run", "/"]
    assert frame.loc["jpeg", "RA"] == before.frame.set_index("defense").loc["jpeg", "RA"]
    assert any("The rank is by the lower of RA and its RA" in note for note in table.notes)


def miscounting(record):
    """The record with a clean counter that counts no clean image right."""
    counts = [3 * truth + 1 for truth in record.images.truth]
    return record.model_copy(update={"images": record.images.model_copy(update={"reference_clean": counts})})


@pytest.mark.parametrize("clean_counter", [lambda record: record, miscounting])
def test_a_trigger_that_spoils_the_images_for_every_counter_lowers_no_defense(both, tmp_path, clean_counter):
    """What the clean counters of the grid get right of clean images, and that of the attack not of stamped ones, is added."""
    defenses, attacks = both
    records = [clean_counter(record) for record in entered(attacks, tmp_path, jpeg=0, spoils=True)]
    [table] = ranking_tables(scenarios(standard(defenses) + records))
    clean = clean_accuracy(standard(defenses))
    assert table.frame.set_index("defense").loc["jpeg", ["strongest attack", "its RA"]].tolist() == [
        "sig/add", f"{clean:.3f}"] and clean > 0.4


def test_a_defense_of_ones_own_may_be_run_against_an_entered_attack(both, tmp_path):
    defenses, attacks = both
    own = [right(record.model_copy(update={"defense": DEFENSES[2], "protocol": None}), 0.0)
           for record in attack_records(attacks) if record.defense.name == "jpeg"]
    records = standard(defenses) + entered(attacks, tmp_path)
    frame = ranking_tables(scenarios(records + own))[0].frame.set_index("defense")
    assert frame.loc["mine", ["strongest attack", "its RA"]].tolist() == [
        "sig/add", left_over(own, own[0].defense.name, clean_accuracy(standard(defenses)))]
    frame = ranking_tables(scenarios(records + own[:1]))[0].frame.set_index("defense")  # one of two seeds
    assert frame.loc["mine", "strongest attack"] == "not run"


@pytest.mark.parametrize("left_out", ["jpeg", "none", "strip"])
def test_an_entry_that_lacks_a_cell_lowers_nothing(both, tmp_path, left_out):
    defenses, attacks = both
    records = [record for record in entered(attacks, tmp_path) if (record.defense.name, record.seed) != (left_out, 1)]
    [table] = ranking_tables(scenarios(standard(defenses) + records))
    assert "strongest attack" not in table.frame


def test_an_attack_that_was_not_entered_lowers_nothing(both):
    defenses, attacks = both
    [table] = ranking_tables(scenarios(standard(defenses) + attacked(attacks)))
    assert "strongest attack" not in table.frame


def test_an_attack_on_other_victims_lowers_nothing(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(GRID)
    defenses = FrozenGrid("small-1", str(tmp_path / "small.yaml"), SPLITS)
    attacks = attack_grid(tmp_path, ATTACK_GRID.replace("[0, 1]", "[0]"))
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [defenses, attacks])
    [table] = ranking_tables(scenarios(standard(defenses) + entered(attacks, tmp_path)))
    assert "strongest attack" not in table.frame


def test_the_seeds_of_another_grid_do_not_take_a_defense_off_the_board(both):
    """Records of none with more seeds, as a grid of costs has them, are of the same cell."""
    defenses, _ = both
    more = [record.model_copy(update={"seed": 7, "protocol": "costs-1"}) for record in standard(defenses)
            if record.defense.name == "none" and record.seed == 1 and record.attack]
    frame = ranking_tables(scenarios(standard(defenses) + more))[0].frame.set_index("defense")
    assert frame.loc["none", "cells"] == "4/4"


def test_run_of_a_grid_of_defenses_has_no_table_of_attacks(tmp_path, both):
    defenses, _ = both
    run_of(defenses, tmp_path / "run")
    assert not attack_tables(scenarios(record for _, record in read_record_files([tmp_path / "run"])))
