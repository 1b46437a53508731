"""Counts of victims before and after a defense, from records alone, and the panels they fill."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.style import COLUMN, DEFENDED, LETTERS, UNDEFENDED, plain
from benchmark.results.result import Result, on_common_seeds
from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.tables.formats import one_line
from benchmark.utils.errors import UserError, did_you_mean, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 4  # panels in a line, at most
LINES = {"triggered": "-", "clean": ":"}  # the kinds of images


@dataclass(frozen=True)
class Counts:
    """Counts on the test images, float [S, N]: S seeds and N images.

    reference: counts of the clean counter on clean images; None for an audit, which has no such
    counter.
    """

    truth: np.ndarray
    clean: np.ndarray
    triggered: np.ndarray
    reference: np.ndarray | None

    def ratios(self, column: str) -> np.ndarray:
        """r = count / truth of the images that show people, of all seeds, one after the other."""
        people = self.truth > 0
        return getattr(self, column)[people] / self.truth[people]


@dataclass(frozen=True)
class CountPair:
    """Counts of a victim before and after a defense, for the seeds that both were run with.

    results: those that hold the counts, of these seeds alone.
    """

    title: str
    before: Counts
    after: Counts
    results: tuple[Result, Result]


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
    several = len({scenario.model for scenario in attacked}) > 1
    pairs = []
    for (scenario, before, after), (attack, own) in zip(matches, suffixes):
        results = on_common_seeds(before, after)
        if results:
            model = f"{scenario.model} " if several else ""
            title = [f"{model}{scenario.attack}", attack.strip(), own and f"{defense}{own}"]
            pairs.append(CountPair("\n".join(filter(None, title)), *map(_counts, results), results))
    if not pairs:
        raise UserError(f"figure: no victim with the defense {defense!r} was also counted with the "
                        "same seed without a defense; expected records with the defense 'none'")
    return pairs


def pairs_with_people(scenarios: Sequence[Scenario], defense: str) -> list[CountPair]:
    """The pairs of `count_pairs`, for figures of count / truth.

    Raises:
        UserError: as `count_pairs`, or no test image of a victim shows people.
    """
    pairs = count_pairs(scenarios, defense)
    for pair in pairs:
        if not (pair.before.truth > 0).any():
            raise UserError(f"figure: no test image of the victim {shown(one_line(pair.title))} "
                            "shows people, and count / truth exists with people alone; expected "
                            "records of images with people")
    return pairs


def _counts(result: Result) -> Counts:
    images = [record.images for record in result.records]

    def by_seed(column: str) -> np.ndarray:
        return np.array([getattr(seed, column) for seed in images], float)

    has_reference = all(seed.reference_clean for seed in images)
    return Counts(by_seed("truth"), by_seed("clean"), by_seed("triggered"),
                  by_seed("reference_clean") if has_reference else None)


def both(pair: CountPair, defense: str) -> list[tuple[Counts, str, str, str]]:
    """The counts before and after, each with its colour, its marker and its defense's name."""
    return [(pair.before, UNDEFENDED, "", "none"), (pair.after, DEFENDED, "o", defense)]


def pair_panels(pairs: Sequence[CountPair], rows: Sequence[str],
                sharey: bool | str) -> tuple["Figure", list[np.ndarray]]:
    """A figure, and for each pair its column of panels, one per row, with its title.

    More than ACROSS columns are drawn in several blocks, one below the other.
    """
    from matplotlib.figure import Figure

    blocks = math.ceil(len(pairs) / ACROSS)
    across = math.ceil(len(pairs) / blocks)
    width = COLUMN * (1 if across <= 2 else 2)
    figure = Figure((width, 0.8 + 1.6 * blocks * len(rows)), layout="constrained")
    grid = figure.subplots(blocks * len(rows), across, sharex=True, sharey=sharey, squeeze=False)
    columns = [column for block in np.split(grid, blocks) for column in block.T]
    letters = int(LETTERS * width / across) - 4
    for column, pair in zip(columns, pairs):
        lines = [textwrap.fill(line, letters) for line in pair.title.split("\n")]
        column[0].set_title(plain("\n".join(lines)))
        column[-1].tick_params(labelbottom=True)  # also above another block
    for column in columns[::across]:
        for axes, row in zip(column, rows):
            axes.set_ylabel(plain(row))
    for column in columns[len(pairs):]:
        for axes in column:
            axes.set_axis_off()
    return figure, columns[: len(pairs)]
