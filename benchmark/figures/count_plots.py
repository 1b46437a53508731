"""Plots of the counts per image, from records alone: densities of count / truth, and scatter."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from benchmark.figures.captions import sample
from benchmark.figures.count_pairs import (LINES, CountPair, Counts, both, count_pairs, pair_panels,
                                           pairs_with_people)
from benchmark.figures.style import (BAND, DEFENDED, STYLE, UNDEFENDED, Picture, add_legend,
                                     number_logarithmic, plain)
from benchmark.results.scenarios import Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 0.01  # bandwidth if all ratios are equal


def density(ratios: np.ndarray, at: np.ndarray, bandwidth: float) -> np.ndarray:
    """Kernel density estimate at some ratios, float [len(at)]. Parzen 1962.

    bandwidth: the standard deviation of the Gaussian kernel.

    >>> density(np.array([1.0, 1.0]), np.array([1.0]), 0.5).round(3).tolist()
    [0.798]
    """
    return norm.pdf(at[:, None], ratios, bandwidth).mean(axis=1)


def scott(ratios: np.ndarray) -> float:
    """Scott's bandwidth, s n^(-1/5), with the standard deviation s of the n ratios.

    Scott, Multivariate Density Estimation, 1992. It is at least LEAST.

    >>> round(scott(np.array([0.0, 2.0] * 16)), 3)
    0.508
    """
    return max(LEAST, float(np.std(ratios, ddof=1)) * len(ratios) ** -0.2)


BANDWIDTHS = {"density\n(paper's bandwidth, 0.5)": lambda ratios: 0.5,
              "density\n(bandwidth by Scott's rule)": scott}


def draw_kde(scenarios: Sequence[Scenario], defense: str) -> Picture:
    """Densities of r: for each victim a panel with the paper's bandwidth and one with Scott's.

    Each panel has a line for each counter and kind of image. Raises as `pairs_with_people`.
    """
    from matplotlib import rc_context

    pairs = pairs_with_people(scenarios, defense)
    ratios = [counts.ratios(name) for pair in pairs for counts in (pair.before, pair.after)
              for name in LINES]
    at = np.linspace(0, max(2.0, np.quantile(np.concatenate(ratios), 0.99)), 400)
    with rc_context(STYLE):
        figure, columns = pair_panels(pairs, list(BANDWIDTHS), sharey="row")
        for column, pair in zip(columns, pairs):
            for axes, bandwidth in zip(column, BANDWIDTHS.values()):
                axes.axvspan(0.9, 1.1, color=BAND, linewidth=0)
                _draw_lines(axes, pair, defense, at, bandwidth)
                axes.set_xlim(at[0], at[-1])
        for axes in figure.axes:
            axes.set_ylim(bottom=0)  # after all lines, which set the top of a shared axis
        figure.supxlabel("count / true count", fontsize=STYLE["font.size"])
        add_legend(figure)
    caption = (
        f"Densities of count / true count of the victims without a defense and after {defense}, on "
        "clean and on triggered images with people, and of the clean counter on clean images. "
        "Grey: within 10% of the truth. Upper panels: kernel density with the paper's bandwidth of "
        "0.5, which blurs the grey band, as that is 0.2 wide. Lower panels: bandwidth by Scott's "
        f"rule. {_pooled(pairs)}")
    return Picture(figure, caption)


def _draw_lines(axes: "Axes", pair: CountPair, defense: str, at: np.ndarray,
                bandwidth: Callable[[np.ndarray], float]) -> None:
    for counts, colour, marker, applied in both(pair, defense):
        for name, style in LINES.items():
            ratios = counts.ratios(name)
            y = density(ratios, at, bandwidth(ratios))
            marked = np.flatnonzero(y > 0.05 * y.max())[::16]  # no markers along the axis
            axes.plot(at, y, style, color=colour, marker=marker, markersize=2.2,
                      markevery=marked.tolist(), label=plain(f"{name}, {applied}"))
    if pair.before.reference is not None:
        ratios = pair.before.ratios("reference")
        axes.plot(at, density(ratios, at, bandwidth(ratios)), "--", color="black", linewidth=0.8,
                  label="clean counter")


def draw_scatter(scenarios: Sequence[Scenario], defense: str) -> Picture:
    """Counts over true counts: two panels for each victim, without and with the defense.

    The axes are logarithmic if the true counts span a factor of 10 or more.

    Raises as `count_pairs`.
    """
    from matplotlib import rc_context

    pairs = count_pairs(scenarios, defense)
    truths = np.concatenate([pair.before.truth.ravel() for pair in pairs])
    ends = np.array([truths.min(), truths.max()])
    logarithmic = 0 < 10 * ends[0] <= ends[1]
    with rc_context(STYLE):
        figure, columns = pair_panels(pairs, [f"count ({name})" for name in ("none", defense)],
                                      sharey=True)
        if logarithmic:
            figure.axes[0].set(xscale="log", yscale="log")
            number_logarithmic(figure.axes[0].xaxis)
            number_logarithmic(figure.axes[0].yaxis)
        for column, pair in zip(columns, pairs):
            for axes, counts in zip(column, (pair.before, pair.after)):
                _draw_points(axes, counts, ends, least=1 if logarithmic else -math.inf)
        figure.supxlabel("true count", fontsize=STYLE["font.size"])
        add_legend(figure)
    floor = " Counts below 1 are drawn at 1." if logarithmic else ""
    caption = (
        "Counts over true counts of the victims without a defense (upper panels) and after "
        f"{defense} (lower panels): each image without and with the trigger. Grey, between the "
        f"lines: counts within 10% of the truth.{floor} {_pooled(pairs)}")
    return Picture(figure, caption)


def _draw_points(axes: "Axes", counts: Counts, ends: np.ndarray, least: float) -> None:
    """The points of a panel. ends: the range of true counts. least: the lowest count drawn."""
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=BAND, linewidth=0)
    edges = np.outer(ends, (0.9, 1.1))
    axes.plot(ends, edges, color="black", linewidth=0.4, zorder=3)  # above the markers
    for name, colour, marker in (("triggered", UNDEFENDED, "^"), ("clean", DEFENDED, "o")):
        axes.plot(counts.truth.ravel(), np.maximum(getattr(counts, name), least).ravel(), marker,
                  color=colour, markersize=2.2, markerfacecolor="none", markeredgewidth=0.5,
                  label=name)


def _pooled(pairs: Sequence[CountPair]) -> str:
    results = [result for pair in pairs for result in pair.results]
    seeds = {len(result.records) for result in results}
    return ("The images of all seeds are pooled. " if seeds != {1} else "") + sample(results)
