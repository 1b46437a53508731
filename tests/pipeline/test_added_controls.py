"""`--controls`: what a run adds so that a defense can be judged, and for how many steps it is trained."""

import pytest

from benchmark.config.request import load_request, override
from benchmark.pipeline.controls import with_controls
from benchmark.utils.errors import UserError

SMALL = {"data": {"name": "synthetic", "train": 40, "test": 8, "height": 64, "width": 96, "people": 20},
         "training": {"epochs": 10}, "attack": ["none", "add"]}  # 36 images to train on, and 4 of them poisoned
NONE = {"name": "none"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def added(request, *assignments, grid=None):
    """The defenses of a request with its controls."""
    return with_controls(override(request, list(assignments)), request if grid is None else grid)["defense"]


@pytest.mark.parametrize("defense, control", [
    ({"name": "fine_tune_few"}, {"extra": 0, "images": 40, "times": 3.1}),  # of 36 images: 1.1 + 20 / 10
    ({"name": "fine_tune_few", "images": 9, "epochs": 5}, {"extra": 0, "images": 9, "times": 4.9}),  # 39.6 / 9 + 5 / 10
    ({"name": "fine_tune", "extra": 0}, {"extra": 0, "times": 2.1}),  # no epochs of its own: 1.1 + 1
    ({"name": "fine_tune", "extra": 4, "epochs": 5}, {"extra": 4, "times": 1.5}),  # 39.6 / 40 + 5 / 10, rounded up
    ({"name": "jpeg"}, {"times": 1.9})])  # without clean images: all 36 and the 10 others, 39.6 / 46 + 1
def test_the_control_has_as_many_images_and_steps(defense, control):
    assert added(SMALL | {"defense": defense}, grid=SMALL) == [NONE, defense, {"name": "retrain", **control}]


def test_a_dataset_without_images_to_train_on_is_refused():
    one = SMALL | {"data": SMALL["data"] | {"train": 1}, "defense": "fine_tune_few"}
    with pytest.raises(UserError, match="--controls: dataset synthetic has no image left"):
        added(one)


def test_the_most_steps_of_all_cells_are_taken():
    rates = SMALL | {"attack": [None, {"target": "add", "poison_rate": [0.1, 0.5]}], "defense": "fine_tune_few"}
    assert added(rates)[-1]["times"] == 3.5


@pytest.mark.parametrize("defense, control", [
    ("anp", {"images": 40, "extra": 0, "epochs": 614}), ("fine_tune", {"epochs": 120}), ("blur", {"epochs": 120})])
def test_a_control_of_the_grid_itself_is_taken_where_it_has_as_many_images(defense, control):
    expected = [NONE, {"name": defense}, {"name": "retrain", **control}]
    assert added(load_request("standard-quick"), f"defense={defense}") == expected


def test_every_defense_gets_its_control_and_none_is_there_twice():
    both = {"defense": ["none", "fine_tune_few", {"name": "anp"}, {"name": "retrain", "extra": 40}, "fine_tune"]}
    names = [choice["name"] for choice in added(SMALL | both)]
    assert names == ["none", "fine_tune_few", "anp", "retrain", "fine_tune", "retrain", "retrain"]
    assert added(SMALL | both)[3] == {"name": "retrain", "extra": 40}
    again = SMALL | {"defense": added(SMALL | both)}
    assert added(again) == again["defense"]


def test_without_a_defense_there_is_nothing_to_control():
    with pytest.raises(UserError, match="--controls: expected a defense"):
        added(SMALL | {"defense": ["none", "retrain"]})
