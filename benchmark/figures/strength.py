"""Strengths of a trigger on the test images: the flips that are left as it fades, per defense."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.captions import BARS, FLIP_RATE, sample
from benchmark.figures.named_results import NONE, victim_names
from benchmark.figures.style import (COLUMN, MARKERS, SERIES, STYLE, Picture, add_legend,
                                     draw_bars, plain)
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.tables.ablation import as_number
from benchmark.tables.controls import chance_flips
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_ROW = 2  # panels
TESTED = "test_trigger"  # the settings of the trigger on the test images begin with this
Victims = list[tuple[float, Scenario]]  # the same victims, from the weakest to the full strength


def draw_strengths(scenarios: Sequence[Scenario]) -> Picture:
    """A panel for each attack: its flip rate over its strength on the test images.

    The strength is relative to that of the training images. There is a line for each defense, with
    95% intervals, and a dashed one for the clean counter after the same defense.

    Raises:
        UserError: no attack with two strengths on the test images of the same victims.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = _panels(scenarios)
    if not panels:
        raise UserError("figure strength: no attack with two strengths on the test images of the "
                        "same victims; expected records such as those of `crowdbench run survival`")
    defenses = _defenses(panels)
    with rc_context(STYLE):
        rows = math.ceil(len(panels) / PER_ROW)
        columns = min(len(panels), PER_ROW)
        figure = Figure((max(COLUMN, 2.2 * columns), 1.7 * rows + 0.9), layout="constrained")
        axes_of = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        names = victim_names([victims[-1][1] for victims in panels])
        for name, victims, axes in zip(names, panels, axes_of):
            axes.set_title(plain(f"{name}\n{_visibility(victims[-1][1])}"))
            for place, defense in enumerate(defenses):
                _draw_line(axes, victims, defense, place)
        for axes in list(axes_of):  # the panel that is left empty
            axes.set_axis_off()
        figure.axes[0].set_ylim(-0.04, 1.04)
        figure.supxlabel("strength on the test images (share of that in training)",
                         fontsize=STYLE["font.size"])
        figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])
        add_legend(figure)
    return Picture(figure, _caption([result for victims in panels for _, scenario in victims
                                     for result in scenario.results if result.defense in defenses]))


def _panels(scenarios: Sequence[Scenario]) -> list[Victims]:
    """The victims whose trigger was tested at two strengths or more, ordered by their names."""
    alike: dict[tuple, Victims] = defaultdict(list)
    for scenario in scenarios:
        strength = _strength(scenario)
        if strength is not None:
            rest = tuple(sorted(item for item in scenario.settings.items()
                                if not item[0].startswith(TESTED)))
            alike[rest].append((strength, scenario))
    found = [sorted(victims, key=lambda one: one[0]) for victims in alike.values()]
    return sorted((victims for victims in found if len(victims) > 1),
                  key=lambda victims: (victims[0][1].model, victims[0][1].attack))


def _strength(scenario: Scenario) -> float | None:
    """The number of the test trigger's one changed setting, relative to its value in training.

    None for a clean counter, for another trigger, and where the settings do not tell a strength.
    """
    settings = scenario.settings
    if settings.get(TESTED) == "as trained":
        return 1.0
    if TESTED not in settings or settings[TESTED] != settings["trigger"]:
        return None
    changed = [(as_number(value), as_number(settings.get(key.removeprefix("test_"), "")))
               for key, value in settings.items() if key.startswith(f"{TESTED}.")
               and value != settings.get(key.removeprefix("test_"))]
    if len(changed) != 1:
        return None
    tested, trained = changed[0]
    return tested / trained if math.isfinite(tested) and trained > 0 else None


def _defenses(panels: Sequence[Victims]) -> list[str]:
    """The defenses whose counters have a flip rate, none first."""
    names = {result.defense for victims in panels for _, scenario in victims
             for result in scenario.results if "flip_rate" in result.numbers}
    return sorted(names, key=lambda name: (name != "none", name))


def _draw_line(axes: "Axes", victims: Victims, defense: str, place: int) -> None:
    """The flips after one defense, and those of the clean counter after it. place: its number."""
    found = [(strength, result) for strength, scenario in victims
             for result in scenario.defended(defense)[:1] if result]
    if not found:
        return
    x = [strength for strength, _ in found]
    name = NONE if defense == "none" else defense
    colour, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
    draw_bars(axes, x, [result.interval("flip_rate") for _, result in found], colour, width=1)
    numbers = [result.numbers.get("flip_rate", math.nan) for _, result in found]
    axes.plot(x, numbers, color=colour, marker=marker, clip_on=False, label=plain(name))
    axes.plot(x, [chance_flips(result) for _, result in found], "--", color=colour, marker=marker,
              markerfacecolor="white", clip_on=False, label=plain(f"clean counter, {name}"))


def _visibility(scenario: Scenario) -> str:
    """The mean PSNR of the stamped training images; '' if the records have none."""
    values = [value for record in scenario.results[0].records if record.attack
              for value in record.attack.psnr]
    return f"PSNR {np.mean(values):.1f} dB at strength 1" if values else ""


def _caption(results: Sequence[Result]) -> str:
    return ("Flips of triggers that are weaker on the test images than in training, before and "
            "after defenses (solid), and of clean counters after the same defense with the same "
            f"trigger (dashed, hollow). Points are means over seeds: {FLIP_RATE}. Flips beyond the "
            f"dashed line are the backdoor's. Vertical bars: {BARS}. {sample(results)}")
