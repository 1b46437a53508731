"""Table of strata: the results on images with few, more and many people."""

from collections.abc import Sequence

import numpy as np

from benchmark.metrics import counting
from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.formats import Table, as_frame, count, with_interval

LEGEND = (
    "stratum is the range of the true number of people in an image, and images the number of test "
    "images in it; a stratum without images has no row. rho_Acc is the share of its clean images "
    "that are counted to within 10% of the truth, MAE the mean absolute error on them, in people, "
    "and flip rate the share of its images that the trigger moves into success. Numbers are means "
    "over seeds, with 95% intervals by bootstrap over seeds and images.")


def strata_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack, defense and stratum; without detectors, which repair nothing."""
    pairs = [(scenario, result) for scenario in scenarios for result in scenario.results
             if not result.detects]
    lines, named_results = [], []
    for (scenario, result), (attack_suffix, defense_suffix) in zip(pairs, row_suffixes(pairs)):
        names = {"model": scenario.model, "attack": scenario.attack + attack_suffix,
                 "defense": result.defense + defense_suffix}
        named_results.append((" ".join(names.values()), result))
        for label, images in counting.strata(result.records[0].images.truth).items():
            if images.any():
                lines.append(names | {
                    "stratum": label, "images": count(np.count_nonzero(images)),
                    "rho_Acc": with_interval(*result.over("rho_acc", images)),
                    "MAE": with_interval(*result.over("mae", images), 2),
                    "flip rate": with_interval(*result.over("flip_rate", images))})
    settings = [scenario.settings for scenario in scenarios]
    return Table("strata", "Results by the number of people", as_frame(lines),
                 [*common_settings(settings), LEGEND, *row_notes(named_results)],
                 caption="Results on images with few, more and many people, with 95% intervals "
                         "over seeds and images.")
