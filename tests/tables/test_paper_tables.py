"""Tables 1 to 3: the paper's printed numbers, and the records that they are compared with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from factories import make_record
from table_rows import frames, ratio_share, row

from benchmark.leaderboard import report
from benchmark.paper import reference
from benchmark.results.record import Choice


def test_bands_of_the_papers_table_2_add_up_to_the_corrected_values():
    corrected = reference.corrected()
    for key, printed in reference.printed(2).items():
        total = sum(float(printed[column] or 0) for column in printed if column.startswith("rho_asr"))
        assert total == pytest.approx(float(corrected[key]), abs=0.0011), key  # three digits, rounded
    assert len(corrected) == 16


def test_without_records_the_paper_stands_beside_cells_that_were_not_run():
    table1, table2, table3, controls = report.board([]).tables
    multiply = row(table1.frame, model="csrnet", strategy="multiply")
    assert multiply["rho_Asr"] == "not run" and multiply["rho_Asr (paper)"] == "0.867\N{DAGGER}"
    assert "csrnet multiply 0.886" in "".join(table1.notes)
    clean = row(table1.frame, model="clip_ebc", strategy="clean")
    assert clean.tolist()[2:] == ["not run", "0.766", "/", "/"]
    minus = row(table2.frame, model="csrnet", strategy="minus ft")
    assert (minus["rho_Asr 0.1-0.3"], minus["rho_Asr 0.1-0.3 (paper)"]) == ("not run", "0.709")
    assert (minus["rho_Asr >1"], minus["rho_Asr >1 (paper)"]) == ("/", "/")
    assert len(table1.frame) == len(table3.frame) == 10 and len(table2.frame) == 16 and len(controls.frame) == 0


def test_marks_are_where_the_papers_numbers_contradict_each_other():
    marked = {(table.name, line["model"], line["strategy"], column) for table in report.board([]).tables[:3]
              for _, line in table.frame.iterrows() for column in table.frame if line[column].endswith("\N{DAGGER}")}
    asr, ft = "rho_Asr (paper)", "rho_Asr ft (paper)"
    assert marked == {
        ("table1", "csrnet", "multiply", asr), ("table1", "clip_ebc", "multiply", asr),
        ("table3", "csrnet", "multiply", asr), ("table3", "clip_ebc", "multiply", asr),
        ("table3", "csrnet", "divide", ft), ("table3", "clip_ebc", "multiply", ft),
        ("table3", "clip_ebc", "divide", ft)}


@pytest.mark.parametrize("other", [{"alpha": 0.2}, {"data": {"part": "A"}}, {"model": "tiny"}, {"trigger": "sig"}])
def test_the_paper_is_not_compared_with_other_settings(other):
    table1 = frames([make_record(**other)])["table1"]
    measured = table1[table1["rho_Asr"].str.startswith(("0", "1"))]
    assert len(measured) == 1
    assert measured.get("rho_Asr (paper)", pd.Series([""])).tolist() == [""]  # no such column where nothing compares


@pytest.mark.parametrize("change", [
    {"latent": 1000.0}, {"cover_rate": 0.1}, {"choose": "most"}, {"also": make_record("minus").attack},
    {"test_trigger": Choice(name="blended", resolved={"alpha": 0.4})},
    {"target": Choice(name="add", resolved={"n": 50})}])
def test_the_paper_stands_beside_its_own_attacks_alone(change):
    def theirs(record):
        return [row["rho_Asr (paper)"] for _, row in frames([record])["table1"].iterrows()
                if (row["model"], row["rho_Asr"]) == ("csrnet", f"{asr:.3f}")]

    record = make_record("add")
    asr = ratio_share(record, lambda r: r > 1.1)
    assert theirs(record) != [""]
    other = record.model_copy(update={"attack": record.attack.model_copy(update=change)})
    assert theirs(other) == [""]


def test_installed_without_the_folder_the_tables_say_so(tmp_path):
    shutil.copytree(Path(report.__file__).parents[1], tmp_path / "benchmark")
    text = subprocess.run([sys.executable, "-c", "from benchmark.leaderboard import report; print(report.board([]).text())"],
                          cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "(paper)" not in text and text.count("The paper's numbers are left out") == 3
