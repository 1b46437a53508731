"""A frozen grid stays what it is, and a cell belongs to it only if all but its defense is the same."""

import pytest

from benchmark.config.frozen_grids import frozen, protocol_of, signature
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.utils.hashing import content_key

# What each frozen grid is. A hash that changes means that a default, a recipe or a preset has changed under a name that
# stands in published records: give the preset the next number, and add its hash here.
HASHES = {"standard-1": "11adeca01eab81703791", "standard-quick-2": "0e91d18e4bca20f995fd"}


def grid(preset, *assignments):
    return cells(override(load_request(preset), list(assignments)))


def same_images(cell):
    return next(one for one in frozen() if one.name == "standard-1").splits


def test_frozen_grids_are_what_they_were():
    assert {one.name: content_key(sorted(one.signatures)) for one in frozen()} == HASHES


def test_every_cell_of_a_frozen_grid_belongs_to_it_whatever_its_defense():
    for one in frozen():
        given = grid(one.preset, "defense=none,jpeg,fine_tune")
        assert {protocol_of(cell, lambda cell: one.splits) for cell in given} == {one.name}
        assert {signature(cell) for cell in given} == one.signatures


@pytest.mark.parametrize("change", ["attack.alpha=0.2", "attack.poison_rate=0.2", "scale=0.5", "training.epochs=7",
                                    "hold_out=0.2", "seed=7", "model=mcnn", "data.part=A", "variant=code",
                                    "attack.trigger=sig", "attack.test_alpha=0.2", "training.precision=fp32"])
def test_a_cell_that_differs_in_anything_else_does_not_belong_to_it(change):
    attacked = [cell for cell in grid("standard", "defense=none", change) if cell.trigger]
    assert {protocol_of(cell, same_images) for cell in attacked} == {None}


@pytest.mark.parametrize("free", ["training.tracker=null", "training.compile=true", "eval_batch=2", "data.root=/tmp"])
def test_where_data_lies_and_how_a_run_goes_is_free(free):
    assert {protocol_of(cell, same_images) for cell in grid("standard", "defense=none", free)} == {"standard-1"}


def test_other_images_are_another_grid():
    [cell] = grid("standard", "defense=none", "attack=add", "model=csrnet", "seed=0")
    whole = same_images(cell)
    assert protocol_of(cell, lambda cell: {"train": whole["train"]}) == "standard-1"
    for split in whole:
        assert protocol_of(cell, lambda cell: whole | {split: "other"}) is None
