"""Training curves: the validation bias and MAE of each counter, epoch by epoch."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from benchmark.figures.captions import listed, seed_list, settings
from benchmark.figures.style import COLUMN, SERIES, STYLE, Picture, add_legend, plain
from benchmark.results.record import MadeStage
from benchmark.results.scenarios import Scenario, suffixes
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", "--", ":", "-.")  # of seeds, in order
LARGEST = 1e100  # of a number that can be drawn; records hold numbers by anybody
PER_ROW = 3  # panels side by side; below each stands that of its MAE


@dataclass(frozen=True)
class Curve:
    """The errors of one training after its epochs.

    seed: the seed of the training.
    points: [epoch, MAE, bias], in people, after each epoch whose errors were measured.
    kept: the epoch whose weights were kept.
    """

    seed: int
    points: list[list[float]]
    kept: int | None


def draw_training_curves(scenarios: Sequence[Scenario]) -> Picture:
    """Two panels for each sort of counter: bias and MAE over epochs, a line for each seed.

    The bias is the mean of count - truth on the validation images, in people. A dot marks the epoch
    whose weights were kept. Clean counters and victims stand in panels of their own, with the same
    axes.

    Raises:
        UserError: no training among the records whose errors were measured after its epochs.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = _panels(scenarios)
    if not panels:
        raise UserError("figure curves: no record holds the validation errors of a training; "
                        "expected records of trainings with training.select = validation")
    titles = list(panels)
    seeds = sorted({curve.seed for curves in panels.values() for curve in curves})
    styles = {seed: (SERIES[number % len(SERIES)], DASHES[number % len(DASHES)])
              for number, seed in enumerate(seeds)}
    lines = [titles[start : start + PER_ROW] for start in range(0, len(titles), PER_ROW)]
    columns = min(len(titles), PER_ROW)
    with rc_context(STYLE):
        figure = Figure((0.66 * COLUMN * columns + 0.3, 2.6 * len(lines) + 0.3),
                        layout="constrained")
        grid = figure.subplots(2 * len(lines), columns, sharex=True, sharey=False, squeeze=False)
        for number, line in enumerate(lines):
            bias_axes, mae_axes = grid[2 * number], grid[2 * number + 1]
            for title, above, below in zip_longest(line, bias_axes, mae_axes):
                if title is None:
                    above.set_axis_off()
                    below.set_axis_off()
                else:
                    above.set_title(plain(title))
                    _draw_curves(above, below, panels[title], styles)
            bias_axes[0].set_ylabel("bias (people)")
            mae_axes[0].set_ylabel("MAE (people)")
        _share_limits(grid[0::2].ravel())
        _share_limits(grid[1::2].ravel())
        figure.supxlabel("epoch", fontsize=STYLE["font.size"])
        add_legend(figure)
    results = [result for scenario in scenarios for result in scenario.results]
    held_out = listed(sorted({f"{record.training.get('hold_out', 'an unrecorded share')}"
                              for result in results for record in result.records}), "or")
    return Picture(figure, (
        "Trainings: the bias, which is the mean of count - truth, and the MAE after each epoch, in "
        f"people, on validation images, which are {held_out} of the training images. A line for "
        "each seed; a dot marks the epoch whose weights were kept. Clean counters and victims have "
        f"panels of their own. {seed_list(seeds)}, one training each, so there are no bars. "
        f"{settings(results)}"))


def _panels(scenarios: Sequence[Scenario]) -> dict[str, list[Curve]]:
    """The curves of the clean counters and of the victims, by the titles of their panels."""
    panels: dict[str, dict[str, Curve]] = defaultdict(dict)
    scenarios = sorted(scenarios, key=lambda scenario: (scenario.model, scenario.attack != "clean"))
    endings = suffixes([scenario.settings for scenario in scenarios],
                       shown=("model", "trigger", "target"))
    for scenario, ending in zip(scenarios, endings):
        # A victim's record also holds the stage of its clean counter.
        stage = "clean" if scenario.attack == "clean" else "victim"
        title = f"{scenario.model} {scenario.attack}{ending}"
        for record in (record for result in scenario.results for record in result.records):
            facts = record.provenance.get("stages", {}).get(stage, {})
            curve = _curve(facts, record.seed)
            if curve:
                panels[title][facts["key"]] = curve
    return {title: sorted(curves.values(), key=lambda curve: curve.seed)
            for title, curves in panels.items()}


def _curve(facts: MadeStage, seed: int) -> Curve | None:
    """The curve of a stage, from the facts in a record; None where its errors were not measured."""
    points = [point for point in facts.get("validation", [])
              if len(point) == 3 and all(abs(value) <= LARGEST for value in point)]
    if not points or "key" not in facts:
        return None
    return Curve(seed, points, facts.get("best_epoch"))


def _draw_curves(bias_axes: "Axes", mae_axes: "Axes", curves: Sequence[Curve],
                 styles: Mapping[int, tuple[str, str]]) -> None:
    """Draw the curves of a panel and of that below it. styles: colour and dashes of each seed."""
    bias_axes.axhline(0, color="0.6", linewidth=0.6)
    for curve in curves:
        colour, dashes = styles[curve.seed]
        epochs, maes, biases = zip(*curve.points)
        for axes, errors in ((bias_axes, biases), (mae_axes, maes)):
            axes.plot(epochs, errors, dashes, color=colour, linewidth=0.8,
                      label=f"seed {curve.seed}")
            kept = [(epoch, error) for epoch, error in zip(epochs, errors) if epoch == curve.kept]
            if kept:
                axes.plot(*zip(*kept), "o", color=colour)


def _share_limits(panels: Sequence["Axes"]) -> None:
    """Give the panels that show something the same limits of their y-axis."""
    drawn = [axes for axes in panels if axes.axison]
    low = min(axes.get_ylim()[0] for axes in drawn)
    high = max(axes.get_ylim()[1] for axes in drawn)
    for axes in drawn:
        axes.set_ylim(low, high)
