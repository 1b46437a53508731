"""Tables from records made here: what is averaged, what is kept apart, what is missing, and what is escaped."""

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import make_record

from benchmark.leaderboard import report
from benchmark.paper import reference
from benchmark.paper.findings import findings
from benchmark.results.record import Choice, Images
from benchmark.tables.formats import Table
from benchmark.tables.formats import csv as as_csv
from benchmark.tables.formats import latex, markdown
from benchmark.utils.errors import UserError

NASTY = 'a|b\n`c` <script>x</script> $%&#_{}~^\\ [l](http://h) *e* __b__ \u202e\x00 \u4e2d "q"'


def frames(records):
    return {table.name: table.frame for table in report.tables(records)}


def row(frame, **where):
    found = frame[(frame[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(found) == 1, (where, frame.iloc[:, :3])
    return found.iloc[0]


def ratio_share(record, success):
    images = record.images
    return np.mean([success(y / c) for y, c in zip(images.triggered, images.truth)])


# What the paper printed

def test_bands_of_the_papers_table_2_add_up_to_the_corrected_values():
    corrected = reference.corrected()
    for key, printed in reference.printed(2).items():
        total = sum(float(printed[column] or 0) for column in printed if column.startswith("rho_asr"))
        assert total == pytest.approx(float(corrected[key]), abs=0.0011), key  # three digits, rounded
    assert len(corrected) == 16


def test_without_records_the_paper_stands_beside_cells_that_were_not_run():
    table1, table2, table3, controls = report.tables([])
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
    marked = {(table.name, line["model"], line["strategy"], column) for table in report.tables([])[:3]
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


def test_installed_without_the_folder_the_tables_say_so(tmp_path):
    shutil.copytree(Path(report.__file__).parents[1], tmp_path / "benchmark")
    text = subprocess.run([sys.executable, "-c", "from benchmark.leaderboard import report; print(report.show([]))"],
                          cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "(paper)" not in text and text.count("The paper's numbers are left out") == 3


# What is averaged and what is kept apart

def test_numbers_are_means_over_seeds():
    records = [make_record("minus", seed=seed, effect=0.1 * seed) for seed in range(4)]
    line = row(frames(records)["table1"], model="csrnet", strategy="minus")
    assert line["rho_Asr"] == f"{np.mean([ratio_share(record, lambda r: r < 0.9) for record in records]):.3f}"
    bands = row(frames(records)["table2"], model="csrnet", strategy="minus")
    expected = np.mean([ratio_share(record, lambda r: 0.7 <= r < 0.9) for record in records])
    assert bands["rho_Asr 0.1-0.3"] == f"{expected:.3f}" and bands["rho_Asr >1"] == "/"
    assert row(frames(records)["controls"], attack="blended/minus", defense="none")["seeds"] == "4"


def test_settings_that_differ_make_rows_of_their_own():
    tables = frames([make_record(alpha=0.1), make_record(alpha=0.2), make_record(alpha=0.2, seed=1)])
    assert row(tables["table1"], strategy="multiply (alpha 0.1)")["rho_Asr (paper)"] == "0.867\N{DAGGER}"
    assert row(tables["controls"], attack="blended/multiply (alpha 0.2)")["seeds"] == "2"
    assert row(tables["controls"], attack="clean")["seeds"] == "2"


def test_rows_without_a_neighbour_name_what_sets_them_apart_too():
    strategies = frames([make_record("add", alpha=0.1), make_record("minus", alpha=0.2)])["table1"]["strategy"].tolist()
    assert "add (alpha 0.1)" in strategies and "minus (alpha 0.2)" in strategies


def test_settings_of_different_models_and_defenses_are_not_compared():
    tables = frames([make_record(defense="fine_tune", lr=1e-5), make_record(model="clip_ebc", training={"epochs": 150}),
                     make_record(model="clip_ebc", training={"epochs": 150}, defense="fine_tune", lr=1e-4)])
    assert not tables["table3"]["strategy"].str.contains("(", regex=False).any()


def test_two_fine_tunings_of_one_victim_are_two_rows():
    tables = frames([make_record(), make_record(defense="fine_tune", lr=1e-5), make_record(defense="fine_tune", lr=1e-4, effect=0)])
    strong = row(tables["table3"], model="csrnet", strategy="multiply (lr 0.0001)")
    weak = row(tables["table3"], model="csrnet", strategy="multiply (lr 1e-05)")
    assert strong["rho_Asr"] == weak["rho_Asr"] and float(strong["rho_Asr ft"]) < float(weak["rho_Asr ft"])
    assert {"none", "fine_tune (lr 1e-05)", "fine_tune (lr 0.0001)"} <= set(tables["controls"]["defense"])


def test_keys_of_one_name_keep_their_kind():
    records = [make_record(defense="fine_tune", lr=1, training={"lr": 1}), make_record(defense="fine_tune", lr=2, training={"lr": 2})]
    strategies = frames(records)["table3"]["strategy"].tolist()
    assert "multiply (defense.lr 1, training.lr 1)" in strategies


def test_other_test_images_are_another_cell():
    attacks = frames([make_record(), make_record(seed=1, truth=[50, 60])])["controls"]["attack"]
    assert attacks.str.fullmatch(r"(clean|blended/multiply) \(images [0-9a-f]{8}\)").all() and attacks.nunique() == 4


def test_a_value_given_or_by_default_is_the_same_cell():
    model = Choice(name="csrnet", given={"width": 2}, resolved={"width": 2})
    given = make_record(seed=1, training={"given": {"lr": 1}, "resolved": {"lr": 1}}).model_copy(update={"model": model})
    model = Choice(name="csrnet", resolved={"width": 2})
    resolved = make_record(training={"given": {}, "resolved": {"lr": 1}}).model_copy(update={"model": model})
    assert row(frames([given, resolved])["controls"], attack="blended/multiply")["seeds"] == "2"


def test_two_records_of_one_seed_are_refused():
    with pytest.raises(UserError, match="2 records of csrnet, blended/multiply, none .* seed 0"):
        report.tables([make_record(), make_record(effect=0.1)])


# The clean counter

def test_the_clean_row_is_its_record_or_else_the_reference_of_its_victims():
    def accuracy(counts):
        return f"{np.mean(np.abs(np.divide(counts, images.truth) - 1) <= 0.1):.3f}"

    images, where = make_record().images, {"model": "csrnet", "strategy": "clean"}
    assert accuracy(images.reference_clean) != accuracy(images.clean)
    assert row(frames([make_record(), make_record("add")])["table1"], **where)["rho_Acc"] == accuracy(images.reference_clean)
    assert row(frames([make_record(), make_record(target=None)])["table1"], **where)["rho_Acc"] == accuracy(images.clean)


def test_victims_that_disagree_on_the_clean_counter_are_refused_unless_it_has_a_record():
    other = make_record("add")
    images = other.images.model_copy(update={"reference_clean": [2 * y for y in other.images.reference_clean]})
    other = other.model_copy(update={"images": images})
    with pytest.raises(UserError, match="reference_clean"):
        report.tables([make_record(), other])
    assert report.tables([make_record(), other, make_record(target=None)])


# The table of controls

def test_controls_that_were_not_run_are_listed_as_soon_as_there_is_a_defense():
    assert frames([make_record()])["controls"]["defense"].tolist() == ["none", "none"]
    controls = frames([make_record(), make_record(defense="mine"), make_record(model="tiny"), make_record("add")])["controls"]
    for attack in "blended/multiply", "blended/add":
        assert controls[(controls["model"] == "csrnet") & (controls["attack"] == attack)]["defense"].tolist() == [
            "none", "mine", "retrain", "continue_poisoned"]
    assert (row(controls, model="tiny", attack="blended/multiply", defense="mine")[3:] == "not run").all()
    clean = row(controls, model="csrnet", attack="clean", defense="mine")
    assert (clean["MAE"], clean["rho_Asr"], clean["DER"]) == ("not run", "/", "/")


def test_controls_of_a_case_computed_by_hand():
    record = make_record("add", truth=[100, 100, 200, 400], effect=0.5)
    images = Images(id=list("abcd"), truth=[100, 100, 200, 400], clean=[100, 120, 190, 390],
                    target=[200, 200, 300, 500], reference_clean=[100, 100, 200, 400],
                    triggered=[200, 130, 190, 340], reference_triggered=[100, 100, 260, 400])
    line = row(frames([record.model_copy(update={"images": images})])["controls"], attack="blended/add")
    expected = {"rho_Acc": "0.750", "MAE": "10.00", "rho_Asr": "0.500", "RA": "0.250", "Opp": "0.250", "base": "0.250",
                "ASR0": "0.250", "eASR": "0.333", "flip rate": "0.250", "attainment": "0.050", "DER": "/"}
    assert line[list(expected)].to_dict() == expected
    assert line["flip rate 95%"] == "[0.000, 0.750]" and line["attainment 95%"].startswith("[-0.500, ")


def test_der_compares_with_the_undefended_victim_of_the_same_settings():
    records = [make_record(), make_record(defense="mine", effect=0), make_record(defense="mine", alpha=0.2, effect=0)]
    controls = frames(records)["controls"]
    mine, none = (row(controls, attack="blended/multiply (alpha 0.1)", defense=name) for name in ("mine", "none"))
    expected = (float(none["eASR"]) - float(mine["eASR"]) + 1) / 2  # the clean counts are the same
    assert float(mine["DER"]) == pytest.approx(expected, abs=0.001)
    assert row(controls, attack="blended/multiply (alpha 0.2)", defense="mine")["DER"] == "/"


def test_a_target_that_keeps_the_count_has_no_success_and_no_interval():
    line = row(frames([make_record("stay")])["controls"], attack="blended/stay")
    assert (line[["rho_Asr", "Opp", "eASR", "flip rate", "flip rate 95%", "attainment", "attainment 95%"]] == "/").all()
    assert line["RA"] == line["rho_Acc"]


def test_controls_as_data_are_the_numbers_of_the_table():
    records = [make_record(), make_record(defense="mine", effect=0.1), make_record(target=None)]
    text, data = frames(records)["controls"], report.controls(records)
    assert (text[["model", "attack", "defense"]] == data[["model", "attack", "defense"]]).all(axis=None)
    for heading, key in ("rho_Asr", "rho_asr"), ("DER", "der"), ("attainment", "attainment"):
        assert [value for value in text[heading] if value[0].isdigit()] == [f"{v:.3f}" for v in data[key].dropna()]
    assert report.controls([]).empty


# Audits

def test_an_audit_has_no_chance_floor_and_nothing_that_rests_on_it():
    records = [make_record(audit=True), make_record("minus", audit=True), make_record(audit=True, defense="fine_tune", effect=0.1)]
    controls = frames(records)["controls"]
    assert controls[["ASR0", "eASR", "DER"]].isin(["/", "not run"]).all(axis=None)
    none, repaired = (row(controls, attack="blended/multiply", defense=name) for name in ("none", "fine_tune"))
    assert none["ASR0"] == none["eASR"] == repaired["DER"] == "/"
    assert none["rho_Asr"] == f"{ratio_share(records[0], lambda r: r > 1.1):.3f}" > repaired["rho_Asr"]
    assert all(none[key] != "/" for key in ("base", "flip rate", "flip rate 95%", "attainment", "attainment 95%"))
    line = row(frames(records)["table3"], strategy="multiply")
    assert (line["rho_Asr"], line["rho_Asr ft"]) == (none["rho_Asr"], repaired["rho_Asr"])
    data = report.controls(records)
    assert data[["asr0", "easr", "der"]].isna().all(axis=None) and data["attainment"].notna().sum() == 3


def test_of_an_audit_no_clean_counter_is_made_up_and_the_paper_is_not_beside_it():
    table1 = frames([make_record(audit=True), make_record("minus", audit=True)])["table1"]
    assert row(table1, strategy="clean")["rho_Acc"] == "not run" and "rho_Acc (paper)" not in table1
    assert "rho_Acc (paper)" not in frames([make_record(None, audit=True)])["table1"]
    assert "clean" not in frames([make_record(audit=True)])["controls"]["attack"].tolist()


def test_an_audit_asks_for_no_control_that_needs_the_poisoned_set():
    defenses = frames([make_record(audit=True), make_record(audit=True, defense="mine")])["controls"]["defense"]
    assert defenses.tolist() == ["none", "mine", "retrain"]


def test_an_audit_and_a_training_with_the_same_settings_are_two_rows():
    records = [make_record(), make_record(audit=True), make_record(None), make_record(None, audit=True)]
    attacks = frames(records)["controls"]["attack"].tolist()
    assert attacks == ["clean (audit false)", "clean (audit true)", "blended/multiply (audit false, poison_rate 0.1)",
                       "blended/multiply (audit true, poison_rate 0)"]


def test_audits_go_into_every_format_with_their_warning(tmp_path):
    warning = "audit: a counter that was given; how it was trained is not known"
    records = [make_record(target, audit=True, warnings=[warning]) for target in (None, "add", "stay")]
    for path in report.write(records, tmp_path):
        text = path.read_text()
        assert "nan" not in text and "None" not in text
        assert path.suffix == ".csv" or warning in text


# Notes

def test_notes_name_the_rows_that_need_a_word():
    records = [make_record(), make_record("add", warnings=["weights: from scratch"]), make_record("minus", variant="code"),
               make_record("divide", truth=[0, 30, 40]), make_record(seed=1)]
    notes = "\n".join(report.tables(records)[0].notes)
    assert re.search(r"In csrnet add \([^)]*\): weights: from scratch\.", notes)
    assert re.search(r"csrnet minus \([^)]*\): variant code", notes)
    assert re.search(r"csrnet divide \([^)]*\): 1 of 3 images show no people", notes)
    assert re.search(r"csrnet add \([^)]*\).*: seed 0 of seeds 0, 1\.", notes)
    assert "All rows: data shanghaitech, part B, trigger blended, alpha 0.1, poison_rate 0.1." in notes


def test_a_note_on_every_row_names_none():
    records = [make_record(target, warnings=["drawn scenes"]) for target in ("add", "minus")]
    assert "In all rows: drawn scenes." in report.tables(records)[0].notes


# Formats

def nasty_records():
    return [make_record(), make_record(model=NASTY, defense=NASTY, trigger=NASTY, warnings=[NASTY]), make_record(defense="=1+1")]


def test_settings_are_those_of_all_rows_only_where_all_rows_have_them():
    drawn = make_record("minus").model_copy(update={"data": Choice(name="synthetic", resolved={"height": 112})})
    [note, *_] = report.tables([make_record(), drawn])[-1].notes
    assert note == "All rows: variant text, trigger blended, alpha 0.1, poison_rate 0.1."


def test_seeds_that_saw_other_images_are_told():
    def of(fingerprint, seed):
        return make_record(seed=seed).model_copy(update={"provenance": {"data": {"train": fingerprint}}})

    told = "seeds with other training or test images"
    assert told in " ".join(report.tables([of("a", 0), of("b", 1)])[0].notes)
    assert told not in " ".join(report.tables([of("a", 0), of("a", 1)])[0].notes)


@pytest.mark.parametrize("change", [
    {"latent": 1000.0}, {"choose": "most"}, {"also": make_record("minus").attack},
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


def test_titles_headings_and_pages_show_text_and_do_not_obey_it():
    table = Table("t", f"Differences of {NASTY}", pd.DataFrame({f"={NASTY}": ["1"]}), [])
    assert "<script>" not in markdown(table) and "\x00" not in markdown(table)
    assert as_csv(table).startswith("\"'=")
    page = findings([make_record().model_copy(update={"warnings": [NASTY], "provenance": {"device_name": NASTY}})])
    assert "<script>" not in page and "[l](http" not in page and "\x00" not in page


def test_markdown_keeps_its_table_whatever_the_names():
    text = report.show(nasty_records())
    assert "<script" not in text and "\u202e" not in text and "\x00" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert not re.search(r"(?<!\\)[`*~]", text)
    assert "clip_ebc" in text


def test_latex_is_balanced_and_every_row_has_all_columns():
    for table in report.tables(nasty_records()):
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
    tables = [latex(table) for table in report.tables([*nasty_records(), make_record("add", "anp"), make_record(None)])]
    lines = [r"\documentclass{article}", r"\usepackage{booktabs, adjustbox}", r"\begin{document}", *tables,
             r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(lines))
    done = subprocess.run(["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"], cwd=tmp_path,
                          capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 1000


def test_csv_reads_back_and_runs_no_formula(tmp_path):
    report.write(nasty_records(), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables/controls.csv").read_text(encoding="utf-8"))))
    frame = frames(nasty_records())["controls"]
    assert [line["rho_Acc"] for line in rows] == frame["rho_Acc"].tolist()
    assert "'=1+1" in {line["defense"] for line in rows}
    assert not any(re.match(r"[=@]", value) for line in rows for value in line.values())


def test_a_table_without_rows_is_still_a_table():
    empty = Table("t", "T", pd.DataFrame(columns=["a", "b"]), [])
    assert "| a   | b   |" in markdown(empty) and r"\bottomrule" in latex(empty)


def test_files_are_the_same_bytes_in_any_order_and_nothing_else_is_left(tmp_path):
    records = [make_record(seed=seed, effect=0.3 * seed) for seed in range(3)] + nasty_records()[1:] + [make_record("add")]
    paths = report.write(records, tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one/tables").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("table1", "table2", "table3", "controls", "defenses", "cells")
        for kind in ("md", "csv", "tex", "json"))
    others = report.write(records[::-1], tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in others]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(UserError, match="tables: cannot write .*table1.md"):
        report.write([], tmp_path)
