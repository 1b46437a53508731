"""Suspicions: how suspicious detectors of counters find each victim, beside the clean counters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.figures.captions import listed, settings
from benchmark.figures.style import COLUMN, CONTROL, STYLE, UNDEFENDED, Picture, plain
from benchmark.results.scenarios import Scenario
from benchmark.tables.detection import Row, counter_rows, detectors, is_detected
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALARM = 0.95  # the quantile of the clean counters beyond which a victim counts as found


def draw_suspicions(scenarios: Sequence[Scenario]) -> Picture:
    """A panel for each detector: dots for the clean counters and for the victims of each attack.

    A dashed line stands at the 95% quantile of the clean counters.

    Raises:
        UserError: no victim was scored by a detector of counters.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = counter_rows([(scenario, result) for scenario in scenarios
                         for result in scenario.results if is_detected(result)])
    if not rows:
        raise UserError("figure suspicions: no victim was scored; expected records of a detector "
                        "of counters, for instance inversion")
    panels: dict[str, list[Row]] = {}
    for row, detector in zip(rows, detectors(rows)):
        panels.setdefault(f"{row.model}: {detector}", []).append(row)
    lines = max(map(len, panels.values()))
    with rc_context(STYLE):
        figure = Figure((COLUMN * len(panels), 0.7 + 0.2 * lines), layout="constrained")
        for axes, (title, group) in zip(figure.subplots(1, len(panels), squeeze=False)[0],
                                        panels.items()):
            _draw_detector(axes, title, group)
    return Picture(figure, _caption(rows))


def _draw_detector(axes: "Axes", title: str, rows: Sequence[Row]) -> None:
    """The clean counters above the victims of each attack. rows: 'all' and, if several, each."""
    import numpy as np

    clean = rows[0].detections[0].clean
    victims = {row.attack: row.detections[0].triggered for row in rows[1:] or rows}
    for place, (name, scores) in enumerate({"clean": clean, **victims}.items()):
        colour, marker = (UNDEFENDED, "o") if place else (CONTROL, "^")
        axes.plot(scores, [place] * len(scores), marker, color=colour, markerfacecolor="none",
                  markeredgewidth=0.7)
    axes.axvline(float(np.quantile(clean, ALARM)), linestyle="--", color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(victims) + 1), [plain(name) for name in ("clean", *victims)])
    axes.set_ylim(len(victims) + 0.6, -0.6)  # the clean counters on top
    axes.set_title(plain(title))
    axes.set_xlabel("suspicion")


def _caption(rows: Sequence[Row]) -> str:
    results = [row.result for row in rows]
    numbers = sorted({len(row.detections[0].clean) for row in rows})
    return ("Suspicion of each clean counter (triangles) and of each victim (circles, a line for "
            f"each attack) by detectors of counters; {listed(numbers, 'or')} clean counters. "
            "Dashed: the 95% quantile of the clean counters. The scales of two detectors have "
            f"nothing to do with each other. {settings(results)}")
