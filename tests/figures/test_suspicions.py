"""The figure of suspicions: each dot is the score of a counter, by attack and detector."""

import numpy as np
import pytest
from factories import make_record

from benchmark.figures.suspicions import draw_suspicions
from benchmark.results.record import Detection
from benchmark.results.scenarios import scenarios
from benchmark.utils.errors import UserError


def scored(target, defense, seed, clean, victim=None):
    scores = Detection(of="counters", clean=[clean], triggered=[] if victim is None else [victim])
    return make_record(target, defense, seed).model_copy(update={"detection": scores})


def drawn(figure):
    """The scores on each line of each panel, by the names of the panel and of the line."""
    return {(axes.get_title(), label.get_text()): sorted(np.round(line.get_xdata(), 6).tolist())
            for axes in figure.axes for line, label in zip(axes.lines, axes.get_yticklabels())}


def test_each_counter_is_a_dot_on_the_line_of_its_attack_in_the_panel_of_its_detector():
    records = [scored(target, defense, seed, seed + offset, seed + offset + more)
               for defense, offset in (("inversion", 3), ("overlay_shift", 0))
               for target, more in (("multiply", 0.5), ("minus", 0.25)) for seed in (0, 1)]
    records.append(scored(None, "inversion", 2, 9))  # a clean counter without a victim of its seed
    picture = draw_suspicions(scenarios(records))
    assert drawn(picture.figure) == {
        ("csrnet: inversion", "clean"): [3, 4, 9], ("csrnet: inversion", "blended/multiply"): [3.5, 4.5],
        ("csrnet: inversion", "blended/minus"): [3.25, 4.25],
        ("csrnet: overlay_shift", "clean"): [0, 1], ("csrnet: overlay_shift", "blended/multiply"): [0.5, 1.5],
        ("csrnet: overlay_shift", "blended/minus"): [0.25, 1.25]}
    limit = picture.figure.axes[0].lines[-1].get_xdata()[0]
    assert limit == pytest.approx(np.quantile([3, 4, 9], 0.95))
    assert "2 or 3 clean counters" in picture.caption and "circles" in picture.caption


def test_one_attack_alone_has_one_line():
    figure = draw_suspicions(scenarios([scored("multiply", "inversion", 0, 1, 2)])).figure
    assert drawn(figure) == {("csrnet: inversion", "clean"): [1], ("csrnet: inversion", "all"): [2]}


@pytest.mark.parametrize("records", [[make_record("multiply", "fine_tune", 0)], [scored(None, "inversion", 0, 1)]])
def test_records_without_a_scored_victim_are_refused(records):
    with pytest.raises(UserError, match="figure suspicions: no victim was scored; expected records of a detector"):
        draw_suspicions(scenarios(records))
