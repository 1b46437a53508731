"""The strength of a repair: the rule against tables of errors, and what the record keeps of it."""

import math
import weakref
from types import SimpleNamespace

import pytest
import torch

from benchmark.registry import build, names
from benchmark.testing import knowledge_of, run
from benchmark.training.loop import TrainingFailed
from defenses.base import Knows
from defenses.parts.strength import BUDGET, Candidate, strongest
from defenses.parts.tuning import LR_SHARES

REPAIRS = ("fine_tune_few", "ft_sam", "nad", "fst", "fine_pruning", "anp", "clp", "bnp", "i_bau", "sau", "drmguard",
           "rnp", "npd", "median_smoothing")
ENOUGH = {"rnp": {"epochs": 20}}  # after one epoch no mask is low, so that there is nothing to choose
QUICK = {"epochs": 1, "teacher_epochs": 1, "steps": 40, "rounds": 2}  # for those that have them


def chosen(errors):
    """The place of the candidate that is kept among candidates with these validation errors."""
    reported = []
    candidates = [Candidate({"rate": float(place)}, lambda place=place: place)
                  for place in range(len(errors))]
    knowledge = SimpleNamespace(error=lambda counter: errors[counter],
                                report_strengths=lambda tried, kept: reported.append((tried, kept)))
    kept = strongest(iter(candidates), knowledge)
    (tried, place), = reported
    assert place == kept
    assert [trial.settings["rate"] for trial in tried] == list(range(len(errors)))
    return kept


@pytest.mark.parametrize("errors, kept", [
    ([10.0, 11.0, 11.9, 12.1], 2),  # the strongest below 12
    ([10.0, 30.0, 11.0, 30.0], 2),  # a weaker one may be worse than a stronger one
    ([12.0, 9.9], 1),
    ([12.0, 13.0, 9.9, 12.0], 2),  # the best one comes late, and lowers the budget
    ([8.0, math.nan, 9.0, math.inf], 2),
    ([math.nan, 50.0], 1)])
def test_the_strongest_candidate_within_the_budget_is_kept(errors, kept):
    finite = [error for error in errors if math.isfinite(error)]
    within = [place for place, error in enumerate(errors) if error <= 1.2 * min(finite)]
    assert BUDGET == 1.2 and chosen(errors) == kept == max(within)


def test_no_candidate_that_cannot_be_kept_stays_in_memory():
    made = []

    def make():
        assert sum(counter() is not None for counter in made) <= 1  # the one that would be kept so far
        counter = torch.nn.Identity()
        made.append(weakref.ref(counter))
        return counter

    knowledge = SimpleNamespace(error=lambda counter: 5.0, report_strengths=lambda tried, kept: None)
    assert strongest((Candidate({"rounds": place}, make) for place in range(20)), knowledge) is made[-1]()


def test_a_candidate_whose_training_fails_is_not_kept():
    def fail():
        raise TrainingFailed("the loss is nan")

    reported = []
    knowledge = SimpleNamespace(error=lambda counter: 5.0,
                                report_strengths=lambda tried, kept: reported.append((tried, kept)))
    candidates = [Candidate({"lr": 1.0}, lambda: "weak"), Candidate({"lr": 2.0}, fail)]
    assert strongest(candidates, knowledge) == "weak"
    (tried, kept), = reported
    assert kept == 0 and [trial.validation_mae for trial in tried] == [5.0, None]
    with pytest.raises(TrainingFailed, match="the loss is nan"):
        strongest([candidates[1], candidates[1]], knowledge)


def test_a_single_candidate_is_taken_without_a_look_at_validation_images():
    knowledge = knowledge_of(Knows(clean=6))  # would raise NotDeclared
    assert strongest([Candidate({"lr": 1.0}, lambda: "only")], knowledge) == "only"
    (choice,) = knowledge.strengths
    assert choice.kept == 0 and choice.tried[0].validation_mae is None


@pytest.mark.slow
@pytest.mark.parametrize("name", REPAIRS)
def test_every_repair_with_a_strength_follows_the_rule(name):
    settings = {key: value for key, value in QUICK.items()
                if key in type(build("defense", name, {})).model_fields}
    defense = build("defense", name, settings | ENOUGH.get(name, {}))
    assert defense.knows.validation
    repaired, knowledge, _ = run(defense, "tiny")
    for choice in knowledge.strengths:
        errors = [math.nan if trial.validation_mae is None else trial.validation_mae
                  for trial in choice.tried]
        assert len(errors) > 1 and choice.kept == chosen(errors)
    kept = choice.tried[choice.kept].validation_mae
    assert knowledge.error(repaired) == pytest.approx(kept, rel=1e-5)


def test_no_other_defense_has_a_rate_of_its_own():
    """A new repair that tunes on few images must be added to the list above."""
    from defenses.parts.tuning import OnFewImages

    tuned = {name for name in names("defense")
             if isinstance(build("defense", name, {}), OnFewImages)}
    assert tuned == {"fine_tune_few", "ft_sam", "nad", "fst", "fine_pruning", "npd"}


def test_the_authors_rate_is_tried_and_higher_ones():
    assert 1.0 in LR_SHARES and max(LR_SHARES) >= 10
    rates = build("defense", "fine_tune_few", {}).rates(knowledge_of(Knows(clean=6)))
    assert torch.tensor(rates).diff().min() > 0
