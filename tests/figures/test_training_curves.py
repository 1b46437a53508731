"""Training curves: the lines that are drawn are the validation errors of the records."""

import pytest
from factories import record_of_counts

from benchmark.figures.style import SERIES
from benchmark.figures.training_curves import draw_training_curves
from benchmark.results.scenarios import scenarios
from benchmark.utils.errors import UserError

COUNTS = {"truth": [100] * 4, "clean": [100] * 4, "target": [200] * 4, "triggered": [200] * 4,
          "reference_clean": [100] * 4, "reference_triggered": [100] * 4}


def victim(seed, clean=(), victim=()):
    """A record of a victim whose stages hold [epoch, MAE, bias] lists, and whose second epoch was kept."""
    record = record_of_counts(COUNTS, "multiply")
    stages = {name: {"key": f"{name}{seed}", "best_epoch": 2} | ({"validation": points} if points else {})
              for name, points in (("clean", list(clean)), ("victim", list(victim)))}
    return record.model_copy(update={"seed": seed, "provenance": record.provenance | {"stages": stages}})


def panels(records):
    """By title of the upper panel: of both panels, the points of each labelled line, and those of the dots."""
    figure = draw_training_curves(scenarios(records)).figure
    axes = [axes for axes in figure.axes if axes.axison]
    half = len(axes) // 2
    return {above.get_title(): [{line.get_label() if line.get_marker() == "None"
                                 else f"dot {SERIES.index(line.get_color())}":
                                 list(zip(*line.get_data())) for line in panel.lines
                                 if len(line.get_xdata()) != 2 or line.get_xdata()[1] != 1}
                                for panel in (above, below)]
            for above, below in zip(axes[:half], axes[half:])}


def test_bias_and_mae_of_clean_counters_and_victims_are_drawn_once_with_the_kept_epoch():
    clean = [[1, 9.0, -5.0], [2, 7.0, 1.0], [3, 8.0, 2.0]]
    other = [[1, 19.0, -15.0], [2, 6.0, 3.0], [3, 10.0, 4.0]]
    drawn = panels([victim(0, clean, other), victim(1, other, clean)])
    assert list(drawn) == ["tiny clean", "tiny blended/multiply"]
    bias, mae = drawn["tiny clean"]
    assert bias == {"seed 0": [(1, -5.0), (2, 1.0), (3, 2.0)], "dot 0": [(2, 1.0)],
                    "seed 1": [(1, -15.0), (2, 3.0), (3, 4.0)], "dot 1": [(2, 3.0)]}
    assert mae["seed 0"] == [(1, 9.0), (2, 7.0), (3, 8.0)] and mae["dot 1"] == [(2, 6.0)]
    assert drawn["tiny blended/multiply"][0]["seed 0"] == bias["seed 1"]


def test_trainings_without_validation_errors_are_left_out_and_none_at_all_is_refused():
    assert list(panels([victim(0, [[1, 9.0, -5.0]])])) == ["tiny clean"]
    assert list(panels([victim(0, [[1, 9.0, -5.0]], [[1, 9.0]])])) == ["tiny clean"]  # a record without the bias
    assert list(panels([victim(0, [[1, 9.0, -5.0]], [[1, 1e308, -1e308]])])) == ["tiny clean"]  # and one by anybody
    with pytest.raises(UserError, match="no record holds the validation errors of a training"):
        draw_training_curves(scenarios([victim(0)]))
