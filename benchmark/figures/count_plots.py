"""Figures of the counts per image, from records alone: their ratios to the truth as densities, and count over truth."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from benchmark.figures.style import COLUMN, LETTERS, STYLE, plain, save
from benchmark.results.record import Record
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE, BLUE, GREY = "#D55E00", "#0072B2", "0.88"  # two of Okabe and Ito's, safe for colour-blind readers
LINES = {"triggered": "-", "clean": ":"}
LEAST = 0.01  # bandwidth, where all ratios are equal
ACROSS = 4  # panels
KDE_NOTE = ("count / truth of images with people (grey: within 10%). A bandwidth of 0.5 hides what matters in a band "
            "0.2 wide.")


@dataclass(frozen=True)
class Counts:
    """What was counted on the test images, seed after seed. reference: by the clean counter, on clean images."""

    truth: np.ndarray
    clean: np.ndarray
    triggered: np.ndarray
    reference: np.ndarray | None  # of an audit there is none

    def ratios(self, column: str) -> np.ndarray:
        """r = count / truth of the images that show people."""
        people = self.truth > 0
        return getattr(self, column)[people] / self.truth[people]


@dataclass(frozen=True)
class Pair:
    """A victim before and after a defense, of the seeds that both were run with."""

    title: str
    before: Counts
    after: Counts


def write_kde(scenarios: Sequence[Scenario], defense: str, out: Path) -> None:
    """Draw the densities of r = count / truth to out.png and out.pdf, each whole or not at all. Raises as `pairs`."""
    save(draw_kde(scenarios, defense), out)


def write_scatter(scenarios: Sequence[Scenario], defense: str, out: Path) -> None:
    """Draw counts over true counts to out.png and out.pdf, each whole or not at all. Raises as `pairs`."""
    save(draw_scatter(scenarios, defense), out)


def pairs(scenarios: Sequence[Scenario], defense: str) -> list[Pair]:
    """Each victim that was counted without a defense and with this one; one with other settings is another pair.

    Raises:
        UserError: no victim with this defense, or none that was counted without it too.
    """
    attacked = sorted((scenario for scenario in scenarios if scenario.strategy != "clean"),
                      key=lambda scenario: (scenario.model, scenario.attack))
    known = {result.defense for scenario in attacked for result in scenario.results if not result.detects} - {"none"}
    if defense not in known:
        raise UserError(f"figure: no victim with the defense {defense!r}: {did_you_mean(defense, known)}")
    found = [(scenario, before, after) for scenario in attacked for before in scenario.defended("none")
             for after in scenario.defended(defense) if before and after]
    attacks = suffixes([scenario.settings for scenario, _, _ in found], shown=("model", "trigger", "target"))
    defenses = suffixes([defense_settings(after) for _, _, after in found], shown=("model", "defense"))
    drawn = []
    for (scenario, before, after), settings, own in zip(found, attacks, defenses):
        seeds = [record.seed for record in after.records if record.seed in {other.seed for other in before.records}]
        if seeds:
            pooled = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))} pooled"
            title = [f"{scenario.model} {scenario.attack}", settings.strip(), f"{defense}{own}, {pooled}"]
            drawn.append(Pair("\n".join(filter(None, title)), _counts(before.records, seeds),
                              _counts(after.records, seeds)))
    if not drawn:
        raise UserError(f"figure: no victim with {defense} was counted with the same seed without a defense (none) too")
    return drawn


def _counts(records: Sequence[Record], seeds: Sequence[int]) -> Counts:
    images = [record.images for record in records if record.seed in seeds]
    columns = {name: np.concatenate([getattr(one, name) for one in images]) for name in ("truth", "clean", "triggered")}
    known = all(one.reference_clean for one in images)
    return Counts(**columns, reference=np.concatenate([one.reference_clean for one in images]) if known else None)


def density(ratios: np.ndarray, at: np.ndarray, bandwidth: float) -> np.ndarray:
    """Kernel density estimate with a Gaussian of this standard deviation, float [len(at)]. Parzen 1962.

    >>> density(np.array([1.0, 1.0]), np.array([1.0]), 0.5).round(3).tolist()
    [0.798]
    """
    return norm.pdf(at[:, None], ratios, bandwidth).mean(axis=1)


def scott(ratios: np.ndarray) -> float:
    """Scott's bandwidth, s n^(-1/5) with the standard deviation s of the data. Multivariate Density Estimation, 1992.

    >>> round(scott(np.array([0.0, 2.0] * 16)), 3)
    0.508
    """
    return max(LEAST, float(np.std(ratios, ddof=1)) * len(ratios) ** -0.2)


BANDWIDTHS = {"density\n(bandwidth 0.5, paper's)": lambda ratios: 0.5, "density\n(bandwidth by Scott's rule)": scott}


def draw_kde(scenarios: Sequence[Scenario], defense: str) -> "Figure":
    """Two panels per victim, with the paper's bandwidth and one that the data choose; a line per model and images.

    Raises as `pairs`.
    """
    from matplotlib import rc_context

    drawn = pairs(scenarios, defense)
    every = np.concatenate([counts.ratios(name) for pair in drawn for counts in (pair.before, pair.after)
                            for name in LINES])
    at = np.linspace(0, max(2.0, np.quantile(every, 0.99)), 400)
    with rc_context(STYLE):
        figure, columns = _panels([pair.title for pair in drawn], list(BANDWIDTHS), sharey="row")
        for column, pair in zip(columns, drawn):
            for axes, bandwidth in zip(column, BANDWIDTHS.values()):
                axes.axvspan(0.9, 1.1, color=GREY, linewidth=0)
                _draw_lines(axes, pair, defense, at, bandwidth)
                axes.set_xlim(at[0], at[-1])
        for axes in figure.axes:
            axes.set_ylim(bottom=0)  # after all lines of its row
        _explain(figure, KDE_NOTE)
    return figure


def _draw_lines(axes: "Axes", pair: Pair, defense: str, at: np.ndarray, bandwidth: Callable) -> None:
    for counts, colour, marker, told in ((pair.before, ORANGE, "", "none"), (pair.after, BLUE, "o", defense)):
        for name, style in LINES.items():
            ratios = counts.ratios(name)
            shown = density(ratios, at, bandwidth(ratios))
            marked = np.flatnonzero(shown > 0.05 * shown.max())[::12]  # none along the axis
            axes.plot(at, shown, style, color=colour, marker=marker, markersize=2.2, markevery=marked.tolist(),
                      label=plain(f"{name}, {told}"))
    if pair.before.reference is not None:
        ratios = pair.before.ratios("reference")
        axes.plot(at, density(ratios, at, bandwidth(ratios)), "--", color="black", linewidth=0.8, label="clean counter")


def draw_scatter(scenarios: Sequence[Scenario], defense: str) -> "Figure":
    """Two panels per victim, without and with the defense: counts of clean and triggered images over the true counts.

    The axes are logarithmic where the true counts reach over a factor of 10. Raises as `pairs`.
    """
    from matplotlib import rc_context

    drawn = pairs(scenarios, defense)
    every = np.concatenate([pair.before.truth for pair in drawn])
    with rc_context(STYLE):
        figure, columns = _panels([pair.title for pair in drawn], [f"count ({name})" for name in ("none", defense)],
                                  sharey=True)
        scale = "log" if 0 < 10 * every.min() <= every.max() else "linear"
        figure.axes[0].set(xscale=scale, yscale=scale)
        ends = np.array([every.min(), every.max()])
        for column, pair in zip(columns, drawn):
            for axes, counts in zip(column, (pair.before, pair.after)):
                axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GREY, linewidth=0)
                axes.plot(ends, np.outer(ends, (0.9, 1.1)), color="black", linewidth=0.4, zorder=3)  # above the markers
                for name, colour, marker in (("triggered", ORANGE, "^"), ("clean", BLUE, "o")):
                    shown = getattr(counts, name) if scale == "linear" else np.maximum(getattr(counts, name), 1)
                    axes.plot(counts.truth, shown, marker, color=colour, markersize=2.2, markerfacecolor="none",
                              markeredgewidth=0.5, label=name)
        floor = "; a count below 1 is drawn at 1" if scale == "log" else ""
        _explain(figure, f"true count (grey, between the lines: counted to within 10%{floor})")
    return figure


def _panels(titles: Sequence[str], rows: Sequence[str], sharey: bool | str) -> tuple["Figure", list[np.ndarray]]:
    """A figure and a column of panels for each title; the columns of a second line stand below those of the first."""
    from matplotlib.figure import Figure

    blocks = math.ceil(len(titles) / ACROSS)
    across = math.ceil(len(titles) / blocks)
    width = COLUMN * (1 if across <= 2 else 2)
    figure = Figure((width, 0.8 + 1.6 * blocks * len(rows)), layout="constrained")
    grid = figure.subplots(blocks * len(rows), across, sharex=True, sharey=sharey, squeeze=False)
    columns = [grid[len(rows) * block : len(rows) * (block + 1), place] for block in range(blocks)
               for place in range(across)]
    letters = int(LETTERS * width / across) - 4
    for column, title in zip(columns, titles):
        column[0].set_title(plain("\n".join(textwrap.fill(line, letters) for line in title.split("\n"))))
        column[-1].tick_params(labelbottom=True)  # also where another block follows
    for column in columns[::across]:
        for axes, row in zip(column, rows):
            axes.set_ylabel(plain(row))
    for column in columns[len(titles):]:
        for axes in column:
            axes.set_axis_off()
    return figure, columns[: len(titles)]


def _explain(figure: "Figure", note: str) -> None:
    """The key above all panels, and below them what is along the horizontal axis and how to read it."""
    letters = int(LETTERS * figure.get_figwidth())
    figure.supxlabel(textwrap.fill(note, letters), fontsize=STYLE["font.size"])
    key = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels())}
    room = max(1, letters // (6 + max(map(len, key))))
    figure.legend(key.values(), key, loc="outside upper center", ncols=math.ceil(len(key) / math.ceil(len(key) / room)))
