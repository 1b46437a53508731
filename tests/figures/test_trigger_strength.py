"""The figure of strengths: its lines are the flip rates after each defense, and those of the clean counter after it."""

import pytest
from factories import make_record

from benchmark.figures.strength import draw_strengths
from benchmark.results.record import Choice
from benchmark.results.scenarios import scenarios
from benchmark.tables.controls import chance_flips
from benchmark.utils.errors import UserError


def at(alpha, target="multiply", defense="none", seed=0):
    """A victim of alpha 0.2 whose trigger has another alpha on the test images."""
    record = make_record(target, defense, seed, alpha=0.2, effect=alpha)
    if alpha == 0.2:
        return record
    settings = record.attack.trigger.resolved | {"alpha": alpha}
    tested = Choice(name="blended", resolved=settings, given=settings)
    return record.model_copy(update={"attack": record.attack.model_copy(update={"test_trigger": tested})})


def records():
    return [at(alpha, target, defense, seed) for target in ("multiply", "minus") for alpha in (0.05, 0.1, 0.2)
            for defense in ("none", "anp") for seed in (0, 1)]


def test_a_line_for_each_defense_and_for_the_clean_counter_after_it_over_the_strength():
    found = scenarios(records())
    panels = {axes.get_title().partition("\n")[0]: axes for axes in draw_strengths(found).figure.axes}
    assert {*panels} == {"blended/multiply", "blended/minus"}
    for attack, axes in panels.items():
        lines = {line.get_label(): line for line in axes.lines}
        assert {*lines} == {"no defense", "clean counter, no defense", "anp", "clean counter, anp"}
        weakest = next(one for one in found if one.settings.get("test_trigger.alpha") == "0.05"
                       and f"{one.settings['trigger']}/{one.settings['target']}" == attack)
        for name, defense in (("no defense", "none"), ("anp", "anp")):
            [result] = weakest.defended(defense)
            assert lines[name].get_xdata() == pytest.approx([0.25, 0.5, 1])
            assert lines[name].get_ydata()[0] == result.numbers["flip_rate"]
            assert lines[f"clean counter, {name}"].get_ydata()[0] == pytest.approx(chance_flips(result), nan_ok=True)


def test_the_caption_says_what_is_solid_and_what_dashed_and_of_how_many_seeds():
    caption = draw_strengths(scenarios(records())).caption
    assert "before and after defenses (solid)" in caption and "2 seeds (0 and 1); 40 test images." in caption


def test_records_with_one_strength_are_refused():
    with pytest.raises(UserError, match="figure strength: no attack with two strengths"):
        draw_strengths(scenarios([at(0.2), make_record(None)]))
