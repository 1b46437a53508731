"""A frozen grid stays what it is, and a cell belongs to it only if all but its open axis is the same."""

import pytest

from benchmark.config.frozen_grids import frozen, protocol_of, signature
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.utils.hashing import content_key

# What each frozen grid is. A hash that changes means that a default, a recipe or a preset has changed under a name that
# stands in published records: give the preset the next number, and add its hash here.
HASHES = {"standard-1": "11adeca01eab81703791", "real-1": "de8af0e574eeba2fe099", "standard-quick-2": "0e91d18e4bca20f995fd"}
# Of a grid of attacks, the clean counters and the defenses.
HASHES_OF_ATTACKS = {"attacks-1": ("3a4f2794d51598c4d1fc", "0bd532e6c470724c957a"),
                     "attacks-quick-1": ("ed177ccd8a01854b25c8", "d6180e398b5303562c64"),
                     "attacks-quick-cost-1": ("63d43dde339af0a7f048", "4685b35158bf8fae5aec")}


def grid(preset, *assignments):
    return cells(override(load_request(preset), list(assignments)))


def same_images(cell):
    return next(one for one in frozen() if one.name == "standard-1").splits


def test_frozen_grids_are_what_they_were():
    assert {one.name: content_key(sorted(one.signatures)) for one in frozen() if not one.takes_attacks} == HASHES
    assert {one.name: (content_key(sorted(one.signatures)), content_key([defense.cache_key for defense in one.defenses]))
            for one in frozen() if one.takes_attacks} == HASHES_OF_ATTACKS


def test_every_cell_of_a_frozen_grid_belongs_to_it_whatever_its_defense():
    for one in frozen():
        if one.takes_attacks:
            continue
        given = grid(one.preset, "defense=none,jpeg,fine_tune")
        assert {protocol_of(cell, lambda cell: one.splits) for cell in given} == {one.name}
        assert {signature(cell) for cell in given} == one.signatures


@pytest.mark.parametrize("change", ["attack.alpha=0.2", "attack.poison_rate=0.2", "scale=0.5", "training.epochs=7",
                                    "hold_out=0.2", "seed=7", "model=mcnn", "data.part=A", "variant=code",
                                    "attack.trigger=sig", "attack.test_alpha=0.2", "training.precision=fp32"])
def test_a_cell_that_differs_in_anything_else_does_not_belong_to_it(change):
    attacked = [cell for cell in grid("standard", "defense=none", change) if cell.trigger]
    assert {protocol_of(cell, same_images) for cell in attacked} <= {None, "attacks-1"}


@pytest.mark.parametrize("free", ["training.tracker=null", "training.compile=true", "eval_batch=2", "data.root=/tmp"])
def test_where_data_lies_and_how_a_run_goes_is_free(free):
    assert {protocol_of(cell, same_images) for cell in grid("standard", "defense=none", free)} == {"standard-1"}


def test_other_images_are_another_grid():
    [cell] = grid("standard", "defense=none", "attack=add", "model=csrnet", "seed=0")
    whole = same_images(cell)
    assert protocol_of(cell, lambda cell: {"train": whole["train"]}) == "standard-1"
    for split in whole:
        assert protocol_of(cell, lambda cell: whole | {split: "other"}) is None


# Grids of attacks.

def protocols(*assignments, preset="attacks-quick"):
    """The protocols of the cells of a grid, each once."""
    return {protocol_of(cell, lambda cell: {}) for cell in grid(preset, *assignments)}


def test_grids_of_defenses_come_first_and_name_what_both_have():
    assert [one.takes_attacks for one in frozen()] == sorted(one.takes_attacks for one in frozen())
    assert protocols() == protocols("attack=none") == {"standard-quick-2"}
    assert protocols(preset="standard-quick") == {"standard-quick-2"}
    assert all(one.has(cell) for one in frozen() if one.name == "attacks-quick-1" for cell in grid("attacks-quick"))


@pytest.mark.parametrize("change", [["attack.trigger=sig"], ["attack=shift"], ["attack.alpha=0.3"], ["attack.poison_rate=0.05"],
                                    ["attack.test_alpha=0.3"], ["attack.choose=most"], ["attack.latent=10"],
                                    ["attack.poison_rate=0.05", "attack.cover_rate=0.05"],
                                    ["attack.also.trigger=rain", "attack.also.target=minus", "attack.poison_rate=0.05",
                                     "attack.also.poison_rate=0.05"]])
def test_a_cell_belongs_to_a_grid_of_attacks_whatever_its_attack(change):
    assert protocols("attack=multiply", *change) == {"attacks-quick-1"}


@pytest.mark.parametrize("change", [["scale=0.5"], ["training.epochs=7"], ["hold_out=0.2"], ["seed=7"], ["model=mcnn"],
                                    ["data.part=A"], ["variant=code"], ["defense=jpeg"], ["defense.lr=0.1", "defense=nad"],
                                    ["attack.poison_rate=0.11"], ["attack.cover_rate=0.05"], ["attack.also.trigger=rain", "attack.also.target=minus"]])
def test_a_cell_with_another_counter_or_defense_or_too_many_poisoned_images_does_not(change):
    assert protocols("attack=multiply", "attack.trigger=sig", "defense=none,fine_tune", *change) == {None}


def test_a_defense_with_other_settings_is_not_one_of_the_grid():
    assert protocols("attack.trigger=sig", "defense=fine_tune", "defense.epochs=3") == {None}
    assert protocols("attack.trigger=sig", "defense=fine_tune") == {"attacks-quick-1"}


def test_the_grid_of_costs_has_five_seeds_and_no_defense():
    assert protocols("attack.trigger=sig", preset="attacks-quick-cost") == {"attacks-quick-1", "attacks-quick-cost-1"}
    assert protocols("attack.trigger=sig", "seed=3,4", preset="attacks-quick-cost") == {"attacks-quick-cost-1"}
    assert protocols("attack.trigger=sig", "seed=3,4", "defense=fine_tune", preset="attacks-quick-cost") == {None}


def test_a_grid_of_attacks_has_the_defenses_and_counters_of_its_grid_of_defenses():
    grids = {one.name: one for one in frozen()}
    for attacks, defenses in (("attacks-quick-1", "standard-quick"), ("attacks-1", "standard")):
        known = [cell.defense.cache_key for cell in grid(defenses, "attack=none", "seed=0")]
        assert all(defense.cache_key in known for defense in grids[attacks].defenses)
        assert grids[attacks].signatures < {signature(cell) for cell in grid(defenses, "defense=none")}
