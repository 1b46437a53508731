"""Formats of tables: text from records is escaped, and the same records give the same bytes."""

import csv
import io
import json
import math
import re

import pandas as pd
import pytest
from factories import make_record
from table_rows import frames

from benchmark.leaderboard import report
from benchmark.paper.findings import findings
from benchmark.tables.data import csv as as_csv
from benchmark.tables.data import as_json, data_frame, rows_of
from benchmark.tables.formats import Table, as_frame, interval, markdown, number, probability, with_interval
from benchmark.tables.latex import latex
from benchmark.tables.terminal import terminal
from benchmark.utils.errors import UserError

NASTY = 'a|b\n`c` <script>x</script> $%&#_{}~^\\ [l](http://h) *e* __b__ \u202e\x00 \u4e2d "q"'


def nasty_records():
    return [make_record(), make_record(model=NASTY, defense=NASTY, trigger=NASTY, warnings=[NASTY]), make_record(defense="=1+1")]


def test_titles_headings_and_pages_show_text_and_do_not_obey_it():
    table = Table("t", f"Differences of {NASTY}", pd.DataFrame({f"={NASTY}": ["1"]}), [])
    assert "<script>" not in markdown(table) and "\x00" not in markdown(table)
    assert as_csv(table).startswith("\"'=")
    page = findings([make_record().model_copy(update={"warnings": [NASTY], "provenance": {"device_name": NASTY}})])
    assert "<script>" not in page and "[l](http" not in page and "\x00" not in page


def test_markdown_keeps_its_table_whatever_the_names():
    text = report.board(nasty_records()).text()
    assert "<script" not in text and "\u202e" not in text and "\x00" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert not re.search(r"(?<!\\)[`*~]", text)
    assert "clip_ebc" in text


# Numbers for other programs

def test_numbers_are_numbers_intervals_two_columns_and_what_there_is_not_is_null(tmp_path):
    nan = float("nan")
    rows = [{"name": "a", "x": with_interval(0.25, 0.1, 1 / 3), "x 95%": interval(0.5, 1.0), "p": probability(1e-9),
             "images": number(100.0, 0)},
            {"name": "b", "x": with_interval(nan, nan, nan), "x 95%": interval(nan, nan), "p": probability(nan),
             "images": "not run"}]
    [first, second] = rows_of(Table("t", "T", as_frame(rows).drop(columns="x 95%"), []))
    assert first == {"name": "a", "x": 0.25, "x_low": 0.1, "x_high": 0.333333, "p": 1e-9, "images": 100}
    assert second == dict.fromkeys(first) | {"name": "b"}
    [first, _] = rows_of(Table("t", "T", as_frame(rows)[["name", "x 95%"]], []))
    assert first == {"name": "a", "x_low": 0.5, "x_high": 1.0}


def test_every_column_of_every_file_holds_numbers_alone_or_text_alone(tmp_path):
    records = [make_record(target, defense, seed, effect=effect) for target in (None, "add", "minus") for seed in (0, 1)
               for defense, effect in (("none", 0.8), ("mine", 0.2), ("retrain", 0.1), ("anp", 0.5))]
    board = report.board([*records, make_record("stay")])
    for table in board.tables:
        frame = data_frame(table)
        text = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]
        assert {*text} <= {"model", "attack", "defense", "strategy", "knows", *(c for c in text if c.endswith("_mark"))}
        assert not frame.isin(["/", "not run", "<.001"]).any(axis=None)
    board.write(tmp_path)
    for path in (tmp_path / "tables").glob("*.parquet"):
        frame = pd.read_parquet(path)
        pd.testing.assert_frame_equal(pd.read_csv(path.with_suffix(".csv")), frame, check_dtype=False)
        rows = json.loads(path.with_suffix(".json").read_text())["rows"]
        assert len(rows) == len(frame) and all(row.keys() == {*frame} for row in rows)


def test_csv_reads_back_and_runs_no_formula(tmp_path):
    report.board(nasty_records()).write(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables/controls.csv").read_text(encoding="utf-8"))))
    frame = frames(nasty_records())["controls"]
    told = [f"{float(line['rho_Acc']):.3f}" if line["rho_Acc"] else "not run" for line in rows]
    assert told == frame["rho_Acc"].tolist()
    assert "'=1+1" in {line["defense"] for line in rows}
    assert not any(re.match(r"[=@]", value) for line in rows for value in line.values())


@pytest.mark.parametrize("cell, written", [
    ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'=1"), ("\r=1", "'=1"),
    ("\n=1", "'=1"), (" =1", "'=1"), ("\u200b=1", "'=1"), ("\uff1d1", "'\uff1d1"), ("\uff0b1", "'\uff0b1"), ("-", "'-"),
    ("a;=1", "a;'=1"), ("a; @x", "a; '@x"), ("-1.5e3", "'-1.5e3"), ("--1", "'--1"), ("+0.031", "+0.031"), ("-3", "-3"),
    ("a=1", "a=1"), ("0.5 [-0.1, 0.2]", "0.5 [-0.1, 0.2]"), ("a@b", "a@b"), ("fine_tune", "fine_tune")])
def test_a_cell_that_a_spreadsheet_would_run_is_text(cell, written):
    frame = pd.DataFrame({cell: [cell]})
    assert list(csv.reader(io.StringIO(as_csv(Table("t", "T", frame, []))))) == [[written], [written]]


def test_a_table_without_rows_is_still_a_table():
    empty = Table("t", "T", pd.DataFrame(columns=["a", "b"]), [])
    assert "| a   | b   |" in markdown(empty) and r"\bottomrule" in latex(empty)
    assert as_csv(empty) == "a,b\n" and "a  b" in terminal(empty, 80)


def test_files_are_the_same_bytes_in_any_order_and_nothing_else_is_left(tmp_path):
    records = [make_record(seed=seed, effect=0.3 * seed) for seed in range(3)] + nasty_records()[1:] + [make_record("add")]
    paths = report.board(records).write(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one/tables").iterdir()) == sorted(
        f"{name}.{kind}" for name in (
            "table1", "table2", "table3", "controls", "defenses", "cells", "strata", "summary", "verdicts", "wins")
        for kind in ("md", "csv", "parquet", "tex", "json"))
    others = report.board(records[::-1]).write(tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in others]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(UserError, match="tables: cannot write .*table1.md"):
        report.board([]).write(tmp_path)


def test_an_infinite_number_is_null_in_json_and_infinite_in_csv():
    """The label distortion of a target that wants nobody is infinite."""
    table = Table("distortion", "Distortion", as_frame([{"label distortion": number(math.inf)}]), [])
    assert json.loads(as_json(table))["rows"] == [{"label distortion": None}]
    assert as_csv(table) == "label distortion\ninf\n"
