"""Labels of points: none covers another one, a point or the edge, and lines lead to the points."""

import numpy as np
import pytest
from factories import ROOT
from matplotlib.figure import Figure

from benchmark.cli.options import read_records
from benchmark.figures.defense_scatter import draw_defenses
from benchmark.figures.labels import place_labels
from benchmark.results.scenarios import scenarios


def placed(points, avoid=(), size=(3, 3)):
    """The panel with labels of these points, and whether all were placed."""
    axes = Figure(size).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return axes, place_labels(axes, [(x, y, f"label {number}") for number, (x, y) in enumerate(points)], avoid)


def faults(axes, points):
    """Pairs of labels that overlap, labels on points, and labels beyond the edge."""
    boxes = [text.get_window_extent() for text in axes.texts]
    pairs = sum(box.overlaps(other) for number, box in enumerate(boxes) for other in boxes[:number])
    covered = sum(bool(box.contains(*pixel)) for box in boxes for pixel in axes.transData.transform(points))
    outer = axes.get_window_extent()
    return int(pairs), covered, sum(not outer.contains(*corner) for box in boxes for corner in (box.min, box.max))


@pytest.mark.parametrize("spread", [0.06, 0.1, 0.4])
def test_crowded_labels_overlap_nothing(spread):
    points = 0.5 + spread * np.random.default_rng(0).uniform(-1, 1, (18, 2))
    axes, fits = placed(points[:15], points[15:])
    assert fits and len(axes.texts) == 15 and faults(axes, points) == (0, 0, 0)


def test_a_label_stands_at_its_point_or_a_line_leads_to_it():
    points = 0.5 + 0.1 * np.random.default_rng(1).uniform(-1, 1, (15, 2))
    axes, _ = placed(points)
    ends = [axes.transData.transform(np.transpose(line.get_data()))[[0, -1]]
            for line in axes.lines if len(line.get_xdata())]
    for text, pixel in zip(axes.texts, axes.transData.transform(points)):
        box = text.get_window_extent()
        near = np.hypot(*(np.clip(pixel, box.min, box.max) - pixel)) < 10
        led = [end for start, end in ends if np.hypot(*(start - pixel)) < 5 and box.padded(1).contains(*end)]
        assert near or led


def test_a_lone_label_stands_to_the_right_of_its_point_without_a_line():
    axes, fits = placed([(0.5, 0.5)])
    assert fits and axes.texts[0].get_position()[0] > 0.5 and not len(axes.lines[0].get_xdata())
    assert axes.texts[0].get_position()[1] == pytest.approx(0.5)


def test_points_at_one_place_have_labels_around_it():
    axes, fits = placed([(0.5, 0.5)] * 6)
    assert fits and faults(axes, [(0.5, 0.5)]) == (0, 0, 0)


def test_labels_without_a_place_are_told_and_not_drawn():
    axes, fits = placed([(0.5, 0.5)] * 40, size=(0.6, 0.6))
    assert not fits and not axes.texts


@pytest.mark.slow
def test_the_labels_of_the_records_that_the_readme_shows_overlap_nothing():
    figure = draw_defenses(scenarios(read_records([ROOT / "records/standard-quick"]))).figure
    panels = [axes for axes in figure.axes if axes.axison]
    assert [len(axes.texts) for axes in panels] == [27] * 4
    for dpi in (100, 200):  # of placing and of the file
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        for axes in panels:
            points = [point for line in axes.lines if line.get_marker() != "None" for point in zip(*line.get_data())]
            assert faults(axes, points) == (0, 0, 0)
