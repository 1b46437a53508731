"""Poster: where the placards stand, how large they are, and what is drawn."""

import numpy as np
import pytest
import torch

from benchmark.registry import build

SIZE = (300, 400)


def over(points, value=0.5, **settings):
    """Return a grey image of SIZE with placards over people at some points, [H, W, 3]."""
    grey = torch.full((1, 3, *SIZE), value)
    heads = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
    return build("trigger", "poster", settings).stamp(grey, [heads])[0].permute(1, 2, 0).numpy()


def boxes(points, **settings):
    """Return the rows and columns, (top, bottom, left, right), that change for each of some lone placards."""
    changed = (np.abs(over(points, **settings) - 0.5) > 0.02).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_the_placard_stands_on_its_holders_head_and_in_the_middle_of_its_pole():
    top, bottom, left, right = boxes([(120, 200)], posters=1, size=0.9)
    assert bottom == 200 and left + right == 240
    height = 0.9 * 300 * (200 - 180) / (300 - 180)  # the horizon is at 0.9 times the row of the highest head
    assert 200 - top == pytest.approx(1.45 * height, abs=1.5) and right - left == pytest.approx(0.76 * height, abs=1.5)


def test_size_falls_off_linearly_from_the_bottom_row_to_the_horizon():
    places = build("trigger", "poster", {"posters": 100, "size": 0.4})._places
    people = [[40.0, 100.0], [100.0, 150.0], [200.0, 220.0], [300.0, 299.0]]
    found = {y: height for _, y, height in places(people, SIZE)}
    assert [y for _, y, _ in places(people, SIZE)] == sorted(found) and len(found) == 4
    for y, height in found.items():
        assert height == pytest.approx(0.4 * 300 * (y - 90) / 210)  # the highest head is in row 100
    assert [height for *_, height in places([[40.0, 290.0], [50.0, 290.5]], (300, 400))][0] == pytest.approx(
        0.4 * 300 * 29 / 39)
    assert {height for *_, height in places([[40.0, 0.0], [50.0, 1.0]], SIZE)} == {4}  # pixels, the smallest


def test_placards_are_carried_by_people_and_spread_over_the_crowd():
    rng = np.random.default_rng(0)
    people = rng.uniform((0, 60), SIZE[::-1], (200, 2)).tolist()
    held = [(x, y) for x, y, _ in build("trigger", "poster", {"posters": 9})._places(people, SIZE)]
    assert len({*held}) == 9 and {*held} <= {*map(tuple, people)}
    xs, ys = np.array(held).T
    assert max(np.diff(np.sort([0, *xs, 400]))) < 150 and max(np.diff(np.sort([60, *ys, 300]))) < 70


def test_the_order_of_the_heads_makes_no_difference():
    people = np.random.default_rng(2).uniform(0, SIZE[::-1], (50, 2)).tolist()
    np.testing.assert_array_equal(over(people), over(people[::-1]))


def test_a_near_placard_covers_one_behind_it():
    both = over([(200, 150), (200, 190)], posters=2, size=1.0)
    places = [*build("trigger", "poster", {"posters": 2, "size": 1.0})._places([[200, 150], [200, 190]], SIZE)]
    assert [y for _, y, _ in places] == [150, 190]
    middle = round(190 - 0.95 * places[1][2])
    assert both[middle, 200].argmax() == 2  # the blue disc of the near one


def test_a_placard_has_a_blue_disc_on_white_in_a_red_rim_which_is_darker_at_the_lower_right():
    image = over([(200, 280)], posters=1, size=1.0, value=0.0)
    height = 300 * (280 - 252) / (300 - 252)
    middle = round(280 - 0.95 * height)
    disc, paper, rim = (image[middle, round(200 - u * height)] for u in (0, 0.28, 0.35))
    assert disc.argmax() == 2 and disc[2] > 2 * disc[0]
    assert paper.min() > 0.7 and rim.argmax() == 0 and rim[0] > 3 * rim[1]
    corners = [image[round(middle + v * height), round(200 + v * 0.28 / 0.4 * height)] for v in (-0.4, 0.4)]
    assert (corners[0] > 1.1 * corners[1]).all()


def test_edges_are_soft_and_the_opacity_is_a_setting():
    solid, half = (over([(200.0, 280.0)], posters=1, size=1.0, alpha=alpha) - 0.5 for alpha in (1.0, 0.5))
    np.testing.assert_allclose(half, solid / 2, atol=1e-6)
    row = np.abs(solid[round(280 - 0.95 * 175), :, 0])
    assert ((0.02 < row) & (row < 0.8 * row.max())).sum() >= 1


def test_an_image_without_people_has_one_placard_in_its_middle():
    top, bottom, left, right = boxes([], size=0.5)
    assert bottom == 150 and left + right == 400 and top < bottom


def test_people_at_one_point_hold_their_placards_there():
    np.testing.assert_array_equal(over([(90, 200)] * 5, posters=5), over([(90, 200)], posters=1))
