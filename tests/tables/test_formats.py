"""Formats of tables: text from records is escaped, and the same records give the same bytes."""

import csv
import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
from factories import make_record
from table_rows import frames

from benchmark.leaderboard import report
from benchmark.paper.findings import findings
from benchmark.tables.formats import Table
from benchmark.tables.formats import csv as as_csv
from benchmark.tables.formats import latex, markdown
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


def test_latex_is_balanced_and_every_row_has_all_columns():
    for table in report.board(nasty_records()).tables:
        text = latex(table)
        assert text.isascii()
        assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
            ("begin", "table"), ("begin", "adjustbox"), ("begin", "tabular"),
            ("end", "tabular"), ("end", "adjustbox"), ("end", "table")]
        bare = re.sub(r"\\[\\{}%&$#_]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        rows = re.findall(r"^(.*) \\\\$", text, flags=re.MULTILINE)
        assert len(rows) == len(table.frame) + 1
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows} == {table.frame.shape[1]}
        assert not re.search(r"(?<!\\)[#^~]|(?<!\\)%(?! \\usepackage)", text)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    tables = [latex(table) for table in report.board([*nasty_records(), make_record("add", "anp"), make_record(None)]).tables]
    lines = [r"\documentclass{article}", r"\usepackage{booktabs, adjustbox}", r"\begin{document}", *tables,
             r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(lines))
    done = subprocess.run(["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"], cwd=tmp_path,
                          capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 1000


def test_csv_reads_back_and_runs_no_formula(tmp_path):
    report.board(nasty_records()).write(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables/controls.csv").read_text(encoding="utf-8"))))
    frame = frames(nasty_records())["controls"]
    assert [line["rho_Acc"] for line in rows] == frame["rho_Acc"].tolist()
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


def test_files_are_the_same_bytes_in_any_order_and_nothing_else_is_left(tmp_path):
    records = [make_record(seed=seed, effect=0.3 * seed) for seed in range(3)] + nasty_records()[1:] + [make_record("add")]
    paths = report.board(records).write(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one/tables").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("table1", "table2", "table3", "controls", "defenses", "cells", "strata")
        for kind in ("md", "csv", "tex", "json"))
    others = report.board(records[::-1]).write(tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in others]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(UserError, match="tables: cannot write .*table1.md"):
        report.board([]).write(tmp_path)
