"""Growth of attacks: their effect over alpha, poison rate and epochs, beside the clean counter."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.figures.captions import BARS, FLIP_RATE, RHO_ACC, listed, sample
from benchmark.figures.named_results import victim_names
from benchmark.figures.style import (COLUMN, MARKERS, SERIES, STYLE, Picture, add_legend,
                                     draw_bars, plain)
from benchmark.paper.trends import GROWTH
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, short_name
from benchmark.tables.ablation import as_number
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The numbers of a row of panels: of the victim, and of its clean counter.
ROWS = {"flip rate": ("flip_rate", "reference_flip_rate"),
        "$\\rho_{\\mathrm{Asr}}$": ("rho_asr", "asr0"),
        "$\\rho_{\\mathrm{Acc}}$": ("rho_acc", "reference_rho_acc")}
Line = tuple[Scenario, ...]  # victims that differ in one setting alone, from its smallest value


def draw_growth(scenarios: Sequence[Scenario]) -> Picture:
    """A column for each setting of GROWTH that varies; rows of flip rate, rho_Asr and rho_Acc.

    A line for each attack, dashed for its clean counter, with 95% intervals. The victims of a line
    differ in the setting alone, and no defense was applied to them.

    Raises:
        UserError: no two victims differ in one of the settings alone.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = {key: lines for key in GROWTH if (lines := _lines(scenarios, key))}
    if not columns:
        raise UserError("figure growth: no two victims without a defense differ in one of "
                        f"{', '.join(map(short_name, GROWTH))} alone; expected records such as "
                        "those of records/laptop and records/laptop-growth")
    names = _names(columns)
    with rc_context(STYLE):
        figure = Figure((max(COLUMN, 2.2 * len(columns)), 0.7 + 1.5 * len(ROWS)),
                        layout="constrained")
        panels = figure.subplots(len(ROWS), len(columns), sharex="col", sharey=True, squeeze=False)
        for column, (key, lines) in zip(panels.T, columns.items()):
            for axes, pair in zip(column, ROWS.values()):
                for line in lines:
                    _draw_line(axes, line, key, pair, names)
            _name_values(column[-1], lines, key)
        for row, label in zip(panels, ROWS):
            row[0].set_ylabel(f"{label} (share of images)")
        panels[0, 0].set_ylim(-0.04, 1.04)
        add_legend(figure)
    results = [_victim(scenario) for lines in columns.values() for line in lines
               for scenario in line]
    return Picture(figure, _caption(list(columns), results))


def _lines(scenarios: Sequence[Scenario], key: str) -> list[Line]:
    """The victims that differ in a setting alone, two or more in each line."""
    alike: dict[tuple, list[Scenario]] = defaultdict(list)
    for scenario in scenarios:
        result = _victim(scenario)
        if result and key in scenario.settings and result.successes("flip_rate").size:
            rest = tuple(sorted(item for item in scenario.settings.items() if item[0] != key))
            alike[rest].append(scenario)
    return [tuple(sorted(line, key=lambda victim: as_number(victim.settings[key])))
            for line in alike.values() if len(line) > 1]


def _victim(scenario: Scenario) -> Result | None:
    return scenario.defended("none")[0]


def _names(columns: Mapping[str, Sequence[Line]]) -> dict[tuple[str, int], tuple[str, int]]:
    """The name of each line and its number among the names, by column and id of its first victim.

    A line has the name of its attack, with the settings in which lines of one column differ.
    """
    names = {}
    for key, lines in columns.items():
        rest = [Scenario({k: v for k, v in line[0].settings.items() if k != key}, ())
                for line in lines]
        names |= {(key, id(line[0])): name for line, name in zip(lines, victim_names(rest))}
    order = sorted(set(names.values()))
    return {place: (name, order.index(name)) for place, name in names.items()}


def _draw_line(axes: "Axes", line: Line, key: str, pair: tuple[str, str],
               names: Mapping[tuple[str, int], tuple[str, int]]) -> None:
    """A victim's line of one number and that of its clean counter. pair: the two numbers."""
    name, number = names[key, id(line[0])]
    x = [as_number(victim.settings[key]) for victim in line]
    results = [_victim(victim) for victim in line]
    colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
    for number_key, label, style in zip(pair, (name, f"clean counter, {name}"), ("-", "--")):
        fill = colour if style == "-" else "white"
        draw_bars(axes, x, [result.interval(number_key) for result in results], colour, width=1)
        y = [result.numbers.get(number_key, math.nan) for result in results]
        axes.plot(x, y, style, color=colour, marker=marker, markerfacecolor=fill, clip_on=False,
                  label=plain(label))


def _name_values(axes: "Axes", lines: Sequence[Line], key: str) -> None:
    """The name of a column's setting, and a tick at each of its values."""
    values = {victim.settings[key] for line in lines for victim in line}
    texts = sorted(values, key=as_number)
    axes.set_xticks([as_number(text) for text in texts], [plain(text) for text in texts])
    axes.set_xlabel(plain(short_name(key).replace("_", " ")))


def _caption(settings: Sequence[str], results: Sequence[Result]) -> str:
    shown = listed([short_name(key).replace("_", " ") for key in settings])
    return (f"Growth of attacks with {shown}: numbers of undefended victims (solid) that differ in "
            "this setting alone, and of their clean counters with the same trigger (dashed, "
            f"hollow). Points are means over seeds: {FLIP_RATE}; rho_Asr is the share of triggered "
            f"images whose count is more than 10% off in the attacker's direction; {RHO_ACC}. The "
            f"poison rate is added over original images. Vertical bars: {BARS}. {sample(results)}")
