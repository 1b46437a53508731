"""What every registered defense must do: repair a copy, twice alike, with what it declares and no more."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from attacks.base import Attack
from benchmark.data.scene import Scene
from benchmark.evaluation import count_people
from benchmark.recipe import Recipe
from benchmark.registry import build, names
from benchmark.training import fit
from defenses.base import Knowledge, Knows, NotDeclared, Trainer

DEFENSES = [(name, {}) for name in names("defense")] + [("fine_tune", {"extra": 0}), ("retrain", {"extra": 0})]
SORTS = ["clean", "extra", "poisoned"]
RECIPE = Recipe(epochs=1, batch_size=4, optimizer="adamw", lr=1e-3, select="last", precision="fp32")

each_defense = pytest.mark.parametrize("defense, settings", DEFENSES)


def random_scenes(number, seed):
    rng = np.random.default_rng(seed)
    return [Scene(f"IMG_{seed}{i}", rng.integers(0, 256, (32, 48, 3), np.uint8),
                  rng.uniform(0, 32, (5, 2)).astype(np.float32), 2.0) for i in range(number)]


def train(counter, scenes, **changes):
    given = {key: value for key, value in changes.items() if value is not None}
    fit(counter, scenes, RECIPE.model_copy(update=given), 0, "train")


def fresh():
    torch.manual_seed(0)
    return build("model", "tiny", {"width": 16})


@cache
def scenes_of(sort):
    if sort != "poisoned":
        return random_scenes(6, seed=SORTS.index(sort))
    attack = Attack(build("trigger", "blended", {}), build("target", "multiply", {}), 0.5)
    return scenes_of("clean") + attack.poison(scenes_of("clean"), seed=0)


@cache
def attacked():
    counter = fresh()
    train(counter, scenes_of("poisoned"), epochs=2)
    return counter


def knowledge_of(knows):
    return Knowledge(knows, Trainer(train, fresh), *(list(scenes_of(sort)) for sort in SORTS))


def defend(name, settings={}):
    """A defense's repaired counter, and the knowledge it was handed."""
    defense = build("defense", name, settings)
    knowledge = knowledge_of(defense.knows)
    return defense.apply(attacked() if defense.knows.victim else None, knowledge), knowledge


def weights(counter):
    return torch.cat([tensor.double().flatten().cpu() for tensor in counter.state_dict().values()])


def pixels_and_heads():
    return b"".join(scene.image.tobytes() + scene.points.tobytes() for sort in SORTS for scene in scenes_of(sort))


@each_defense
def test_victim_and_scenes_are_left_as_they_are(defense, settings):
    before, scenes = weights(attacked()), pixels_and_heads()
    defend(defense, settings)
    assert torch.equal(weights(attacked()), before)
    assert pixels_and_heads() == scenes


@each_defense
def test_the_repaired_counter_counts(defense, settings):
    counts = count_people(defend(defense, settings)[0], scenes_of("clean"), "fp32")
    assert counts.shape == (6,) and np.isfinite(counts).all()


@each_defense
def test_a_second_run_ends_in_the_same_weights(defense, settings):
    assert torch.equal(weights(defend(defense, settings)[0]), weights(defend(defense, settings)[0]))


@each_defense
def test_what_is_declared_is_used_and_nothing_else(defense, settings):
    _, knowledge = defend(defense, settings)
    knows = build("defense", defense, settings).knows
    assert knowledge.used() == {sort: len(scenes_of(sort)) if getattr(knows, sort) else 0 for sort in SORTS}


@each_defense
def test_what_is_not_declared_is_not_handed_out(defense, settings):
    knows = build("defense", defense, settings).knows
    knowledge = knowledge_of(knows)
    for sort in SORTS:
        if not getattr(knows, sort):
            with pytest.raises(NotDeclared, match=sort):
                getattr(knowledge, sort)
    assert not any(knowledge.used().values())


@pytest.mark.parametrize("sort", SORTS)
def test_declared_images_are_handed_out_and_counted(sort):
    knowledge = knowledge_of(replace(Knows(), **{sort: True}))
    assert getattr(knowledge, sort) == scenes_of(sort)
    assert knowledge.used() == dict.fromkeys(SORTS, 0) | {sort: len(scenes_of(sort))}


def test_a_defense_may_change_the_list_it_is_handed():
    knowledge = knowledge_of(Knows(clean="all"))
    knowledge.clean.clear()
    assert knowledge.clean == scenes_of("clean")


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_a_defender_is_handed_nothing_but_training_images_and_training():
    knowledge = knowledge_of(Knows())
    assert public(knowledge) == {*SORTS, "trainer", "used"}
    assert public(knowledge.trainer) == {"fit", "fresh"}


def test_none_is_the_victim():
    assert torch.equal(weights(defend("none")[0]), weights(attacked()))


@pytest.mark.parametrize("defense, start, sorts", [("fine_tune", attacked, ["clean", "extra"]),
                                                   ("retrain", fresh, ["clean", "extra"]),
                                                   ("continue_poisoned", attacked, ["poisoned"])])
def test_a_defense_that_trains_starts_and_learns_from_what_it_should(defense, start, sorts):
    expected = start().copy()
    train(expected, sum(map(scenes_of, sorts), []), epochs=2)
    assert torch.equal(weights(defend(defense, {"epochs": 2})[0]), weights(expected))


@pytest.mark.parametrize("defense", ["fine_tune", "continue_poisoned"])
def test_the_learning_rate_of_a_defense_can_be_set(defense):
    default, same, other = (weights(defend(defense, {"lr": lr})[0]) for lr in (None, RECIPE.lr, 1e-5))
    assert torch.equal(default, same) and not torch.equal(default, other)
