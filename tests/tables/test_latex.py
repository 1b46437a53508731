"""Tables as LaTeX: a real compiler takes every one of them, and none is wider or longer than a page."""

import re
import shutil
import subprocess

import pytest
from factories import ROOT, make_record
from test_formats import NASTY, nasty_records

from benchmark.leaderboard import report
from benchmark.results.record import Record
from benchmark.tables.formats import Table, as_frame, number, with_interval
from benchmark.tables.latex import latex
from benchmark.tables.verdicts import win_table

COMPILERS = {"tectonic": ["tectonic"], "pdflatex": ["pdflatex", "-halt-on-error", "-interaction=nonstopmode"],
             "lualatex": ["lualatex", "-halt-on-error", "-interaction=nonstopmode"]}


def wide(columns=12, rows=90):
    """A table of long names and many numbers with intervals."""
    return Table("wide", "Wide", as_frame([
        {"model": "tiny", "attack": f"blended/{row}", "defense": "a name of many words that goes on and on"} |
        {f"number {column}": with_interval(0.5, 0.4, 0.6) for column in range(columns)}
        for row in range(rows)]), ["A note."])


def floats(text):
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, flags=re.DOTALL)


def rows_of(part):
    return re.findall(r"^(.*) \\\\$", part, flags=re.MULTILINE)


def test_latex_is_balanced_and_every_row_of_a_float_has_all_its_columns():
    for table in report.board(nasty_records()).tables:
        text = latex(table)
        assert text.isascii()
        bare = re.sub(r"\\[\\{}%&$#_]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        assert not re.search(r"(?<!\\)[#^~]|(?<!\\)%(?! \\usepackage|$)", text, flags=re.MULTILINE)
        for part in floats(text):
            assert re.findall(r"\\(begin|end)\{(\w+)\}", part) == [
                ("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")]
            [specifier] = re.findall(r"\\begin\{tabular\}\{(.*)\}", part)
            columns = len(re.sub(r">\{.*?\}p\{\d+pt\}", "p", specifier))
            assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows_of(part)} == {columns}


def test_a_large_table_is_spread_over_floats_that_name_their_rows_and_lose_nothing():
    parts = floats(latex(wide()))
    assert len(parts) > 4 and all("Part" in part and "All rows are of model tiny." in part for part in parts)
    labels = re.findall(r"\\label\{(.*?)\}", "".join(parts))
    assert labels[:2] == ["tab:wide", "tab:wide-2"] and len({*labels}) == len(parts)
    numbers = {(row.partition(" &")[0], heading) for part in parts
               for heading in re.findall(r"number \d+", part) for row in rows_of(part)[1:]}
    assert numbers == {(f"blended/{row}", f"number {column}") for row in range(90) for column in range(12)}
    assert all(len(rows_of(part)) <= 41 for part in parts)


def test_a_caption_is_a_sentence_and_numbers_stand_on_the_right():
    [part] = floats(latex(Table("t", "A title", as_frame([{"name": "a", "x": number(0.5)}]), [])))
    assert r"\caption{A title.}" in part and r"\begin{tabular}{lr}" in part
    for table in report.board([make_record(), make_record(defense="mine"), make_record(defense="anp")]).tables:
        assert re.search(r"\\caption\{[A-Z].{40,}[.)]\}", latex(table))


def compiled(folder, parts):
    """What the compiler tells about a document of these parts, which it must not refuse."""
    if not any(map(shutil.which, COMPILERS)):
        pytest.skip("no LaTeX compiler is installed: " + ", ".join(COMPILERS))
    lines = [r"\documentclass{article}", r"\usepackage{array, booktabs, graphicx}", r"\begin{document}",
             *(f"{part}\n\\clearpage" for part in parts), r"\end{document}"]
    (folder / "all.tex").write_text("\n".join(lines))
    name = next(filter(shutil.which, COMPILERS))
    done = subprocess.run([*COMPILERS[name], "all.tex"], cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "all.pdf").stat().st_size > 1000
    return done.stdout + done.stderr


def test_a_compiler_takes_every_table_and_none_is_wider_or_longer_than_a_page(tmp_path):
    frontier = [Record.read(path) for path in sorted((ROOT / "records/frontier").glob("*.json"))]
    board, compared = report.board(frontier), report.compare(frontier, "anp")
    tables = [compared, win_table(compared.frame.to_dict("records")), wide(), Table("x", "X", as_frame([{"a": "x" * 200}]), [])]
    files = [path for path in board.write(tmp_path) if path.suffix == ".tex"]
    told = compiled(tmp_path, [*map(latex, tables), *(f"\\input{{{path}}}" for path in files)])
    assert len(files) > 8 and "Overfull" not in told and "Float too large" not in told


def test_a_compiler_takes_what_strangers_call_things(tmp_path):
    records = [*nasty_records(), make_record("add", "anp"), make_record(None)]
    nasty = Table("long", NASTY, as_frame([{NASTY: NASTY, "b": "y"}]), [NASTY], [NASTY])
    compiled(tmp_path, [latex(table) for table in [*report.board(records).tables, nasty]])
