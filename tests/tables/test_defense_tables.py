"""Tables of defenses and detectors: what each number is, what a mark says, and what stands beside a new defense."""

import draw_docs
import numpy as np
import pytest
from factories import ROOT, make_record
from scipy.stats import binomtest, ttest_1samp
from table_rows import frames, row

from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.config.request import load_request
from benchmark.leaderboard.report import board, compare, related_records
from benchmark.metrics import detection
from benchmark.metrics.significance import sign_flip_test
from benchmark.results.record import Detection, Record
from benchmark.utils.errors import UserError


def detecting(detection, target="multiply", defense="strip", seed=0, **more):
    return make_record(target, defense, seed, **more).model_copy(update={"detection": Detection(**detection)})


def of_images(seed=0, shift=2.0, number=40):
    rng = np.random.default_rng(seed)
    columns = ("clean", "drift", "reference_clean", "triggered", "reference_triggered")
    return {"of": "test images"} | {column: (rng.normal(size=number) + shift * (column == "triggered")).tolist()
                                    for column in columns}


# All defenses on one page

def grid(**effects):
    """Records of every defense and its effect, on two targets."""
    return [make_record(target, defense, effect=effect) for target in ("multiply", "minus")
            for defense, effect in effects.items()]


def test_a_row_per_defense_holds_the_flip_rate_and_rho_acc_of_every_attack():
    records = grid(none=0.8, anp=0.1, nad=0.5)
    line = row(frames(records)["defenses"], defense="anp")
    images = make_record("minus", "anp", effect=0.1).images
    r, r_star = (np.array(column) / images.truth for column in (images.clean, images.triggered))
    assert line["blended/minus flip rate"].rstrip("(*)") == f"{np.mean((r_star < 0.9) & (r >= 0.9)):.3f}"
    assert line["blended/minus rho_Acc"] == f"{np.mean((r >= 0.9) & (r <= 1.1)):.3f}"
    assert frames(records)["defenses"]["defense"].tolist() == ["none", "anp", "nad"]


def mark(records, defense, number="flip rate"):
    """The mark of a number on multiply, '' without one."""
    return row(frames(records)["defenses"], defense=defense)[f"blended/multiply {number}"].lstrip("0123456789.")


def of_seeds(*effects, defense):
    return [make_record(defense=defense, effect=effect, seed=seed) for seed, effect in enumerate(effects)]


def test_a_star_in_brackets_says_that_the_flip_rate_of_these_counters_fell_by_more_than_chance():
    records = grid(none=0.8, anp=0.1, nad=0.78)
    assert [mark(records, defense) for defense in ("anp", "nad", "none")] == ["(*)", "", ""]


def test_a_star_says_that_it_fell_from_seed_to_seed_too():
    before, sure = of_seeds(*[0.8] * 5, defense="none"), of_seeds(*[0.1] * 5, defense="anp")
    unsure = of_seeds(0.05, 0.05, 0.8, 0.9, 0.85, defense="nad")  # all of the fall is that of two seeds
    assert mark([*before, *sure, *unsure], "anp") == "*" and mark([*before, *sure, *unsure], "nad") == "(*)"


def test_an_exclamation_mark_says_that_rho_acc_fell():
    def worse(record):
        return record.model_copy(update={"images": record.images.model_copy(
            update={"clean": [2 * count for count in record.images.clean]})})

    def marked(seeds, defense):
        records = [[make_record(seed=seed), worse(make_record(defense="anp", seed=seed)), make_record(defense="nad", seed=seed)]
                   for seed in range(seeds)]
        return mark(sum(records, []), defense, "rho_Acc")

    assert [marked(1, "anp"), marked(5, "anp"), marked(5, "nad")] == ["(!)", "!", ""]


def test_a_table_of_few_seeds_says_what_it_cannot_say():
    def notes(seeds):
        found = [table for table in board([make_record(defense=defense, seed=seed) for seed in range(seeds)
                                           for defense in ("none", "anp", "nad")]).tables if table.name == "defenses"]
        return " ".join(found[0].notes)

    assert "Fewer than 5 seeds (here 2) establish nothing" in notes(2) and "Fewer than" not in notes(5)


def test_counters_of_other_seeds_are_not_compared():
    before = [make_record(effect=effect, seed=seed) for seed, effect in ((0, 0.9), (1, 0.2))]
    after = [make_record(defense="anp", effect=0.1), *(make_record(defense="nad", effect=0.1, seed=seed) for seed in (1, 2))]
    defenses, controls = (frames([*before, *after])[name] for name in ("defenses", "controls"))
    for name in ("anp", "nad"):  # of other seeds, and of as many but not the same
        assert not row(defenses, defense=name)["blended/multiply flip rate"].endswith("*")
    alone = frames([before[0], after[0]])["controls"]
    assert row(controls, attack="blended/multiply", defense="anp")["DER"] == row(
        alone, attack="blended/multiply", defense="anp")["DER"] != "/"
    assert row(controls, attack="blended/multiply", defense="nad")["DER"] == "/"


def test_clean_counters_with_other_settings_have_columns_of_their_own():
    records = [make_record(target, defense, training={"epochs": epochs}) for target in (None, "multiply")
               for defense in ("none", "anp", "nad") for epochs in (6, 12)]
    defenses = frames(records)["defenses"]
    assert [column for column in defenses if column.startswith("clean")] == [
        "clean (epochs 12) rho_Acc", "clean (epochs 6) rho_Acc"]


def test_seconds_are_the_mean_over_the_attacks():
    def took(record, seconds):
        return record.model_copy(update={"provenance": {"stages": {"repaired": {"seconds": seconds}}}})

    records = [took(make_record(target, defense), seconds) for defense in ("anp", "nad")
               for target, seconds in ((None, 100), ("add", 10), ("minus", 20))]
    assert row(frames(records)["defenses"], defense="anp")["seconds"] == "15.0"


def test_a_defense_that_was_not_run_on_an_attack_says_so_and_the_clean_counter_has_no_flip_rate():
    records = [*grid(none=0.8, anp=0.1), make_record("multiply", "nad"), make_record(None, "anp")]
    defenses = frames(records)["defenses"]
    assert row(defenses, defense="nad")["blended/minus flip rate"] == "not run"
    assert "clean flip rate" not in defenses and row(defenses, defense="anp")["clean rho_Acc"] != "not run"


def test_the_images_that_a_defense_used_are_printed():
    used = {"clean": 40, "validation": 24, "extra": 7, "poisoned": 99}
    records = grid(none=0.8, anp=0.1, nad=0.5)
    records = [record.model_copy(update={"knowledge": used}) if record.defense.name == "nad" else record
               for record in records]
    defenses = frames(records)["defenses"]
    assert row(defenses, defense="nad")["knows"] == "40+24 E7 P" and row(defenses, defense="anp")["knows"] == "/"


def test_one_defense_needs_no_page_of_all():
    assert "defenses" not in frames(grid(none=0.8, anp=0.1)) and "defenses" in frames(grid(anp=0.1, nad=0.1))


def test_a_detector_stands_in_no_table_of_repairs():
    records = [*grid(none=0.8, anp=0.1, nad=0.5), detecting(of_images())]
    assert not {"strip"} & {*frames(records)["defenses"]["defense"], *frames(records)["controls"]["defense"]}


def test_a_defense_that_filters_stands_in_both():
    scores = {"of": "training images", "clean": [0.0] * 9, "triggered": [1.0]}
    tables = frames([make_record(), detecting(scores, defense="spectral"), make_record(defense="anp")])
    assert "spectral" in set(tables["defenses"]["defense"])
    assert row(tables["detection"], detector="spectral")["AUROC"] == "1.000"


# Detection

def test_detection_is_measured_against_clean_images_and_against_drift():
    scores = of_images()
    line = row(frames([detecting(scores)])["detection"], detector="strip")
    assert line["AUROC"] == f"{detection.auroc(scores['clean'], scores['triggered']):.3f}"
    assert line["AUPRC"] == f"{detection.auprc(scores['clean'], scores['triggered']):.3f}"
    assert line["drift AUROC"] == f"{detection.auroc(scores['drift'], scores['triggered']):.3f}"
    assert line["drift TPR@5%"] == f"{detection.tpr_at_fpr(scores['drift'], scores['triggered'], 0.05):.3f}"
    assert line["TPR@1%"] == "/"  # 40 images are too few
    many = of_images(number=100)
    record = detecting(many, truth=[50] * 100)
    assert row(frames([record])["detection"], detector="strip")["TPR@1%"] == (
        f"{detection.tpr_at_fpr(many['clean'], many['triggered'], 0.01):.3f}")
    assert line["clean counter AUROC"] == f"{detection.auroc(scores['reference_clean'], scores['reference_triggered']):.3f}"
    assert line["clean + poisoned"] == "40 + 40"


def test_detection_is_the_mean_over_seeds_and_its_interval_holds_it():
    several = [detecting(of_images(seed, shift=1.0), seed=seed) for seed in range(3)]
    line = row(frames(several)["detection"], detector="strip")
    areas = [detection.auroc(record.detection.clean, record.detection.triggered) for record in several]
    assert line["AUROC"] == f"{np.mean(areas):.3f}"
    low, high = map(float, line["AUROC 95%"].strip("[]").split(","))
    assert low < np.mean(areas) < high < 1


def test_victims_of_all_attacks_and_seeds_stand_against_the_clean_counters():
    scores = {("multiply", 0): (1.0, 3.0), ("minus", 0): (1.0, 0.5),
              ("multiply", 1): (2.0, 2.5), ("minus", 1): (2.0, 2.5)}
    records = [detecting({"of": "counters", "clean": [clean], "triggered": [victim]}, target, "inversion", seed)
               for (target, seed), (clean, victim) in scores.items()]
    line = row(frames(records)["detection"], detector="inversion", attack="all")
    assert line["clean + poisoned"] == "2 + 4"
    assert line["AUROC"] == f"{detection.auroc([1.0, 2.0], [3.0, 0.5, 2.5, 2.5]):.3f}" == "0.750"
    low, high = detection.auroc_interval([1.0, 2.0], [3.0, 0.5, 2.5, 2.5])
    assert line["AUROC 95%"] == f"[{low:.3f}, {high:.3f}]" and line["TPR@5%"] == "/"
    by_attack = {line["attack"]: line["AUROC"] for line in frames(records)["detection"].to_dict("records")}
    assert by_attack == {"all": "0.750", "blended/multiply": "1.000", "blended/minus": "0.500"}


def test_clean_counters_that_were_scored_without_an_attack_count_too():
    def scored(target, seed, clean, victims):
        return detecting({"of": "counters", "clean": [clean], "triggered": victims}, target, "inversion", seed)

    alone = scored(None, 5, 4.0, [])
    records = [scored("multiply", 0, 1.0, [3.0]), scored(None, 0, 1.0, []), alone]
    line = row(frames(records)["detection"], detector="inversion")
    assert line["clean + poisoned"] == "2 + 1" and line["AUROC"] == "0.500" and line["attack"] == "all"


def test_clean_counters_alone_were_told_from_nothing_and_have_no_table(tmp_path):
    scored = detecting({"of": "counters", "clean": [4.0], "triggered": []}, None, "inversion")
    tables = board([scored])
    assert "detection" not in {table.name for table in tables.tables}
    assert not [path for path in tables.write(tmp_path) if path.stem == "detection"]


def test_scores_that_point_the_other_way_are_told():
    def notes(defense, clean, triggered):
        scores = {"of": "training images", "clean": clean, "triggered": triggered}
        [table] = [table for table in board([detecting(scores, defense=defense)]).tables if table.name == "detection"]
        return " ".join(table.notes)

    low, high = [0.0] * 10, [1.0] * 10
    assert "spectral point the other way in csrnet blended/multiply" in notes("spectral", high, low)
    assert "poisoned images have a higher loss than clean ones" in notes("abl", high, low)
    assert "other way" not in notes("abl", low, high) + notes("abl", [0.0, 1.0], [0.5, 0.4])  # two of each show nothing


def test_training_images_have_the_mean_interval_of_their_seeds():
    rng = np.random.default_rng(0)
    scores = [(rng.normal(size=60).tolist(), rng.normal(1, size=number).tolist()) for number in (6, 6)]
    records = [detecting({"of": "training images", "clean": clean, "triggered": triggered}, defense="spectral", seed=seed)
               for seed, (clean, triggered) in enumerate(scores)]
    low, high = np.mean([detection.auroc_interval(*pair) for pair in scores], axis=0)
    assert row(frames(records)["detection"], detector="spectral")["AUROC 95%"] == f"[{low:.3f}, {high:.3f}]"


def test_a_record_with_another_number_of_scores_than_images_is_refused(tmp_path):
    record = detecting(of_images(number=39))
    (tmp_path / "record.json").write_text(record.dumps())
    with pytest.raises(UserError, match="a score for each of 40 images"):
        type(record).read(tmp_path / "record.json")


def test_the_clean_counter_that_a_record_brings_along_has_no_detection():
    scores = {"of": "training images", "clean": [0.0] * 9, "triggered": [1.0]}
    assert len(frames([detecting(scores, defense="spectral")])["detection"]) == 1


# One beside every other

def test_differences_are_tested_on_the_same_images_and_corrected_together():
    records = grid(none=0.8, anp=0.1, nad=0.3)
    frame = compare(records, "anp").frame
    line = row(frame, attack="blended/multiply", **{"compared with": "none"})
    r, own, other = (np.array(column) / make_record().images.truth for column in (
        make_record().images.clean, make_record(effect=0.1).images.triggered, make_record(effect=0.8).images.triggered))
    flips = [(star > 1.1) & (r <= 1.1) for star in (own, other)]
    assert line["flip rate"] == f"{flips[0].mean() - flips[1].mean():+.3f}"
    only = int((flips[0] & ~flips[1]).sum()), int((flips[1] & ~flips[0]).sum())
    p = binomtest(only[0], sum(only)).pvalue
    assert sign_flip_test(*flips) == pytest.approx(p)
    assert p < 1e-4 and line["flip rate p, images"] == "<.001" and line["flip rate p, seeds"] == "/"
    assert line["flip rate verdict"] == "these counters: better"
    assert line["rho_Acc"] == "0.000" and line["rho_Acc p, images"] == "1.000" and line["rho_Acc verdict"] == "-"
    assert len(frame) == 4 and "over the tests of this table (8)" in compare(records, "anp").notes[0]


def test_seeds_stand_beside_images_and_both_must_show_a_difference():
    before = of_seeds(*[0.8] * 5, defense="none")

    def of(*effects):
        return row(compare([*before, *of_seeds(*effects, defense="anp")], "anp").frame, **{"compared with": "none"})

    effects = 0.1, 0.2, 0.1, 0.15, 0.1
    line = of(*effects)
    rates = {}
    for defense, of_defense in (("none", [0.8] * 5), ("anp", effects)):
        images = [make_record(effect=effect, seed=seed).images for seed, effect in enumerate(of_defense)]
        rates[defense] = np.array([np.mean((np.divide(i.triggered, i.truth) > 1.1) & (np.divide(i.clean, i.truth) <= 1.1))
                                   for i in images])
    differences = rates["anp"] - rates["none"]
    test = ttest_1samp(differences, 0)
    low, high = test.confidence_interval(0.95)
    assert line["flip rate of each seed"] == ", ".join(f"{difference:+.3f}" for difference in differences)
    assert line["flip rate 95%, seeds"] == f"[{low:.3f}, {high:.3f}]"
    p = min(1, 2 * test.pvalue)  # of the two tests, that of rho_Acc has a p of 1
    assert line["flip rate p, seeds"] == ("<.001" if p < 0.001 else f"{p:.3f}")
    assert line["flip rate verdict"] == "better"
    assert of(0.05, 0.05, 0.8, 0.9, 0.85)["flip rate verdict"] == "these counters: better"


def test_a_difference_that_chance_can_make_gets_no_verdict():
    line = row(compare([make_record(effect=0.16), make_record(defense="anp", effect=0.15)], "anp").frame, **{"compared with": "none"})
    assert line["flip rate verdict"] == "-"
    worse = row(compare([make_record(effect=0.1), make_record(defense="anp", effect=0.9)], "anp").frame, **{"compared with": "none"})
    assert worse["flip rate verdict"] == "these counters: worse"


def test_holm_makes_a_difference_among_many_need_more():
    many = [make_record(defense=f"d{number}", effect=0.3) for number in range(30)] + [make_record(defense="anp", effect=0.16)]
    few = [make_record(defense="d0", effect=0.3), make_record(defense="anp", effect=0.16)]
    assert (row(compare(few, "anp").frame, **{"compared with": "d0"})["flip rate verdict"],
            row(compare(many, "anp").frame, **{"compared with": "d0"})["flip rate verdict"]) == ("these counters: better", "-")


def test_cells_of_other_seeds_are_not_compared():
    records = [make_record(seed=0), make_record(defense="anp", seed=1), make_record(defense="nad", seed=1)]
    table = compare(records, "anp")
    assert table.frame["compared with"].tolist() == ["nad"] and "share no seed" in table.notes[-1]


@pytest.mark.parametrize("subject, records", [
    ("none", [make_record()]), ("anp", [make_record(defense="anp"), make_record("minus", "anp")]),
    ("anp", [make_record(seed=0), make_record(defense="anp", seed=1)]),
    ("anp", [make_record(defense="anp"), make_record("minus")])])
@pytest.mark.parametrize("more", [[], ["--out", "out"], ["--json"]])
def test_a_defense_without_another_one_to_compare_it_with_is_refused(tmp_path, monkeypatch, capsys, subject, records, more):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records").mkdir()
    for number, one in enumerate(records):
        (tmp_path / f"records/{number}.json").write_text(one.dumps())
    assert main(["compare", subject, "records", *more]) == 2
    out, line = capsys.readouterr()
    assert out == "" and line.count("\n") == 1 and not (tmp_path / "out").exists()
    assert f"compare '{subject}': no record of another defense that repaired the same victims" in line


def test_on_clean_counters_alone_nothing_is_won_and_there_is_no_table_of_it(tmp_path, capsys):
    for number, one in enumerate([make_record(None), make_record(None, "anp")]):
        (tmp_path / f"{number}.json").write_text(one.dumps())
    assert main(["compare", "anp", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Differences of anp\n") and "Wins" not in out
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"differences"}


def test_a_defense_that_no_record_holds_is_refused():
    with pytest.raises(UserError, match="known: anp, none"):
        compare(grid(none=0.8, anp=0.1), "ampp")
    with pytest.raises(UserError, match="repaired"):
        compare([detecting(of_images())], "strip")


# What stands beside a new defense

def test_beside_a_run_stand_earlier_records_of_the_same_victims_only():
    mine = make_record(defense="mine")
    same, other, clean = make_record(defense="anp"), make_record(alpha=0.2, defense="anp"), make_record(None, "anp")
    assert related_records([mine], [same, other, clean, mine]) == [same]


def test_another_seed_of_the_same_defense_stays_beside_a_run():
    first, second = make_record(defense="mine", seed=0), make_record(defense="mine", seed=1)
    assert related_records([second], [first, second]) == [first]


def test_an_edited_defense_takes_the_place_of_what_it_was():
    old, new = (make_record(defense="mine") for _ in range(2))
    old, new = (record.model_copy(update={"defense": record.defense.model_copy(update={"version": version})})
                for record, version in ((old, "aaa"), (new, "bbb")))
    assert related_records([new], [old, make_record(defense="anp")]) == [make_record(defense="anp")]
    names = frames([old, new, make_record(defense="anp")])["defenses"]["defense"].tolist()
    assert {"mine (version aaa)", "mine (version bbb)"} < set(names)


# The committed example




@pytest.mark.parametrize("name", ["standard-quick", "laptop", "audit-csrnet", "real"])
def test_the_committed_page_is_what_its_records_say(name):
    records = [Record.read(path) for path in sorted((ROOT / "records" / name).glob("*.json"))]
    assert (ROOT / f"docs/{name}.md").read_text() == f"{draw_docs.INTRODUCTIONS[name + '.md']}\n{board(records).text()}\n"


@pytest.mark.parametrize(("name", "number", "of_more_clean"), [
    ("standard-quick", 555, 0), ("laptop", 150, 0), ("frontier", 100, 0), ("detection", 195, 37 * 3),
    ("detection-held-out", 165, 45 * 3)])
def test_the_committed_records_are_the_preset_of_their_name(name, number, of_more_clean):
    """Some presets have further clean counters, with seeds of their own."""
    seeds = {cell.settings.seed for cell in cells(load_request(name))}
    records, more = [], []
    for path in (ROOT / "records" / name).glob("*.json"):
        record = Record.read(path)
        (records if record.seed in seeds else more).append(record)
    assert len(more) == of_more_clean and not any(record.attack for record in more)
    wanted = {(cell.settings.seed, cell.trigger and cell.trigger.name, cell.target and cell.target.name, cell.defense.name,
               str(sorted(cell.defense.given.items()))) for cell in cells(load_request(name))}
    assert wanted == {(record.seed, record.attack and record.attack.trigger.name, record.attack and record.attack.target.name,
                       record.defense.name, str(sorted(record.defense.given.items()))) for record in records}
    assert len(records) == len(wanted) == number
