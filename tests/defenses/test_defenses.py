"""The contract of every registered defense, its knowledge, and the old names of the contract."""

import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from test_depth import SETTINGS as ON_EVERY_COUNTER

from benchmark import registry
from benchmark.registry import build, find, names
from benchmark.testing import RECIPE, SORTS, attacked, check_defense, fresh, knowledge_of, run, scenes, trainer, weights
from benchmark.training.evaluation import count_people
from defenses.base import Defense, Detector, Inspector, Knows, NotDeclared
from defenses.blur import Blur
from defenses.parts.preprocessing import Preprocessed

DEFENSES = [(name, {}) for name in names("defense")] + [("fine_tune", {"extra": 0}), ("retrain", {"extra": 0})]

ENOUGH = {"anp": {"steps": 40}, "rnp": {"epochs": 20}}  # with less, these have nothing to choose between
SEVERAL_TRAININGS = {"abl", "ft_sam", "label_consistency", "nad", "sau"}
each_defense = pytest.mark.parametrize("defense, settings", [
    pytest.param(name, settings, marks=[pytest.mark.slow] if name in SEVERAL_TRAININGS else [])
    for name, settings in DEFENSES])


def shortened(name, passes):
    """Settings with which a defense does all that it does, for a moment. One rate is tried in place of several."""
    defense = build("defense", name, {})
    fields = type(defense).model_fields
    short = {key: passes for key in fields if key.endswith(("epochs", "rounds", "copies", "steps"))}
    return short | ({"lr": RECIPE.lr} if "lr" in fields and defense.lr is None else {})


def defend(name, settings={}):
    """A defense's repaired counter."""
    defense = build("defense", name, settings)
    return defense.apply(attacked() if defense.knows.victim else None, knowledge_of(defense.knows))


@each_defense
def test_a_defense_keeps_the_contract(defense, settings):
    check_defense(defense, shortened(defense, 2) | ENOUGH.get(defense, {}) | settings)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["csrnet", "clip_ebc"])  # one without BatchNorm, one with it and with classes
@pytest.mark.parametrize("defense, settings", [(name, settings) for name, settings in DEFENSES if name not in ON_EVERY_COUNTER])
def test_a_defense_works_on_other_counters(defense, settings, model):
    before, made = weights(attacked(model)), build("defense", defense, shortened(defense, 1) | settings)
    repaired, _, scores = run(made, model)
    assert torch.equal(weights(attacked(model)), before) and scores.isfinite().all()
    assert np.isfinite(count_people(repaired, scenes("clean"), "fp32")).all()


@each_defense
def test_images_that_are_not_declared_are_not_given(defense, settings):
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
def test_declared_images_are_given_and_counted(sort):
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


def test_a_defense_may_change_the_list_that_it_is_given():
    knowledge = knowledge_of(Knows(clean="all"))
    knowledge.clean.clear()
    assert knowledge.clean == scenes("clean")


def test_scores_are_reported_for_every_image_of_the_poisoned_set():
    knowledge = knowledge_of(Knows(poisoned=True))
    knowledge.report_scores(torch.arange(9))
    assert knowledge.suspicion == list(range(9))
    with pytest.raises(ValueError, match="each of 9 images, got 2"):
        knowledge.report_scores([1, 2])


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_a_defender_is_given_nothing_but_training_images_and_training():
    knowledge = knowledge_of(Knows())
    images = {"clean", "extra", "poisoned", "test"}
    assert public(knowledge) == images | {"error", "report_scores", "report_strengths", "strengths", "suspect",
                                          "suspicion", "trainer", "used"}
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


@pytest.mark.parametrize("cls, message", [
    (Bad, "changes the victim"), (Nan, "scores are"), (Drawn, "second run"), (Unused, "declares"),
    (Blind, "counts")])
def test_the_check_finds_a_defense_that_breaks_the_contract(cls, message, monkeypatch):
    attacked.cache_clear()  # one of them spoils it
    monkeypatch.setattr("benchmark.testing.defenses.build", lambda kind, name, given: cls() if kind == "defense" else
                        build(kind, name, given))
    with pytest.raises(AssertionError, match=message):
        check_defense("bad")
    attacked.cache_clear()


# Old names that plugins may still use.


def flipped(images):
    return images.flip(-1)


class Unchanged(Defense):
    """A defense that returns the victim."""

    name = "unchanged"

    def apply(self, victim, knowledge):
        return victim


def test_a_defense_that_overrides_around_is_wrapped():
    with pytest.warns(FutureWarning, match="Flipped: the method around is now") as caught:
        class Flipped(Unchanged):
            def around(self, counter):
                return Preprocessed(counter, flipped)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counter = Flipped().wrap(fresh())
    assert isinstance(counter, Preprocessed) and counter.change is flipped


@pytest.mark.parametrize("base, number", [(Unchanged, 1), (Blur, 2)])
def test_an_overridden_around_may_call_that_of_its_base(base, number):
    with pytest.warns(FutureWarning, match="wrap"):
        class Flipped(base):
            def around(self, counter):
                return Preprocessed(super().around(counter), flipped)
        counter = Flipped().wrap(fresh())
    wrappers = [module for module in counter.modules() if isinstance(module, Preprocessed)]
    assert len(wrappers) == number and wrappers[0].change is flipped


def test_around_of_a_defense_that_has_wrap_is_wrap():
    with pytest.warns(FutureWarning, match="Defense.around is now Defense.wrap") as caught:
        counter = Blur().around(fresh())
    assert len(caught) == 1 and isinstance(counter, Preprocessed)


def test_a_defense_with_both_names_is_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Flipped(Unchanged):
            def wrap(self, counter):
                return Preprocessed(counter, flipped)

            around = wrap

        assert isinstance(Flipped().wrap(fresh()), Preprocessed)


def test_suspect_reports_scores():
    knowledge = knowledge_of(Knows(poisoned=True))
    with pytest.warns(FutureWarning, match="suspect is now knowledge.report_scores") as caught:
        knowledge.suspect(range(9))
    assert len(caught) == 1 and knowledge.suspicion == list(range(9))


def test_over_of_a_trainer_measures():
    counter = attacked()

    def measure(batch):
        return counter.count(batch.images)

    with pytest.warns(FutureWarning, match="trainer.over is now trainer.per_image") as caught:
        counts = trainer().over(counter, scenes("clean"), measure)
    assert len(caught) == 1
    assert torch.equal(counts, trainer().per_image(counter, scenes("clean"), measure))


def test_over_of_a_counter_applies_layers():
    counter, images = fresh().eval(), torch.rand(2, 3, 30, 41)
    with pytest.warns(FutureWarning, match="Counter.over is now Counter.apply_layers") as caught:
        density = counter.over(images, counter.density)
    assert len(caught) == 1 and torch.equal(density, counter(images))


OLD_PLUGIN = """
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.preprocessing import Preprocessed
from models.base import Counter


@register
class OldPlugin(Defense):
    knows = Knows(poisoned=True)

    def around(self, counter: Counter) -> Counter:
        return Preprocessed(counter, lambda images: images.flip(-1))

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        def measure(batch):
            return victim.over(batch.images, victim.density).sum(dim=(1, 2, 3))

        counts = knowledge.trainer.over(victim, knowledge.poisoned, measure)
        knowledge.suspect(counts.tolist())
        return self.around(victim.copy())
"""


def test_a_plugin_file_with_the_old_names_keeps_the_contract(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})
    path = tmp_path / "old_plugin.py"
    path.write_text(OLD_PLUGIN)
    with pytest.warns(FutureWarning, match="plugins.old_plugin.OldPlugin: .*around") as caught:
        registry.load_plugin(path)
    assert len(caught) == 1
    with pytest.warns(FutureWarning) as caught:
        repaired = check_defense("old_plugin")
    messages = {str(warning.message).partition(";")[0] for warning in caught}
    assert messages == {"Counter.over is now Counter.apply_layers",
                        "trainer.over is now trainer.per_image",
                        "knowledge.suspect is now knowledge.report_scores"}
    assert isinstance(repaired, Preprocessed)
    assert isinstance(build("defense", "old_plugin", {}).wrap(fresh()), Preprocessed)


@pytest.mark.parametrize("settings, epochs", [({}, 1), ({"times": 3}, 3), ({"times": 2.6}, 3),
                                              ({"epochs": 2, "times": 5}, 2)])
def test_retraining_takes_the_victims_epochs_so_many_times(settings, epochs):
    assert RECIPE.epochs == 1
    expected = fresh().copy()
    trainer().fit(expected, scenes("clean"), epochs=epochs)
    assert torch.equal(weights(defend("retrain", {"extra": 0} | settings)), weights(expected))
