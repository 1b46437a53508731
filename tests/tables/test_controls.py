"""Table of controls: its rows and numbers, and those that an audit lacks."""

import pytest
from factories import make_record
from table_rows import frames, ratio_share, row

from benchmark.leaderboard import report
from benchmark.results.record import Images


# Rows and numbers

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
    text, data = frames(records)["controls"], report.board(records).controls
    assert (text[["model", "attack", "defense"]] == data[["model", "attack", "defense"]]).all(axis=None)
    for heading, key in ("rho_Asr", "rho_asr"), ("DER", "der"), ("attainment", "attainment"):
        assert [value for value in text[heading] if value[0].isdigit()] == [f"{v:.3f}" for v in data[key].dropna()]
    assert report.board([]).controls.empty


# Audits

def test_an_audit_has_no_chance_floor_and_nothing_that_rests_on_it():
    records = [make_record(audit=True), make_record("minus", audit=True), make_record(audit=True, defense="fine_tune", effect=0.1)]
    controls = frames(records)["controls"]
    assert (controls[["ASR0", "eASR", "DER"]] == "/").all(axis=None)
    none, repaired = (row(controls, attack="blended/multiply", defense=name) for name in ("none", "fine_tune"))
    assert none["ASR0"] == none["eASR"] == repaired["DER"] == "/"
    assert none["rho_Asr"] == f"{ratio_share(records[0], lambda r: r > 1.1):.3f}" > repaired["rho_Asr"]
    assert all(none[key] != "/" for key in ("base", "flip rate", "flip rate 95%", "attainment", "attainment 95%"))
    data = report.board(records).controls
    assert data[["asr0", "easr", "der"]].isna().all(axis=None) and data["attainment"].notna().sum() == 3


def test_of_an_audit_no_clean_counter_is_made_up_and_the_paper_is_not_beside_it():
    tables = frames([make_record(audit=True), make_record("minus", audit=True)])
    assert list(tables) == ["audit", "controls"] and "clean" not in tables["controls"]["attack"].tolist()


def test_an_audit_has_rows_of_what_was_run_alone():
    records = [make_record(None, audit=True), make_record(audit=True), make_record(audit=True, defense="mine"),
               make_record("add", audit=True), make_record("add", audit=True, defense="retrain")]
    controls = frames(records)["controls"]
    assert list(zip(controls["attack"], controls["defense"])) == [
        ("clean", "none"), ("blended/add", "none"), ("blended/add", "retrain"), ("blended/multiply", "none"),
        ("blended/multiply", "mine")]


def test_an_audit_and_a_training_with_the_same_settings_are_two_rows():
    records = [make_record(), make_record(audit=True), make_record(None), make_record(None, audit=True)]
    attacks = frames(records)["controls"]["attack"].tolist()
    assert attacks == ["clean (audit false)", "clean (audit true)", "blended/multiply (audit false, poison_rate 0.1)",
                       "blended/multiply (audit true, poison_rate 0)"]


def test_audits_go_into_every_format_with_their_warning(tmp_path):
    warning = "audit: a counter that was given; how it was trained is not known"
    records = [make_record(target, audit=True, warnings=[warning]) for target in (None, "add", "stay")]
    for path in report.board(records).write(tmp_path):
        if path.suffix == ".parquet":
            continue
        text = path.read_text()
        assert "nan" not in text and "None" not in text
        assert path.suffix == ".csv" or warning in text or path.stem in ("verdicts", "wins")
