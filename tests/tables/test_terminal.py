"""What a terminal shows: the summary, the verdicts and the wins, and tables that are no wider than it."""

import numpy as np
import pytest
from factories import make_record
from table_rows import row

from benchmark.leaderboard import report
from benchmark.leaderboard.terminal_report import LONGEST, comparison_report, terminal_report
from benchmark.results.scenarios import scenarios
from benchmark.tables.comparison import difference_table
from benchmark.tables.formats import Table, as_frame, count, markdown, number
from benchmark.tables.summary import summary_table
from benchmark.tables.terminal import terminal
from benchmark.tables.verdicts import control_differences, verdict_table, win_table


def records(seeds=(0,), attacks=("add", "multiply"), **effects):
    """Records of defenses and their effects; 0.8 is the victim's."""
    effects = effects or {"none": 0.8, "mine": 0.1, "retrain": 0.0}
    return [make_record(target, defense, seed, effect=effect, model="tiny") for target in attacks for seed in seeds
            for defense, effect in effects.items()]


def told(given, defenses=None, width=100):
    return terminal_report(report.board(given), width, defenses)


# A table

def test_a_table_has_the_columns_that_fit_and_names_the_others():
    table = Table("t", "T", as_frame([{"name": "a long name " * 9, "x": number(0.5)} |
                                      {f"column {i}": number(i / 7) for i in range(20)}]), ["note " * 90])
    for width in 80, 100, 120:
        text = terminal(table, width)
        assert max(map(len, text.splitlines())) <= width and "0.500" in text
        assert "too narrow: column" in text and text.count("note") == 90 and text.count("long") == 9
    assert "column" not in terminal(Table("t", "T", table.frame[["name", "x"]], []), 80)


def test_what_explains_columns_that_are_not_shown_is_left_to_the_files():
    table = Table("t", "T", as_frame([{"a": number(1), "b": number(2)}]), ["About a."], brief=["a"], details=["About b."])
    assert terminal(table, 80).splitlines()[-2:] == [
        "About a.", "All columns, with their meanings: t.md in the folder of tables (--out)."]
    assert markdown(table).splitlines()[-2:] == ["- About a.", "- About b."]


def test_groups_stand_above_their_rows_and_what_does_not_exist_is_empty():
    frame = as_frame([{"model": "m", "attack": attack, "defense": defense, "x": number(x)}
                      for attack in ("add", "minus") for defense, x in (("none", 0.25), ("mine", np.nan))])
    assert terminal(Table("t", "T", frame, []), 80, "{model}, {attack}").splitlines() == [
        "T", "", "  defense      x", "  -------  -----", "m, add", "  none     0.250", "  mine", "m, minus",
        "  none     0.250", "  mine", ""]


def test_a_table_without_rows_and_columns_is_its_other_lines_in_every_format(tmp_path):
    table = Table("t", "T", as_frame([]), ["A note."], lead=["A lead."])
    assert terminal(table, 80, "{model}").splitlines() == ["T", "A lead.", "", "A note."]
    report.write_tables([table], tmp_path)
    assert "tabular" not in (tmp_path / "t.tex").read_text() and "A note." in (tmp_path / "t.tex").read_text()
    assert all((tmp_path / f"t.{suffix}").is_file() for suffix in report.FORMATS)


def test_text_of_strangers_moves_no_cursor():
    frame = as_frame([{"a\x1b[2J": "b\x1b[31m\r\n\u202e", "model": "\x1b]0;x\x07", "n": count(1)}])
    text = terminal(Table("t", "T\x1b", frame, ["\x1b[1mnote"]), 80, "{model}")
    assert all(line.isprintable() for line in text.splitlines())


# The summary

def test_the_summary_has_rows_of_what_was_run_alone_with_few_columns():
    given = [*records(), make_record("minus", model="tiny"), make_record(None, model="tiny")]
    table = summary_table(scenarios(given))
    assert list(zip(table.frame["attack"], table.frame["defense"])) == [
        ("clean", "none"), *(("blended/add", defense) for defense in ("none", "mine", "retrain")), ("blended/minus", "none"), *(("blended/multiply", defense) for defense in ("none", "mine", "retrain"))]
    line = row(table.frame, attack="blended/add", defense="none")
    expected = report.board(given).controls.set_index(["attack", "defense"]).loc["blended/add", "none"]
    for heading, key in (("rho_Acc", "rho_acc"), ("flip rate", "flip_rate"), ("attainment", "attainment")):
        assert line[heading].data[""] == pytest.approx(expected[key])
        assert line[heading].startswith(f"{expected[key]:.2f}")
    assert table.lead == ["What was run: tiny on shanghaitech, 40 test images, 1 seed for each row."]


def test_a_run_shows_its_defense_beside_none_and_the_controls_and_counts_wins_over_others():
    given = records(none=0.8, mine=0.1, retrain=0.0, other=0.8)
    text = told(given, {"mine"})
    first, _, others = text.partition("against other defenses")
    assert "\n  other " not in first and "tiny, mine compared with none\n" in first and "compared with retrain\n" in first
    assert "\n  other " in others and others.count(" / ") >= 2 and "tiny, other" not in others
    assert "tiny, other compared with none" in told(given)


def test_the_papers_rows_are_shown_where_they_were_run_and_no_other_rows():
    text = told([make_record("multiply"), make_record("multiply", defense="fine_tune"), make_record(None)])
    assert "Table 1" in text and "Table 3" in text and "not run" not in text and "clip_ebc" not in text
    assert "Table 1" not in told(records())


def test_what_is_too_long_is_named_and_not_printed():
    defenses = {f"d{i}": 0.5 for i in range(LONGEST // 2 - 1)}
    text = told(records(none=0.8, **defenses))
    assert f"Summary: {2 * len(defenses) + 3} rows are too many to print; they are in summary.md" in text and "Wins" in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width):
    audits = [make_record(target, audit=True) for target in (None, "add", "minus")]
    long = [make_record("add", "retrain", images=images, extra=40, model="tiny") for images in (None, 40)]
    for given in (records(seeds=range(3)), [*records(), *long], audits,
                  [make_record("stay"), make_record("stay", "mine")]):
        assert max(map(len, told(given, width=width).splitlines())) <= width
    assert told(audits).startswith("Is the counter backdoored?")


# Verdicts

def test_a_verdict_is_that_of_a_test_over_images_and_over_seeds():
    def verdict(seeds, effect):
        rows = control_differences(scenarios(records(seeds, ("add",), none=0.8, mine=effect)))
        table = verdict_table(rows)
        assert f"over all {2 * len(rows)} tests" in table.notes[0].replace("over all 3", "over all 4")
        return row(table.frame, attack="blended/add")["flip rate verdict"]

    assert verdict([0], 0.1) == "(better) <.001" and verdict([0], 0.8) == "tie 1.000"
    assert verdict(range(6), 0.1) == "better <.001" and verdict(range(6), 0.1).data[", p seeds"] < 0.05
    assert verdict([0], 0.1).data[", p images"] < 0.001 and verdict([0], 0.1).data[", p seeds"] is None


def test_a_defense_is_compared_on_the_seeds_that_both_have():
    given = records((0, 1, 2), none=0.8) + records((1,), mine=0.1)
    rows = control_differences(scenarios(given))
    alone = control_differences(scenarios(records((1,), none=0.8, mine=0.1)))
    assert rows == alone and {line["compared with"] for line in rows} == {"none"}


def test_wins_count_the_verdicts_of_the_comparison_over_the_attacks():
    given = records(seeds=range(6), attacks=("add", "multiply", None), none=0.8, mine=0.1, weak=0.8, strong=0.0)
    differences = difference_table(scenarios(given), "mine").frame
    wins = win_table(differences.to_dict("records")).frame
    for other in ("none", "weak", "strong"):
        verdicts = differences[(differences["compared with"] == other) & (differences["attack"] != "clean")]
        words = [verdict.removeprefix("these counters: ") for verdict in verdicts["flip rate verdict"]]
        counted = [words.count(word) for word in ("better", "worse")]
        cell = row(wins, **{"compared with": other})["flip rate"]
        assert (cell.data[", wins"], cell.data[", losses"]) == tuple(counted) and sum(cell.data.values()) == 2
    assert row(wins, **{"compared with": "none"})["flip rate"] == "2 / 0 / 0"
    one = win_table(difference_table(scenarios(records()), "mine").frame.to_dict("records")).frame
    assert set(one["flip rate, method"]) == {"/"}


def test_a_comparison_of_attacks_counts_over_defenses():
    given = [make_record("multiply", defense, trigger=trigger, effect=effect, model="tiny")
             for trigger, effect in (("mine", 0.9), ("blended", 0.2)) for defense in ("none", "anp")]
    text = comparison_report(report.compare(given, "mine/multiply"), 100, "defense")
    assert text.startswith("Wins / ties / losses") and "tiny, mine/multiply\n" in text
    assert "tiny, anp: mine/multiply compared with\n" in text and " blended/multiply " in text
