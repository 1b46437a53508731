"""The columns and the legend of a difference at two levels: these counters, and the method.

See `benchmark.metrics.paired`.
"""

from collections.abc import Iterable

from benchmark.metrics.paired import Inference
from benchmark.metrics.significance import ENOUGH_SEEDS, LEVEL
from benchmark.tables.formats import Cell, interval, probability, signed

INTERVAL = "95%, seeds: the t interval of the difference over seeds, without a correction."


def level_cells(inference: Inference) -> dict[str, str]:
    """The columns of a difference, in the order in which they are printed."""
    seeds = inference.seeds
    return {"difference": signed(inference.value),
            "of each seed": of_each_seed(inference.by_seed),
            "95%, seeds": interval(seeds.low, seeds.high),
            "p, seeds": probability(inference.p_seeds),
            "p, images": probability(inference.p_images)}


def of_each_seed(differences: Iterable[float]) -> Cell:
    """The differences of the seeds. Their columns are numbered in the order of the seeds."""
    cells = [signed(difference) for difference in differences]
    return Cell(", ".join(cells), {f"_{number}": cell.data[""]
                                   for number, cell in enumerate(cells, start=1)})


def level_legend(tests: int, of_page: int | None = None) -> str:
    """The meaning of the two p values, for the notes of a table.

    tests: the number of tests of the table. of_page: that of the page if the p over images are
    corrected for all its tests, otherwise None.
    """
    corrected = f"Both have Holm's correction over the tests of this table ({tests})."
    if of_page is not None:
        corrected = (f"p, images has Holm's correction over the tests of this page ({of_page}), "
                     f"p, seeds over those of this table ({tests}).")
    return (
        "p, images is about these counters: an exact sign-flip test over images, which with one "
        "seed is McNemar's. p, seeds is about the method, that is about other counters trained in "
        "the same way: a t test over the differences of the seeds, / with one seed and 1 where "
        f"all are equal. {corrected} A difference is shown for the method if both p are below "
        f"{LEVEL} with at least {ENOUGH_SEEDS} seeds, and for these counters only if p, images is. "
        "What is not shown may exist all the same.")


def few_seeds(numbers: Iterable[int]) -> list[str]:
    """A note on results of too few seeds for any claim about a method; [] if there are none.

    numbers: the number of seeds of each result.

    >>> few_seeds([5, 6])
    []
    """
    few = sorted({number for number in numbers if number < ENOUGH_SEEDS})
    if not few:
        return []
    return [f"Fewer than {ENOUGH_SEEDS} seeds (here {', '.join(map(str, few))}) establish nothing "
            "about an attack or a defense. They tell about these counters, and others that are "
            "trained in the same way may differ from them as much as the seeds differ."]
