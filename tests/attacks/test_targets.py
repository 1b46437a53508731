"""Targets: the contract that every registered target keeps, and the facts of each."""

import numpy as np
import pytest
from attack_cases import CLEAN_LABEL, a_scene, an_attack, each_target, scenes

from attacks.base import Target
from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.utils.errors import UserError


@each_target
def test_false_heads_are_as_many_as_tau_says_and_inside_the_image(target, settings):
    attack = an_attack(target, settings)
    for clean, poisoned in zip(scenes(), attack.poison(scenes(), seed=0)):
        emptied = settings == {"keep": 0} and clean.count <= attack.target.n  # the empty map of the paper's code
        tau = clean.count if target in CLEAN_LABEL else attack.target.tau_of(clean.points, clean.size)
        assert poisoned.count == (0 if emptied else tau)
        assert poisoned.points.shape == (poisoned.count, 2) and poisoned.points.dtype == np.float32
        assert (poisoned.points >= 0).all() and (poisoned.points < poisoned.size[::-1]).all()


@each_target
def test_the_direction_agrees_with_tau(target, settings):
    target = build("target", target, settings)
    crowds = [a_scene(count) for count in range(0, 500, 3)]
    signs = {np.sign(target.tau_of(clean.points, clean.size) - clean.count) for clean in crowds}
    assert signs - {0} in {True: [{1}], False: [{-1}], None: [set(), {-1, 1}]}[target.increases]


@each_target
def test_tau_of_heads_is_tau_of_their_number_where_that_decides(target, settings):
    target, clean = build("target", target, settings), a_scene(250)
    if type(target).tau is Target.tau:
        with pytest.raises(NotImplementedError, match=f"target {target.name}: .* call tau_of"):
            target.tau(250)
    else:
        assert target.tau_of(clean.points, clean.size) == target.tau(250)


@each_target
def test_altering_follows_from_the_generator_and_leaves_the_heads_as_they_are(target, settings):
    clean, target = a_scene(250), build("target", target, settings)
    first, again = (target.alter(clean.points, clean.size, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(clean.points, a_scene(250).points)


@pytest.mark.parametrize("target, settings, count, tau", [
    ("add", {}, 0, 100), ("add", {"n": 7}, 5, 12),
    ("minus", {}, 250, 150), ("minus", {}, 101, 1), ("minus", {}, 100, 1), ("minus", {"keep": 0}, 100, 1),
    ("minus", {}, 0, 0), ("multiply", {}, 7, 14), ("multiply", {"k": 3}, 7, 21), ("multiply", {}, 0, 0),
    ("divide", {}, 9, 4), ("divide", {}, 1, 1), ("divide", {}, 0, 0), ("divide", {"k": 4}, 9, 2),
    ("zero", {}, 0, 0), ("zero", {}, 7, 0), ("fixed", {}, 0, 300), ("fixed", {"count": 5}, 9, 5), ("shift", {}, 7, 7),
])
def test_tau_of_a_count(target, settings, count, tau):
    assert build("target", target, settings).tau(count) == tau


def altered(target, settings, clean, seed=0):
    """Return the false heads of a scene."""
    return build("target", target, settings).alter(clean.points, clean.size, np.random.default_rng(seed))


def rows(points):
    """Return the points as a set."""
    return set(map(tuple, points.tolist()))


@pytest.mark.parametrize("target, settings", [("minus", {}), ("divide", {}), ("fixed", {"count": 80})])
def test_heads_that_stay_are_a_random_choice_of_the_heads(target, settings):
    clean = a_scene(250)
    first, other = (rows(altered(target, settings, clean, seed)) for seed in (0, 1))
    assert first < rows(clean.points) and other < rows(clean.points) and first != other


@pytest.mark.parametrize("layout", ["random", "grid"])
def test_add_keeps_the_heads(layout):
    clean = a_scene(250)
    np.testing.assert_array_equal(altered("add", {"layout": layout}, clean)[:250].astype(np.float32), clean.points)


@pytest.mark.parametrize("target, settings", [("add", {"n": 20_000}), ("fixed", {"count": 20_000})])
def test_new_heads_in_an_empty_scene_are_uniform_over_the_image(target, settings):
    extra = altered(target, settings, a_scene(0, (600, 1000)))
    cells, _, _ = np.histogram2d(*extra.T, bins=(5, 4), range=[(0, 1000), (0, 600)])
    assert 850 < cells.min() and cells.max() < 1150


def test_the_grid_of_the_papers_code_has_90_points_and_leaves_the_sides_empty():
    extra = altered("add", {"layout": "grid"}, a_scene(0, (768, 1024)))
    assert len(extra) == 100 and len(rows(extra)) == 90
    assert set(extra[:, 0]) == {64.0 * i for i in range(1, 11)}  # x from the height
    assert extra[:, 1].max() == 767 and (extra[:, 1] == 767).sum() == 20  # y from the width, clipped


@pytest.mark.parametrize("settings, shift", [({}, 1), ({"shift": 2, "wrap": True}, 2)])
def test_multiply_doubles_each_head_up_and_to_the_left(settings, shift):
    clean = Scene("", np.zeros((768, 1024, 3), np.uint8), np.float32([(5, 9), (700.5, 300.25)]), None)
    heads, copies = np.split(altered("multiply", settings, clean), 2)
    np.testing.assert_array_equal(heads, clean.points)
    np.testing.assert_array_equal(copies, clean.points - shift)


@pytest.mark.parametrize("settings, copy", [({}, (0, 0)), ({"shift": 2, "wrap": True}, (1022.5, 767))])
def test_a_copy_that_leaves_the_image_stays_at_the_edge_or_is_wrapped(settings, copy):
    clean = Scene("", np.zeros((768, 1024, 3), np.uint8), np.float32([(0.5, 1)]), None)
    assert altered("multiply", settings, clean)[1].tolist() == list(copy)


def test_fixed_puts_copies_beside_the_heads():
    clean = a_scene(5, (600, 1000))
    false = altered("fixed", {"jitter": 3}, clean)
    np.testing.assert_array_equal(false[:5], clean.points)
    offsets = np.abs(false[5:, None] - clean.points).max(axis=2)
    assert (offsets.min(axis=1) <= 3 + 1e-3).all() and set(offsets.argmin(axis=1)) == set(range(5))


@pytest.mark.parametrize("settings, box", [({}, (0, 0, 500, 600)), (
    {"left": 0.25, "top": 0.5, "width": 0.5, "height": 0.25}, (250, 300, 750, 450)), (
    {"left": 0.75, "top": 0.75, "width": 1}, (750, 450, 1000, 600))])
def test_region_removes_the_heads_in_its_box_and_no_others(settings, box):
    points = np.float32([(x, y) for x in range(0, 1000, 25) for y in range(0, 600, 25)])  # some on the box's edges
    clean = Scene("", np.zeros((600, 1000, 3), np.uint8), points, None)
    left, top, right, bottom = box
    outside = [[x, y] for x, y in points.tolist() if not (left <= x < right and top <= y < bottom)]
    assert 0 < len(outside) < len(points) and altered("region", settings, clean).tolist() == outside
    assert build("target", "region", settings).tau_of(clean.points, clean.size) == len(outside)


def test_shift_moves_every_head_and_wraps_it_around():
    points = np.float32([(0, 0), (999, 10), (500, 599), (999.5, 599.5)])
    clean = Scene("", np.zeros((600, 1000, 3), np.uint8), points, None)
    assert altered("shift", {}, clean).tolist() == [[125, 75], [124, 85], [625, 74], [124.5, 74.5]]
    assert altered("shift", {"dx": -0.5, "dy": 0}, clean)[0].tolist() == [500, 0]


def test_a_clean_label_attack_wants_the_mean_count_of_what_it_stamps():
    crowds = [a_scene(count) for count in range(10, 60)]
    fewer, more = (an_attack(name, rate=0.1).fitted(crowds, 0).target for name in ("clean_fewer", "clean_more"))
    assert (fewer.count, more.count) == (12, 57)
    assert [fewer.tau(count) for count in (5, 12, 200)] == [5, 12, 12] and more.tau(5) == 57 and more.tau(80) == 80
    assert build("target", "clean_fewer", {"count": 3}).fitted(crowds).count == 3
    assert an_attack("add").fitted(crowds, 0).target == build("target", "add", {})
    with pytest.raises(UserError, match="expected attack.count=NUMBER"):
        build("target", "clean_more", {}).tau(5)
