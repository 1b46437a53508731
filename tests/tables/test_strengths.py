"""The table of strengths and the figure of frontiers, from records made by hand."""

import matplotlib
import pytest

from benchmark.figures.frontier import draw_frontiers, strength
from benchmark.results.record import Record
from benchmark.results.scenarios import scenarios
from benchmark.strengths import StrengthChoice, StrengthTrial
from benchmark.tables.strengths import strength_table
from benchmark.utils.errors import UserError
from factories import make_record

matplotlib.use("Agg")


def choice(kept, *errors, channels=None, key="lr"):
    tried = [StrengthTrial(settings={key: 0.1 * (place + 1)}, validation_mae=error,
                           channels=channels and channels[place]) for place, error in enumerate(errors)]
    return StrengthChoice(tried=tried, kept=kept)


def record(*choices, defense="nad", effect=0.5, **settings):
    made = make_record(defense=defense, effect=effect, **settings)
    return made.model_copy(update={"strengths": list(choices)})


def test_a_row_tells_what_was_tried_and_kept():
    chosen = record(choice(1, 10.0, 11.0, None))
    fixed = record(choice(0, None), seed=1)
    (row,) = strength_table(scenarios([chosen, fixed])).frame.to_dict("records")
    assert (row["defense"], row["seed"], row["kept"], row["channels"]) == ("nad", "0", "lr 0.2", "/")
    assert (row["MAE"], row["best MAE"]) == ("11.00", "10.00")
    assert row["tried"] == "lr 0.1: 10.00; lr 0.2: 11.00; lr 0.3: failed"


def test_a_choice_of_channels_and_one_of_a_rate_are_two_rows():
    pruned = record(choice(0, 9.0, 12.0, channels=(4, 8), key="pruned"), choice(1, 9.0, 9.5))
    rows = strength_table(scenarios([pruned])).frame
    assert rows["channels"].tolist() == ["4", "/"] and rows["kept"].tolist() == ["pruned 0.1", "lr 0.2"]


def test_the_kept_strength_must_have_been_tried():
    with pytest.raises(ValueError, match="kept = 2: expected less than 2"):
        choice(2, 1.0, 2.0)


def test_a_record_with_strengths_is_read_back_equal():
    made = record(choice(0, 9.0, None, channels=(1, 2)))
    assert Record.parse(made.dumps().encode()) == made


def test_a_set_strength_is_a_number_and_a_chosen_one_is_none():
    assert strength(record(choice(0, None))) == pytest.approx(0.1)
    assert strength(record(choice(0, None, channels=(7,)))) == 7
    assert strength(record(choice(1, 1.0, 2.0))) is None
    assert strength(record()) is None
    both = record(choice(0, None, channels=(7,)), choice(1, 1.0, 2.0))  # fine-pruning of a set share
    assert strength(both) == 7


def frontier_records():
    records = [record(defense="none", effect=0.9)]
    for place, effect in enumerate((0.8, 0.4, 0.1)):
        lr = 0.1 * (place + 1)
        tried = [StrengthTrial(settings={"lr": lr})]
        records.append(record(StrengthChoice(tried=tried, kept=0), effect=effect, lr=lr))
    return [*records, record(choice(1, 1.0, 1.1), effect=0.4, lr=None)]


def test_a_frontier_runs_from_weak_to_strong_and_marks_the_choice():
    records = frontier_records()
    picture = draw_frontiers(scenarios(records))
    figure = picture.figure
    (axes,) = [axes for axes in figure.axes if axes.axison]
    assert axes.get_title() == "nad"
    (line,) = [line for line in axes.lines if line.get_marker() == "None"]
    flips = {record.defense.resolved["lr"]: result.numbers["flip_rate"]
             for scenario in scenarios(records) for result in scenario.results
             for record in result.records if record.defense.name == "nad"}
    assert line.get_ydata() == pytest.approx([flips[0.1 * place] for place in (1, 2, 3)])
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert star.get_ydata() == pytest.approx([flips[None]])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["no defense", "repair (larger: stronger)", "strength chosen by rule"]
    assert "1 seed (0); 40 test images. One seed says nothing about other trainings." in picture.caption


def test_records_without_a_frontier_are_refused():
    with pytest.raises(UserError, match="no defense with two strengths"):
        draw_frontiers(scenarios([record(defense="none"), record(choice(1, 1.0, 1.1))]))
