"""Ablations from records made here: what is a row, a table and missing, and what a setting may be called."""

import csv
import re

import numpy as np
import pandas as pd
import pytest
from factories import make_record

from benchmark.metrics import counting
from benchmark.metrics.bootstrap import bootstrap
from benchmark.results.record import Choice
from benchmark.results.result import SUMMARISED
from benchmark.results.scenarios import settings_of
from benchmark.tables.ablation import ablation, tables, tidy, write
from benchmark.tables.formats import markdown
from benchmark.utils.errors import UserError

RATES, ALPHAS = (0.02, 0.1), (0.05, 0.2)


def victim(rate=0.1, alpha=0.2, target="multiply", **settings):
    """A record whose trigger works better the more of it there is."""
    record = make_record(target, alpha=alpha, effect=30 * rate * alpha, **settings)
    return changed(record, poison_rate=rate)


def changed(record, **attack):
    return record.model_copy(update={"attack": record.attack.model_copy(update=attack)})


def grid(seeds=(0, 1), **settings):
    return [victim(rate, alpha, seed=seed, **settings) for rate in RATES for alpha in ALPHAS for seed in seeds]


def over(records, rows="poison_rate", columns="alpha"):
    return ablation(records, rows, columns)


def show(found):
    return "\n".join(markdown(table) for group in tables(found).values() for table in group)


def the_table(found):
    [[table]] = tables(found).values()
    return table


def line(table, number, row):
    """The values of a number over the columns' setting."""
    frame = table.frame
    [found] = frame[(frame.iloc[:, 0] == number) & (frame.iloc[:, 1] == row)].values.tolist()
    return found[2:]


def summary(record):
    images = record.images.model_dump(include=SUMMARISED)
    return counting.summary(**images, increases=record.attack.increases)


def test_the_chance_flips_stand_below_the_flip_rate():
    """On reference counts that the trigger moves by 5%, some images become wrong."""
    found = over(grid())
    for row in map(str, RATES):
        results = [found.grids[0].results[row, str(alpha)] for alpha in ALPHAS]
        assert line(the_table(found), "chance flips", row) == [
            f"{result.numbers['reference_flip_rate']:.3f}" for result in results]


# The tidy table

def test_a_row_for_each_cell_and_seed_holds_every_number_of_its_record():
    records = grid() + grid(target="minus")
    frame = tidy(over(records)).set_index(["target", "poison_rate", "trigger.alpha", "seed"])
    assert len(frame) == len(records) == 16 and frame.index.is_unique
    for record in records:
        attack = record.attack
        row = frame.loc[attack.target.name, attack.poison_rate, attack.trigger.resolved["alpha"], record.seed]
        expected = summary(record)
        assert {"easr", "flip_rate", "attainment", "rho_acc", "mae", "asr0", "base"} < expected.keys()
        np.testing.assert_equal(row[list(expected)].to_dict(), expected)
        clean = np.divide(record.images.reference_clean, record.images.truth)
        assert row["reference_rho_acc"] == np.mean(np.abs(clean - 1) <= 0.1) != row["rho_acc"]


def test_the_poison_rate_is_a_share_of_the_original_images_and_of_all():
    frame = tidy(over(grid()))
    assert frame.groupby("poison_rate")["poison_rate_of_total"].unique().to_dict() == {
        0.02: [pytest.approx(2 / 102)], 0.1: [pytest.approx(10 / 110)]}


def test_copies_that_another_attack_added_are_of_the_total():
    two = [changed(record, also=victim(0.3).attack) for record in grid()]
    assert tidy(over(two))["poison_rate_of_total"].max() == pytest.approx(0.1 / 1.4)


def test_names_and_settings_that_vary_are_columns_and_others_are_not():
    columns = list(tidy(over(grid() + grid(target="minus"))))
    assert columns[:8] == ["model", "trigger", "target", "defense", "poison_rate", "target.increases", "trigger.alpha",
                           "poison_rate_of_total"]
    assert "data.part" not in columns and "training.epochs" not in columns


def test_a_setting_that_some_cells_lack_is_empty_there(tmp_path):
    other = changed(victim(0.02, target="minus"), target=Choice(name="minus", resolved={"keep": 1}))
    found = over([*grid(), other])
    assert tidy(found)["target.keep"].isna().sum() == 8
    write(found, tmp_path)
    rows = list(csv.DictReader((tmp_path / "ablation.csv").open()))
    assert sorted(row["target.keep"] for row in rows) == [""] * 8 + ["1"]


def test_what_has_nothing_to_be_compared_with_is_data_and_no_table(tmp_path):
    alone = changed(victim(0.02, target="minus"), target=Choice(name="minus", resolved={"keep": 1}))
    found = over([*grid(), alone])
    assert [grid.label for grid in found.compared] == [grid.label for grid in over(grid()).grids]
    assert "with a single pair of poison_rate and alpha are only in the data: 1." in show(found)
    assert "only in the data" not in show(over(grid()))
    write(found, tmp_path)
    assert "minus" not in (tmp_path / "ablation.md").read_text() and "minus" in (tmp_path / "ablation.csv").read_text()


def test_cells_that_differ_in_more_than_two_settings_are_refused():
    with pytest.raises(UserError, match="no two cells differ in .*rate or trigger.alpha alone"):
        over([victim(0.1, 0.2), victim(0.02, 0.05, target="minus")])


def test_the_csv_holds_every_digit_and_no_number_that_looks_like_a_formula(tmp_path):
    small = victim(0.02)
    counts = (np.array(small.images.clean) - 1e-7 * np.array(small.images.truth)).tolist()
    small = small.model_copy(update={"images": small.images.model_copy(update={"triggered": counts})})
    found = over([small, *grid(seeds=[1])])
    write(found, tmp_path)
    written, frame = pd.read_csv(tmp_path / "ablation.csv"), tidy(found)
    assert (frame["attainment"].abs() < 1e-6).any()
    pd.testing.assert_frame_equal(written, frame, check_dtype=False, check_exact=True)


# The tables

def test_a_table_holds_means_over_seeds_and_the_interval_of_the_flip_rate():
    records = grid()
    table = the_table(over(records))
    assert list(table.frame) == ["number", "poison_rate", "alpha 0.05", "alpha 0.2"]
    for rate in RATES:
        for column, alpha in enumerate(ALPHAS):
            cell = [record for record in records if settings_of(record) == settings_of(victim(rate, alpha))]
            of = {key: np.mean([summary(record)[key] for record in cell]) for key in ("easr", "rho_acc", "flip_rate")}
            images = [record.images for record in cell]
            low, high = bootstrap([counting.flips(c.triggered, c.clean, c.truth, True) for c in images])
            assert line(table, "eASR", str(rate))[column] == f"{of['easr']:.3f}"
            assert line(table, "rho_Acc", str(rate))[column] == f"{of['rho_acc']:.3f}"
            assert line(table, "flip rate", str(rate))[column] == f"{of['flip_rate']:.3f} [{low:.3f}, {high:.3f}]"
            assert line(table, "seeds", str(rate))[column] == "2"
    assert len({*line(table, "eASR", "0.1"), *line(table, "eASR", "0.02")}) > 2


def test_the_clean_counter_stands_beside_the_victim():
    records = grid(seeds=[0])
    clean = np.divide(records[0].images.reference_clean, records[0].images.truth)
    assert line(the_table(over(records)), "clean rho_Acc", "0.02") == [f"{np.mean(np.abs(clean - 1) <= 0.1):.3f}"] * 2


def test_a_cell_that_was_not_run_is_shown_as_missing_and_changes_no_other():
    full, part = (the_table(over(records)) for records in (grid(), grid()[:-2]))
    for number in ("eASR", "rho_Acc", "clean rho_Acc", "flip rate", "seeds"):
        assert line(part, number, "0.02") == line(full, number, "0.02")
        assert line(part, number, "0.1") == [line(full, number, "0.1")[0], "not run"]


def test_a_cell_that_lacks_a_seed_says_so():
    table = the_table(over(grid()[:-1]))
    assert line(table, "seeds", "0.1") == ["2", "1"]
    assert "In poison_rate 0.1, alpha 0.2: only seed 0 of seeds 0, 1 was run." in table.notes


@pytest.mark.parametrize("other, label", [
    ({"target": "minus"}, "csrnet, blended, minus, none"), ({"model": "tiny"}, "tiny, blended, multiply, none"),
    ({"defense": "mine", "lr": 1}, "csrnet, blended, multiply, mine"),
    ({"trigger": "noise"}, "csrnet, noise, multiply, none"),
    ({"training": {"epochs": 7}}, "csrnet, blended, multiply, none (epochs 7)"),
    ({"data": {"part": "A"}}, "csrnet, blended, multiply, none (part A)")])
def test_what_else_differs_makes_tables_of_its_own(other, label):
    found = over(grid() + grid(seeds=[0], **other))
    by_label = {table.title: table for group in tables(found).values() for table in group}
    assert len(by_label) == 2 and f"Ablation: {label}" in by_label
    assert line(by_label[f"Ablation: {label}"], "seeds", "0.1") == ["1", "1"]
    assert len(found.figures) == (1 if "target" in other else 2)


def test_values_are_in_order_of_size():
    found = over([victim(rate, alpha) for rate in (1e-5, 0.5, 0.1) for alpha in (0.05, 0.2)])
    assert found.rows.values == ["1e-05", "0.1", "0.5"]


def test_numbers_that_do_not_exist_are_marked_as_such():
    table = the_table(over(grid(target="stay")))
    assert line(table, "eASR", "0.1") == line(table, "flip rate", "0.1") == ["/", "/"]
    records = [changed(make_record(audit=True, alpha=alpha), target=Choice(name="multiply", resolved={"k": k}))
               for alpha in ALPHAS for k in (2, 3)]
    table = the_table(over(records, "k", "alpha"))
    assert line(table, "eASR", "2") == line(table, "clean rho_Acc", "3") == ["/", "/"]
    assert line(table, "flip rate", "2") != ["/", "/"]


# Names of settings

@pytest.mark.parametrize("rows, columns", [("poison_rate", "trigger.alpha"), ("alpha", "poison_rate")])
def test_a_setting_is_named_with_its_kind_or_without(rows, columns):
    found = over(grid(), rows, columns)
    assert {found.rows.key, found.columns.key} == {"poison_rate", "trigger.alpha"}
    assert found.rows.key.endswith(rows) and found.columns.key.endswith(columns)


@pytest.mark.parametrize("rows, columns, message", [
    ("poison_rat", "alpha", "--rows 'poison_rat': .*did you mean 'poison_rate'"),
    ("alpha", "alhpa", r"--columns 'alhpa': .*did you mean 'alpha'\? \(known: alpha, poison_rate\)"),
    ("alpha", "seed", "--columns 'seed'"),
    ("alpha", "trigger.alpha", "rows and columns are both trigger.alpha"),
    ("alpha", "part", "--columns part: all records have data.part B; .*two values or more"),
    ("alpha", "model", "--columns model: .*all records have model csrnet")])
def test_a_setting_that_is_not_one_of_two_that_vary_is_refused(rows, columns, message):
    with pytest.raises(UserError, match=message):
        over(grid(), rows, columns)


def test_a_name_of_two_settings_is_refused_unless_one_of_them_varies():
    def with_another(vary):
        return [changed(record, also=victim(0.1, 2 * record.attack.poison_rate if vary else 0.3).attack)
                for record in grid()]

    with pytest.raises(UserError, match="--columns alpha .*; expected also.trigger.alpha or trigger.alpha"):
        over(with_another(True))
    assert over(with_another(False)).columns.key == "trigger.alpha"


def test_two_settings_of_one_name_keep_their_kind():
    records = [changed(victim(0.1, alpha), also=victim(0.1, other).attack) for alpha in ALPHAS for other in (0.3, 0.4)]
    table = the_table(over(records, "trigger.alpha", "also.trigger.alpha"))
    assert list(table.frame)[1:] == ["trigger.alpha", "also.trigger.alpha 0.3", "also.trigger.alpha 0.4"]


def test_the_strength_on_the_test_images_has_a_name_of_its_own():
    records = [changed(victim(0.1, alpha), test_trigger=Choice(name="blended", resolved={"alpha": tested}))
               for alpha in ALPHAS for tested in (0.3, 0.4)]
    assert list(the_table(over(records, "alpha", "test_alpha")).frame)[1:] == [
        "alpha", "test_alpha 0.3", "test_alpha 0.4"]


@pytest.mark.parametrize("records", [[], [make_record(None), make_record(None, defense="mine")]])
def test_records_without_an_attack_are_refused(records):
    with pytest.raises(UserError, match="no record has an attack"):
        over(records)


def test_settings_that_no_record_has_together_are_refused():
    def sig(amplitude):
        return changed(victim(), trigger=Choice(name="sig", resolved={"amplitude": amplitude}))

    with pytest.raises(UserError, match="no record has both trigger.alpha and trigger.amplitude"):
        over([*grid(), sig(20), sig(40)], "alpha", "amplitude")


def test_cells_without_one_of_the_settings_are_named():
    sig = changed(victim(), trigger=Choice(name="sig", resolved={"amplitude": 20}))
    table = the_table(over([*grid(), sig]))
    assert "Left out, because they have no poison_rate or no alpha: csrnet, sig, multiply, none." in table.notes
    assert not any("Left out" in note for note in the_table(over(grid())).notes)


@pytest.mark.parametrize("columns, others, label", [
    ("trigger", {"trigger": "noise", "alpha": 0.4}, "csrnet, multiply, none"),
    ("target", {"target": "minus"}, "csrnet, blended, none"),
    ("model", {"model": "tiny", "training": {"epochs": 7}}, "blended, multiply, none"),
    ("defense", {"defense": "mine", "lr": 1}, "csrnet, blended, multiply"),
    ("data.part", {"data": {"part": "A"}, "truth": [50, 60, 70]}, "csrnet, blended, multiply, none")])
def test_what_has_settings_of_its_own_brings_them_along(columns, others, label):
    table = the_table(over([victim(rate, **other) for rate in RATES for other in ({}, others)], columns=columns))
    assert table.title == f"Ablation: {label}" and "not run" not in table.frame.values


def test_cells_that_would_share_a_place_are_refused():
    records = [victim(rate, alpha, trigger=trigger) for rate in RATES for alpha in ALPHAS
               for trigger in ("blended", "noise")]
    with pytest.raises(UserError, match="trigger blended; expected .* one value of trigger.alpha"):
        over(records, columns="trigger")


# Files

def test_tables_are_written_in_every_format(tmp_path):
    write(over(grid() + grid(target="minus") + grid(model="tiny")), tmp_path)
    page, paper = ((tmp_path / f"ablation.{kind}").read_text() for kind in ("md", "tex"))
    assert show(over(grid())).strip() in page and "nan" not in page
    assert re.findall(r"^## Ablation: (.*)$|^!\[curves\]\((.*)\)$", page, flags=re.MULTILINE) == [
        ("csrnet, blended, minus, none", ""), ("csrnet, blended, multiply, none", ""), ("", "ablation-1.png"),
        ("tiny, blended, multiply, none", ""), ("", "ablation-2.png")]
    assert re.findall(r"\\label\{(.*)\}", paper) == ["tab:ablation-1-1", "tab:ablation-1-2", "tab:ablation-2-1"]
    assert paper.count(r"\begin{tabular}{llrr}") == paper.count(r"\end{tabular}") == 3
    assert r"\caption{Effect of poison\_rate (rows) and alpha (columns) on the attack csrnet, blended" in paper
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "ablation.parquet"),
                                  tidy(over(grid() + grid(target="minus") + grid(model="tiny"))), check_dtype=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ablation.csv", "ablation.md", "ablation.parquet", "ablation.tex"]


def test_files_are_the_same_bytes_in_any_order(tmp_path):
    records = grid() + grid(target="minus")
    for name, given in (("one", records), ("two", records[::-1])):
        write(over(given), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
