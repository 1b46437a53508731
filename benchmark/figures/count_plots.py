"""Plots of the counts per image, from records alone: densities of count / truth, and scatter."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from benchmark.figures.style import COLUMN, LETTERS, STYLE, plain
from benchmark.results.record import Record
from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE, BLUE = "#D55E00", "#0072B2"  # of Okabe and Ito's palette for colour-blind readers
GREY = "0.88"
LINES = {"triggered": "-", "clean": ":"}
LEAST = 0.01  # bandwidth if all ratios are equal
ACROSS = 4  # panels in a line, at most
KDE_NOTE = ("count / true count of images with people (grey: within 10%). A bandwidth of 0.5 blurs "
            "the grey band, which is 0.2 wide.")


@dataclass(frozen=True)
class Counts:
    """Counts on the test images, one seed after the other, float [S * N].

    reference: counts of the clean counter on clean images; None for an audit, which has no such
    counter.
    """

    truth: np.ndarray
    clean: np.ndarray
    triggered: np.ndarray
    reference: np.ndarray | None

    def ratios(self, column: str) -> np.ndarray:
        """r = count / truth of the images that show people."""
        people = self.truth > 0
        return getattr(self, column)[people] / self.truth[people]


@dataclass(frozen=True)
class CountPair:
    """Counts of a victim before and after a defense, for the seeds that both were run with."""

    title: str
    before: Counts
    after: Counts


def count_pairs(scenarios: Sequence[Scenario], defense: str) -> list[CountPair]:
    """A pair for each victim and each setting of the defense that was run on it.

    Raises:
        UserError: no victim with this defense, or none that was also counted without it.
    """
    attacked = [scenario for scenario in scenarios if scenario.strategy != "clean"]
    attacked.sort(key=lambda scenario: (scenario.model, scenario.attack))
    known = {result.defense for scenario in attacked for result in scenario.results
             if not result.detects}
    known.discard("none")
    if defense not in known:
        raise UserError(f"figure: no victim with the defense {defense!r}: "
                        f"{did_you_mean(defense, known)}")
    matches = [(scenario, before, after) for scenario in attacked
               for before in filter(None, scenario.defended("none"))
               for after in filter(None, scenario.defended(defense))]
    suffixes = row_suffixes([(scenario, after) for scenario, _, after in matches])
    pairs = []
    for (scenario, before, after), (attack, own) in zip(matches, suffixes):
        seeds = [seed for seed in after.seeds if seed in before.seeds]
        if not seeds:
            continue
        pooled = f"seeds {', '.join(map(str, seeds))} pooled"
        title = [f"{scenario.model} {scenario.attack}", attack.strip(),
                 f"{defense}{own}, {pooled if len(seeds) > 1 else f'seed {seeds[0]}'}"]
        pairs.append(CountPair("\n".join(filter(None, title)), _counts(before.records, seeds),
                               _counts(after.records, seeds)))
    if not pairs:
        raise UserError(f"figure: no victim with the defense {defense!r} was also counted with the "
                        "same seed without a defense; expected records with the defense 'none'")
    return pairs


def _counts(records: Sequence[Record], seeds: Sequence[int]) -> Counts:
    images = [record.images for record in records if record.seed in seeds]

    def pooled(column: str) -> np.ndarray:
        return np.concatenate([getattr(seed, column) for seed in images])

    has_reference = all(seed.reference_clean for seed in images)
    return Counts(pooled("truth"), pooled("clean"), pooled("triggered"),
                  pooled("reference_clean") if has_reference else None)


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


def draw_kde(scenarios: Sequence[Scenario], defense: str) -> "Figure":
    """Densities of r: for each victim a panel with the paper's bandwidth and one with Scott's.

    Each panel has a line for each counter and kind of image. Raises as `count_pairs`.
    """
    from matplotlib import rc_context

    pairs = count_pairs(scenarios, defense)
    ratios = [counts.ratios(name) for pair in pairs for counts in (pair.before, pair.after)
              for name in LINES]
    at = np.linspace(0, max(2.0, np.quantile(np.concatenate(ratios), 0.99)), 400)
    with rc_context(STYLE):
        figure, columns = _panels([pair.title for pair in pairs], list(BANDWIDTHS), sharey="row")
        for column, pair in zip(columns, pairs):
            for axes, bandwidth in zip(column, BANDWIDTHS.values()):
                axes.axvspan(0.9, 1.1, color=GREY, linewidth=0)
                _draw_lines(axes, pair, defense, at, bandwidth)
                axes.set_xlim(at[0], at[-1])
        for axes in figure.axes:
            axes.set_ylim(bottom=0)  # after all lines, which set the top of a shared axis
        _explain(figure, KDE_NOTE)
    return figure


def _draw_lines(axes: "Axes", pair: CountPair, defense: str, at: np.ndarray,
                bandwidth: Callable[[np.ndarray], float]) -> None:
    for counts, colour, marker, applied in ((pair.before, ORANGE, "", "none"),
                                            (pair.after, BLUE, "o", defense)):
        for name, style in LINES.items():
            ratios = counts.ratios(name)
            y = density(ratios, at, bandwidth(ratios))
            marked = np.flatnonzero(y > 0.05 * y.max())[::12]  # no markers along the axis
            axes.plot(at, y, style, color=colour, marker=marker, markersize=2.2,
                      markevery=marked.tolist(), label=plain(f"{name}, {applied}"))
    if pair.before.reference is not None:
        ratios = pair.before.ratios("reference")
        axes.plot(at, density(ratios, at, bandwidth(ratios)), "--", color="black", linewidth=0.8,
                  label="clean counter")


def draw_scatter(scenarios: Sequence[Scenario], defense: str) -> "Figure":
    """Counts over true counts: two panels for each victim, without and with the defense.

    The axes are logarithmic if the true counts span a factor of 10 or more.

    Raises as `count_pairs`.
    """
    from matplotlib import rc_context

    pairs = count_pairs(scenarios, defense)
    truths = np.concatenate([pair.before.truth for pair in pairs])
    ends = np.array([truths.min(), truths.max()])
    logarithmic = 0 < 10 * ends[0] <= ends[1]
    scale = "log" if logarithmic else "linear"
    with rc_context(STYLE):
        figure, columns = _panels([pair.title for pair in pairs],
                                  [f"count ({name})" for name in ("none", defense)], sharey=True)
        figure.axes[0].set(xscale=scale, yscale=scale)
        for column, pair in zip(columns, pairs):
            for axes, counts in zip(column, (pair.before, pair.after)):
                _draw_points(axes, counts, ends, least=1 if logarithmic else -math.inf)
        floor = "; counts below 1 are drawn at 1" if logarithmic else ""
        _explain(figure, f"true count (grey area between the lines: count within 10%{floor})")
    return figure


def _draw_points(axes: "Axes", counts: Counts, ends: np.ndarray, least: float) -> None:
    """The points of a panel. ends: the range of true counts. least: the lowest count drawn."""
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GREY, linewidth=0)
    edges = np.outer(ends, (0.9, 1.1))
    axes.plot(ends, edges, color="black", linewidth=0.4, zorder=3)  # above the markers
    for name, colour, marker in (("triggered", ORANGE, "^"), ("clean", BLUE, "o")):
        axes.plot(counts.truth, np.maximum(getattr(counts, name), least), marker, color=colour,
                  markersize=2.2, markerfacecolor="none", markeredgewidth=0.5, label=name)


def _panels(titles: Sequence[str], rows: Sequence[str],
            sharey: bool | str) -> tuple["Figure", list[np.ndarray]]:
    """A figure, and for each title its column of panels, one per row.

    More than ACROSS columns are drawn in several blocks, one below the other.
    """
    from matplotlib.figure import Figure

    blocks = math.ceil(len(titles) / ACROSS)
    across = math.ceil(len(titles) / blocks)
    width = COLUMN * (1 if across <= 2 else 2)
    figure = Figure((width, 0.8 + 1.6 * blocks * len(rows)), layout="constrained")
    grid = figure.subplots(blocks * len(rows), across, sharex=True, sharey=sharey, squeeze=False)
    columns = [column for block in np.split(grid, blocks) for column in block.T]
    letters = int(LETTERS * width / across) - 4
    for column, title in zip(columns, titles):
        lines = [textwrap.fill(line, letters) for line in title.split("\n")]
        column[0].set_title(plain("\n".join(lines)))
        column[-1].tick_params(labelbottom=True)  # also above another block
    for column in columns[::across]:
        for axes, row in zip(column, rows):
            axes.set_ylabel(plain(row))
    for column in columns[len(titles):]:
        for axes in column:
            axes.set_axis_off()
    return figure, columns[: len(titles)]


def _explain(figure: "Figure", note: str) -> None:
    """Add the legend above all panels, and the label of the horizontal axes below them."""
    letters = int(LETTERS * figure.get_figwidth())
    figure.supxlabel(textwrap.fill(note, letters), fontsize=STYLE["font.size"])
    legend = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            legend[label] = handle
    fitting = max(1, letters // (6 + max(map(len, legend))))  # 6 letters for a line and its space
    lines = math.ceil(len(legend) / fitting)
    figure.legend(legend.values(), legend, loc="outside upper center",
                  ncols=math.ceil(len(legend) / lines))
