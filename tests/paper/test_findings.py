"""The page of findings: numbers and verdicts follow from the counts, and questions need records."""

import re

import numpy as np
import pytest
from factories import ROOT, make_record
from scipy.stats import ttest_1samp

from benchmark.metrics.significance import holm, sign_flip_test
from benchmark.paper.findings import findings
from benchmark.results.record import Choice, Record
from benchmark.tables.formats import number, probability
from benchmark.utils.errors import UserError

TRIGGER = "Does the trigger flip more images in the victim than in a clean counter?"
STRONGER = "Does a stronger trigger flip more images?"
FEWER_FLIPS = "Does the paper's fine-tuning leave fewer flips?"
FALL = "Does the paper's fine-tuning reduce rho_Asr?"
EXTREME = "Does fine-tuning weaken the attacks where their errors are extreme?"
SEEDS = range(5)


def victims(target="add", seeds=SEEDS, **effects):
    """Records of one victim: how far the trigger moves the count with each defense."""
    return [make_record(target, defense=defense, effect=effect, seed=seed) for seed in seeds
            for defense, effect in effects.items()]


def rows(page, title):
    """The rows of the table under a heading, as dicts."""
    part = page.split(f"## {title}")[1].split("\n## ")[0]
    header, _, *lines = [line for line in part.split("\n") if line.startswith("|")]
    cells = [[cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] for line in (header, *lines)]
    return [dict(zip(cells[0], line)) for line in cells[1:]]


def claims(page):
    return rows(page, "The paper's claims")


def test_a_trigger_that_moves_the_victim_alone_is_told_from_one_that_moves_nothing():
    page = findings(victims(none=0.9) + victims("multiply", none=0.02))
    answers = {row["victim"]: row["answer"] for row in rows(page, TRIGGER)}
    assert answers["csrnet blended/add"] == "yes" and answers["csrnet blended/multiply"] != "yes"


def test_the_papers_defense_stands_beside_its_rivals_with_their_differences():
    page = findings(victims(none=0.9, fine_tune=0.5, retrain=0.0))
    answers = rows(page, FEWER_FLIPS)
    assert {row["compared with"]: row["answer"] for row in answers} == {"none": "yes", "retrain": "the opposite"}
    short = {(row["question"], row["compared with"]): row for row in rows(page, "In short")}
    assert short[FEWER_FLIPS, "retrain"]["the opposite"] == "1"
    assert short[TRIGGER, "the clean counter"]["yes"] == "1"
    for row in answers:
        assert float(row["difference"]) == pytest.approx(float(row["share"]) - float(row["other share"]), abs=0.0011)


def test_each_claim_of_the_paper_has_a_verdict():
    page = findings(victims(none=0.9, fine_tune=0.1) + victims("minus", none=0.9, fine_tune=0.9))
    verdicts = {row["claim of the paper"]: row["verdict"] for row in claims(page)}
    [success] = [row for row in claims(page) if row["claim of the paper"] == "The attacks succeed"]
    assert success["verdict"] == "holds" and "shown for 2 of 2" in success["in these records"]
    assert verdicts["Fine-tuning weakens the attacks"] == "holds for some"
    assert verdicts["Fine-tuning improves the accuracy on clean images"] == "not shown"
    poisoning = "Poisoning does not decrease the accuracy on clean images much"
    assert verdicts[poisoning] == "not contradicted"
    weak, strong = (findings(victims(none=0.9, fine_tune=effect)) for effect in (0.85, 0.0))
    assert [row["verdict"] for page in (weak, strong)
            for row in claims(page) if "72.5%" in row["claim of the paper"]] == ["not reached", "reached"]


def test_what_the_seeds_do_not_show_is_an_answer_for_these_counters_and_no_verdict():
    """The mean of five seeds rises because two of them do."""
    flips = [make_record("add", effect=effect, seed=seed) for seed, effect in enumerate((0.9, 0.9, 0.0, 0.0, 0.0))]
    page = findings(flips)
    [row] = rows(page, TRIGGER)
    assert row["answer"] == "these counters: yes" and row["p, images"] == "<.001" and float(row["p, seeds"]) > 0.05
    assert rows(page, "In short")[0]["these counters: yes"] == "1"
    [claim] = [row for row in claims(page) if row["claim of the paper"] == "The attacks succeed"]
    assert claim["verdict"] == "not shown"
    assert "shown for 0 of 1 victims; shown for these counters only: 1" in claim["in these records"]


@pytest.mark.parametrize("seeds, verdict", [(1, "not established (1 seed)"), (3, "not established (3 seeds)"), (5, "holds")])
def test_few_seeds_establish_nothing_and_the_page_says_so_at_its_top(seeds, verdict):
    page = findings(victims(seeds=range(seeds), none=0.9, fine_tune=0.1))
    verdicts = {row["claim of the paper"]: row["verdict"] for row in claims(page)}
    assert verdicts["The attacks succeed"] == verdicts["Fine-tuning weakens the attacks"] == verdict
    assert verdicts["Fine-tuning weakens all attacks where their errors are extreme"] == verdict
    assert (f"Fewer than 5 seeds (here {seeds}) establish nothing" in page.split("## ")[0]) == (seeds < 5)


def test_a_row_shows_each_seed_and_the_t_test_over_them():
    records = [make_record("add", effect=effect, seed=seed) for seed, effect in enumerate((0.9, 0.3, 0.2, 0.5, 0.4))]
    differences = []
    for record in records:
        images = record.images
        c, y, y_star, y0, y0_star = map(np.array, (images.truth, images.clean, images.triggered,
                                                   images.reference_clean, images.reference_triggered))
        moved, reference = (((star / c > 1.1) & (before / c <= 1.1)).mean() for before, star in ((y, y_star), (y0, y0_star)))
        differences.append(moved - reference)
    test = ttest_1samp(differences, 0)
    low, high = test.confidence_interval(0.95)
    [row] = rows(findings(records), TRIGGER)
    assert row["of each seed"] == ", ".join(f"{difference:+.3f}" for difference in differences)
    assert row["95%, seeds"] == f"[{low:.3f}, {high:.3f}]" and row["p, seeds"] == probability(test.pvalue)
    assert row["answer"] == "yes"


def test_audits_are_refused_also_beside_others():
    with pytest.raises(UserError, match="1 of 2 records are of an audit, .* `crowdbench leaderboard RECORDS`") as refused:
        findings([make_record(), make_record("add", audit=True)])
    assert "\n" not in str(refused.value)


def test_rivals_with_other_settings_are_not_one_row():
    few = [make_record("minus", defense="retrain", effect=0.0, seed=seed, images=40) for seed in SEEDS]
    page = findings([*victims("add", none=0.9, fine_tune=0.5, retrain=0.0),
                     *victims("minus", none=0.9, fine_tune=0.5), *few])
    rivals = {row["compared with"] for row in rows(page, "In short") if row["victims"] == "1"}
    assert rivals >= {"retrain (40 clean images)", "retrain (images not recorded)"}


def test_the_papers_defense_is_the_one_without_given_settings():
    short = [record.model_copy(update={"defense": record.defense.model_copy(update={"given": {"epochs": 1}})})
             for record in (make_record("add", defense="fine_tune", effect=0.9, seed=seed, epochs=1) for seed in SEEDS)]
    page = findings([*short, *victims(none=0.9, fine_tune=0.1)])
    [row] = rows(page, FEWER_FLIPS)
    assert row["answer"] == "yes"
    assert rows(findings([*short, *victims(none=0.9)]), FEWER_FLIPS)
    other = [record.model_copy(update={"defense": record.defense.model_copy(update={"resolved": {"epochs": 2}})})
             for record in short]
    with pytest.raises(UserError, match="csrnet, blended/add: fine_tune with 2 settings; expected one"):
        findings([*short, *other, *victims(none=0.9)])


def test_a_fall_of_rho_asr_is_told_in_points_and_of_the_same_seeds():
    records = [*victims(none=0.9), make_record("add", effect=0.0, defense="fine_tune")]
    [row] = rows(findings(records), FALL)
    images = [record.images for record in (make_record("add", effect=0.0), make_record("add", effect=0.9))]
    after, before = (np.mean(np.divide(each.triggered, each.truth) > 1.1) for each in images)
    assert (row["share"], row["other share"]) == (number(after), number(before))
    [alone] = rows(findings([make_record("add", effect=0.9), records[-1]]), FALL)
    assert alone == row
    measured = [row["in these records"] for row in claims(findings(records))
                if "72.5%" in row["claim of the paper"]]
    assert measured == [f"by up to {100 * (before - after):.1f} percentage points, as the mean over seeds"]


@pytest.mark.parametrize("target, far", [("multiply", lambda r: r > 1.5), ("divide", lambda r: r < 0.5)])
def test_extreme_errors_are_off_by_more_than_half_in_the_attackers_direction(target, far):
    [row] = rows(findings([make_record(target, effect=1.2), make_record(target, effect=0.1, defense="fine_tune")]), EXTREME)
    before, after = (np.mean(far(np.divide(images.triggered, images.truth)))
                     for images in (make_record(target, effect=effect).images for effect in (1.2, 0.1)))
    assert (row["share"], row["other share"]) == (number(after), number(before)) and before > after


def test_victims_of_an_attacker_without_a_direction_have_no_extremes():
    page = findings([*victims("stay", none=0.9, fine_tune=0.1), *victims("add", none=0.9)])
    assert "nan" not in page and "extreme" not in page


def test_a_trigger_of_another_strength_on_the_test_images_is_told_and_not_usual():
    strong = [record.model_copy(update={"attack": record.attack.model_copy(update={
        "test_trigger": Choice(name="blended", resolved={"alpha": 0.4})})}) for record in victims("minus", none=0.9)]
    page = findings([*victims(none=0.9), *victims("multiply", none=0.9), *strong])
    assert "csrnet blended/minus (test_trigger blended, test_alpha 0.4)" in page
    assert any("shown for 2 of 2" in row["in these records"] for row in claims(page))
    assert "test_alpha 0.4" in findings(strong)


def test_the_page_says_how_many_records_it_was_made_of():
    small = make_record("minus", effect=0.9, training={"epochs": 100, "scale": 0.25}, truth=[50, 60, 70])
    page = findings([*victims(none=0.9), small])
    assert "- Records: 6; test images: 3, 40; seeds: 0, 1, 2, 3, 4.\n" in page and "scale: 0.25, 1;" in page


def test_a_victim_whose_trigger_has_no_alpha_is_as_usual():
    records = [*victims(none=0.9), make_record("add", alpha=0.2, effect=0.9)]
    bare = victims("minus", none=0.9)
    attack = bare[0].attack.model_copy(update={"trigger": bare[0].attack.trigger.model_copy(update={"resolved": {}})})
    page = findings([*records, *(record.model_copy(update={"attack": attack}) for record in bare)])
    assert any("shown for 2 of 2" in row["in these records"] for row in claims(page))


def test_claims_are_of_the_usual_victims_and_need_what_they_ask_about():
    page = findings(victims(none=0.9) + [make_record("add", alpha=0.01, effect=0.0)])
    measured = {row["claim of the paper"]: row["in these records"] for row in claims(page)}
    assert "1 of 1" in measured["The attacks succeed"]
    assert not any("fine-tuning" in claim.lower() for claim in measured)


def test_p_is_corrected_for_all_tests_of_the_page():
    from benchmark.results.scenarios import scenarios

    records = victims(none=0.9)
    [cell] = [cell for scenario in scenarios(records) if scenario.strategy == "add" for cell in scenario.results]
    pairs = [("flip_rate", "reference_flip_rate"), ("rho_acc", "reference_rho_acc")]
    p = holm([sign_flip_test(cell.successes(own), cell.successes(other)) for own, other in pairs])
    page = findings(records)
    assert rows(page, TRIGGER)[0]["p, images"] == probability(p[0])
    cost = rows(page, "Does poisoning cost accuracy?")[0]
    assert cost["p, images"] == probability(p[1]) and cost["share"] == number(cell.numbers["rho_acc"])
    assert "over the tests of this page (2), p, seeds over those of this table (1)" in page


def test_poisoning_costs_accuracy_where_the_victim_counts_fewer_images_right():
    record = make_record("add", effect=0.9)
    wrong = record.images.model_copy(update={"clean": [1.5 * c for c in record.images.truth]})
    [answer] = rows(findings([record.model_copy(update={"images": wrong})]), "Does poisoning cost accuracy?")
    assert answer["answer"] == "these counters: yes" and float(answer["difference"]) < 0


def test_victims_that_were_given_more_stand_beside_those_that_were_given_the_next_less():
    many = [make_record("add", effect=effect, seed=seed, alpha=alpha) for seed in range(5)
            for alpha, effect in ((0.05, 0.0), (0.1, 0.9), (0.2, 0.9))]
    longer = [make_record("add", effect=0.2, seed=seed, training={"epochs": 20}) for seed in range(5)]
    page = findings([*many, *longer, *victims("minus", none=0.9)])  # minus has one alpha, and is not asked about
    answers = {(row["victim"], row["compared with"]): row["answer"]
               for row in rows(page, STRONGER)}
    assert answers == {("csrnet blended/add", "alpha 0.05"): "yes",
                       ("csrnet blended/add (alpha 0.2)", "alpha 0.1"): "not shown"}
    [epochs] = rows(page, "Does longer training flip more images?")
    assert (epochs["victim"], epochs["compared with"], epochs["answer"]) == ("csrnet blended/add", "epochs 20", "yes")
    assert "- Unless a row says otherwise: alpha 0.1, epochs 100.\n" in page and "Does a higher poison rate" not in page
    names = [row["victim"] for row in rows(page, "How strong are the attacks?")]
    assert names == ["csrnet blended/add (alpha 0.05)", "csrnet blended/add (epochs 20)", "csrnet blended/add",
                     "csrnet blended/add (alpha 0.2)", "csrnet blended/minus"]


def test_what_a_stronger_trigger_does_to_a_clean_counter_too_is_no_growth():
    weak, strong = make_record("add", alpha=0.1, effect=0.5), make_record("add", alpha=0.2, effect=0.9)
    images = strong.images
    moved = [clean + tau - truth for clean, tau, truth in zip(images.reference_clean, images.target, images.truth)]
    strong = strong.model_copy(update={"images": images.model_copy(update={"reference_triggered": moved})})
    [row] = rows(findings([weak, strong]), STRONGER)
    assert row["answer"] == "these counters: the opposite" and float(row["share"]) <= 0 < 0.5 < float(row["other share"])


def test_the_flip_rate_of_each_seed_stands_beside_their_mean():
    [row] = rows(findings([make_record("add", effect=0.9), make_record("add", effect=0.0, seed=1)]), "How strong are the attacks?")
    one, other = map(float, row["flip rate of each seed"].split(", "))
    assert one > 0.8 > 0.2 > other and float(row["flip rate"].split()[0]) == pytest.approx((one + other) / 2, abs=0.001)


def test_victims_of_other_seeds_are_not_compared():
    page = findings([make_record("add", alpha=0.1, effect=0.9), make_record("add", alpha=0.2, effect=0.9, seed=1)])
    assert STRONGER not in page


def test_what_was_not_run_is_not_asked_about():
    page = findings(victims(none=0.9))
    assert not re.search("fine-tuning (leave|count)", page) and "How strong are the attacks?" in page
    with pytest.raises(UserError, match="findings: no record of a victim"):
        findings([make_record(None)])


def test_what_was_not_run_is_listed():
    page = findings(victims(none=0.9)).split("## What was not run")[1]
    models, targets = (re.search(rf"- {kind}: (.*)", page)[1].split(", ") for kind in ("models", "targets"))
    assert "clip_ebc" in models and "csrnet" not in models and "minus" in targets and "add" not in targets


def test_the_committed_page_is_what_its_records_say():
    records = [Record.read(path) for name in ("laptop", "laptop-growth", "laptop-seeds")
               for path in sorted((ROOT / "records" / name).glob("*.json"))]
    assert (ROOT / "docs/findings.md").read_text() == findings(records)
    assert {record.seed for record in records} == {0, 1, 2, 3, 4}
    assert not any(record.provenance["dirty"] for record in records)
