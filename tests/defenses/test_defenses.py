"""What every registered defense must do: repair a copy, twice alike, with what it declares and no more."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.registry import build, find, names
from benchmark.testing import RECIPE, SORTS, attacked, check_defense, fresh, knowledge_of, run, scenes, trainer, weights
from benchmark.training.evaluation import count_people
from defenses.base import Defense, Detector, Inspector, Knows, NotDeclared

DEFENSES = [(name, {}) for name in names("defense")] + [("fine_tune", {"extra": 0}), ("retrain", {"extra": 0})]

each_defense = pytest.mark.parametrize("defense, settings", DEFENSES)


def defend(name, settings={}):
    """A defense's repaired counter."""
    defense = build("defense", name, settings)
    return defense.apply(attacked() if defense.knows.victim else None, knowledge_of(defense.knows))


@each_defense
def test_a_defense_keeps_the_contract(defense, settings):
    check_defense(defense, settings)


@pytest.mark.parametrize("model", ["csrnet", "clip_ebc"])  # one without BatchNorm, one with it and with classes
@each_defense
def test_a_defense_works_on_other_counters(defense, settings, model):
    short = {key: 1 for key in find("defense", defense).model_fields if key.endswith(("epochs", "steps", "rounds"))}
    before, made = weights(attacked(model)), build("defense", defense, settings | short)
    repaired, _, scores = run(made, model)
    assert torch.equal(weights(attacked(model)), before) and scores.isfinite().all()
    assert np.isfinite(count_people(repaired, scenes("clean"), "fp32")).all()


@each_defense
def test_what_is_not_declared_is_not_handed_out(defense, settings):
    knows = build("defense", defense, settings).knows
    knowledge = knowledge_of(knows)
    for sort in SORTS:
        if not getattr(knows, sort):
            with pytest.raises(NotDeclared, match=sort):
                knowledge.error(fresh()) if sort == "validation" else getattr(knowledge, sort)
    with pytest.raises(NotDeclared, match="test split"):
        knowledge.test
    assert not any(knowledge.used().values())


def test_a_file_of_a_defense_is_short():
    lengths = sorted(len(Path(sys.modules[find("defense", name).__module__].__file__).read_text().splitlines())
                     for name in names("defense"))
    assert lengths[len(lengths) // 2] < 100


@pytest.mark.parametrize("sort", SORTS[:3])
def test_declared_images_are_handed_out_and_counted(sort):
    knowledge = knowledge_of(replace(Knows(), **{sort: True}))
    assert getattr(knowledge, sort) == scenes(sort)
    assert knowledge.used() == dict.fromkeys(SORTS, 0) | {sort: len(scenes(sort))}


def test_the_error_on_the_validation_images_is_that_of_the_counts():
    knowledge, counter = knowledge_of(Knows(validation=True)), fresh().eval()
    counts = [float(counter.count(torch.tensor(scene.image).permute(2, 0, 1)[None] / 255).detach())
              for scene in scenes("validation")]
    wrong = [abs(count - scene.count) for count, scene in zip(counts, scenes("validation"))]
    assert knowledge.error(counter) == pytest.approx(sum(wrong) / len(wrong), rel=1e-4)
    assert knowledge.used()["validation"] == 6


def test_a_defense_may_change_the_list_it_is_handed():
    knowledge = knowledge_of(Knows(clean="all"))
    knowledge.clean.clear()
    assert knowledge.clean == scenes("clean")


def test_suspicion_is_told_of_every_image_of_the_poisoned_set():
    knowledge = knowledge_of(Knows(poisoned=True))
    knowledge.report_scores(torch.arange(9))
    assert knowledge.suspicion == list(range(9))
    with pytest.raises(ValueError, match="each of 9 images, got 2"):
        knowledge.report_scores([1, 2])


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_a_defender_is_handed_nothing_but_training_images_and_training():
    knowledge = knowledge_of(Knows())
    images = {"clean", "extra", "poisoned", "test"}
    assert public(knowledge) == images | {"error", "report_scores", "suspect", "suspicion", "trainer", "used"}
    assert public(knowledge.trainer) == {"fit", "batches", "per_image", "over", "fresh", "recipe", "autocast", "device"}


def test_none_is_the_victim():
    assert torch.equal(weights(defend("none")), weights(attacked()))


@pytest.mark.parametrize("defense, start, sorts", [("fine_tune", attacked, ["clean", "extra"]),
                                                   ("retrain", fresh, ["clean", "extra"]),
                                                   ("continue_poisoned", attacked, ["poisoned"])])
def test_a_defense_that_trains_starts_and_learns_from_what_it_should(defense, start, sorts):
    expected = start().copy()
    trainer().fit(expected, sum(map(scenes, sorts), []), epochs=2)
    assert torch.equal(weights(defend(defense, {"epochs": 2})), weights(expected))


@pytest.mark.parametrize("defense", ["fine_tune", "continue_poisoned"])
def test_the_learning_rate_of_a_defense_can_be_set(defense):
    default, same, other = (weights(defend(defense, {"lr": lr})) for lr in (None, RECIPE.lr, 1e-5))
    assert torch.equal(default, same) and not torch.equal(default, other)


class Bad(Defense):
    """Breaks its contract in one way."""

    name = "bad"

    def apply(self, victim, knowledge):
        victim.output.weight.data += 1
        return victim


class Nan(Detector):
    name = "bad"

    def scorer(self, victim, knowledge):
        return lambda images: images.sum(dim=(1, 2, 3)) * float("nan")


class Drawn(Inspector):
    name = "bad"

    def suspicion(self, victim, knowledge):
        return time.perf_counter() % 1  # a float32 of many seconds would not tell


class Unused(Defense):
    name, knows = "bad", Knows(clean=3)

    def apply(self, victim, knowledge):
        return victim


class Blind(Defense):
    name = "bad"

    def apply(self, victim, knowledge):
        repaired = victim.copy()
        repaired.output.bias.data.fill_(float("inf"))
        return repaired


@pytest.mark.parametrize("cls, told", [(Bad, "changes the victim"), (Nan, "scores are"), (Drawn, "second run"),
                                       (Unused, "declares"), (Blind, "counts")])
def test_the_check_finds_a_defense_that_breaks_the_contract(cls, told, monkeypatch):
    attacked.cache_clear()  # one of them spoils it
    monkeypatch.setattr("benchmark.testing.build", lambda kind, name, given: cls() if kind == "defense" else
                        build(kind, name, given))
    with pytest.raises(AssertionError, match=told):
        check_defense("bad")
    attacked.cache_clear()
