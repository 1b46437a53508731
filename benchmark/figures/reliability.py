"""Reliability of counts: count over truth in bins of the truth, before and after a defense."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.figures.captions import BARS, sample
from benchmark.figures.count_pairs import LINES, Counts, both, pair_panels, pairs_with_people
from benchmark.figures.style import (BAND, STYLE, Picture, add_legend, draw_bars,
                                     number_logarithmic, plain)
from benchmark.metrics.bootstrap import bootstrap, mean
from benchmark.results.scenarios import Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 5  # of the truth; each has about as many images as the others
APART = 0.012  # of the axis between the bars of two lines, which would hide each other


class Bin(NamedTuple):
    """The images whose true counts are in a range.

    images: how many. truth: their mean true count. ratio: the sum of their counts over that of
    their true counts, a mean over seeds. interval: its 95% interval.
    """

    images: int
    truth: float
    ratio: float
    interval: tuple[float, float]


def draw_reliability(scenarios: Sequence[Scenario], defense: str) -> Picture:
    """A panel for each victim: mean count / mean true count in bins of the true count.

    A line for each counter and kind of image, as in `draw_kde`. A line at 1 is a calibrated count.

    Raises as `pairs_with_people`.
    """
    from matplotlib import rc_context

    pairs = pairs_with_people(scenarios, defense)
    truths = [pair.before.truth for pair in pairs]
    wide = max(map(np.max, truths)) >= 10 * min(truth[truth > 0].min() for truth in truths)
    numbers: set[int] = set()
    with rc_context(STYLE):
        figure, columns = pair_panels(pairs, ["count / true count"], sharey=True)
        if wide:
            figure.axes[0].set_xscale("log")
            number_logarithmic(figure.axes[0].xaxis)
        for (axes,), pair in zip(columns, pairs):
            axes.axhspan(0.9, 1.1, color=BAND, linewidth=0)
            axes.axhline(1, color="0.5", linewidth=0.5)
            shift = -2.0
            for counts, colour, marker, applied in both(pair, defense):
                for name, style in LINES.items():
                    hollow = {"markerfacecolor": "white"} if name == "clean" else {}
                    numbers |= _draw_line(axes, counts, name, shift, wide, color=colour,
                                          linestyle=style, marker=marker or "^",
                                          label=plain(f"{name}, {applied}"), **hollow)
                    shift += 1
            if pair.before.reference is not None:
                _draw_line(axes, pair.before, "reference", shift, wide, color="black",
                           linestyle="--", marker="_", label="clean counter")
        figure.supxlabel("true count (people)", fontsize=STYLE["font.size"])
        add_legend(figure)
    caption = (
        "Reliability of counts: the sum of the counts over the sum of the true counts, in "
        f"{BINS} bins of the true count with {_range(numbers)} images each, of the "
        f"victims without a defense and after {defense}, on clean and on triggered images, and of "
        "the clean counter on clean images. A count is calibrated where its line is at 1; grey: "
        "within 10%. Each point stands at the mean true count of its bin, a little to the side of "
        f"the others. Vertical bars: {BARS}. Points are means over seeds. "
        + sample([result for pair in pairs for result in pair.results]))
    return Picture(figure, caption)


def bins(counts: Counts, column: str) -> list[Bin]:
    """The ratio of sums in each bin of the true count that has images. See `Bin`.

    Images without people are left out. Images with equal true counts share a bin.
    """
    truth = counts.truth[0]  # the same images under every seed
    people = truth[truth > 0]
    edges = np.unique(np.quantile(people, np.linspace(0, 1, BINS + 1)[1:-1]))
    number = np.searchsorted(edges, truth, side="left")
    found = []
    for place in range(len(edges) + 1):
        inside = (number == place) & (truth > 0)
        if inside.any():
            seeds = [np.column_stack([seed[inside], truth[inside]])
                     for seed in getattr(counts, column)]
            ratio = float(np.mean([seed[:, 0].sum() / seed[:, 1].sum() for seed in seeds]))
            found.append(Bin(int(inside.sum()), float(truth[inside].mean()), ratio,
                             bootstrap(seeds, _ratio)))
    return found


def _ratio(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The ratio of the mean count to the mean true count in each bootstrap replicate, [R]."""
    means = mean(values, times)
    return means[:, 0] / means[:, 1]


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _draw_line(axes: "Axes", counts: Counts, column: str, shift: float, wide: bool,
               **style: str) -> set[int]:
    """Draw a line and its bars, shifted by some bars' distance; return the bins' numbers of images.

    wide: whether the axis of true counts is logarithmic.
    """
    found = bins(counts, column)
    truth = np.array([one.truth for one in found])
    span = counts.truth.max() - counts.truth.min()
    x = truth * np.exp(3 * APART * shift) if wide else truth + APART * shift * span
    draw_bars(axes, x, [one.interval for one in found], style["color"], width=0.8)
    axes.plot(x, [one.ratio for one in found], linewidth=0.9, markersize=2.8, **style)
    return {one.images for one in found}
