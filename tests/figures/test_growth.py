"""The figure of growth: its points and bars are the numbers of undefended victims and of their clean counters."""

import numpy as np
import pytest
from factories import make_record

from benchmark.figures.growth import draw_growth
from benchmark.figures.style import save
from benchmark.results.scenarios import scenarios
from benchmark.utils.errors import UserError


def records(**more):
    """Attacks at three alphas and two poison rates, and a defended victim, which no line shows."""
    found = [make_record(target, alpha=alpha, poison_rate=rate, seed=seed, effect=2 * alpha + rate, **more)
             for target in ("minus", "multiply") for alpha, rate in ((0.05, 0.1), (0.1, 0.1), (0.2, 0.1), (0.1, 0.3))
             for seed in (0, 1)]
    return [*found, make_record("minus", defense="anp", effect=0)]


def panels(found):
    """By setting and number, the panels of the figure."""
    figure = draw_growth(found).figure
    columns = np.reshape(figure.axes, (3, -1)).T
    return {(column[-1].get_xlabel(), number): axes for column in columns
            for number, axes in zip(("flip_rate", "rho_asr", "rho_acc"), column)}


REFERENCES = {"flip_rate": "reference_flip_rate", "rho_asr": "asr0", "rho_acc": "reference_rho_acc"}


@pytest.mark.parametrize("number", REFERENCES)
def test_lines_and_bars_are_the_numbers_and_intervals_of_victims_and_clean_counters(number):
    found = scenarios(records())
    axes = panels(found)["alpha", number]
    victims = {(scenario.strategy, scenario.settings["trigger.alpha"]): scenario.defended("none")[0]
               for scenario in found if scenario.settings.get("poison_rate") == "0.1"}
    lines = {line.get_label(): line for line in axes.lines}
    bars = {tuple(path.vertices[:, 1]) for group in axes.collections for path in group.get_paths()}
    for target in ("minus", "multiply"):
        results = [victims[target, alpha] for alpha in ("0.05", "0.1", "0.2")]
        for label, key in ((f"blended/{target}", number), (f"clean counter, blended/{target}", REFERENCES[number])):
            assert lines[label].get_xdata().tolist() == [0.05, 0.1, 0.2]
            assert lines[label].get_ydata().tolist() == [result.numbers[key] for result in results]
            assert {result.interval(key) for result in results} <= bars
    assert len(lines) == 4


def test_each_setting_that_varies_has_a_column_and_the_caption_tells_seeds_images_and_settings():
    found = scenarios(records())
    assert {setting for setting, _ in panels(found)} == {"alpha", "poison rate"}
    caption = draw_growth(found).caption
    assert "Growth of attacks with alpha and poison rate:" in caption
    assert "2 seeds (0 and 1); 40 test images. Model: csrnet." in caption and "epochs" not in caption


def test_lines_are_told_apart_without_colour():
    for axes in panels(scenarios(records())).values():
        assert len({(line.get_marker(), line.get_linestyle()) for line in axes.lines}) == len(axes.lines) == 4


def test_a_victim_without_its_clean_counter_has_no_line_beside_it(tmp_path):
    alone = [record.model_copy(update={"images": record.images.model_copy(
        update={"reference_clean": None, "reference_triggered": None})}) for record in records()]
    picture = draw_growth(scenarios(alone))
    lines = {line.get_label(): line.get_ydata() for line in picture.figure.axes[0].lines}
    assert np.isnan(lines["clean counter, blended/minus"]).all() and not np.isnan(lines["blended/minus"]).any()
    save(picture, tmp_path / "growth")


def test_victims_that_differ_in_more_than_one_setting_are_no_growth():
    with pytest.raises(UserError, match="no two victims .* differ in one of alpha, poison_rate, epochs alone"):
        draw_growth(scenarios([make_record(alpha=0.1, poison_rate=0.1), make_record(alpha=0.2, poison_rate=0.2)]))
