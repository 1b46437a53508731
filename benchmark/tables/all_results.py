"""Table of all results: every number of every cell, for other programs and for appendices."""

import math
from collections.abc import Sequence

from benchmark.metrics import counting
from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.tables.controls import der
from benchmark.tables.defenses import IMAGES_USED, images_used, repair_seconds
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.formats import Table, as_frame, count, number, with_interval

WITH_INTERVAL = {
    "rho_Acc": "rho_acc", "MAE": "mae", "RMSE": "rmse", "rho_Asr": "rho_asr", "RA": "ra",
    "Opp": "opp", "base": "base", "ASR0": "asr0", "eASR": "easr", "flip rate": "flip_rate",
    "attainment": "attainment"}
WITHOUT_INTERVAL = {f"band {band}": f"band {band}" for band in counting.BANDS} | {
    "target ASR": "target_asr", "harm MAE": "harm_mae", "attainment MAE": "attainment_mae",
    "label distortion": "label_distortion"}
PEOPLE = {"mae", "rmse", "harm_mae", "attainment_mae"}  # in people, printed with two digits
BRIEF = ("attack", "defense", "rho_Acc", "MAE", "rho_Asr", "flip rate", "attainment", "seeds")
CAPTION = ("Results of every attack and defense, as means over seeds with 95% intervals over seeds "
           "and images.")
LEGEND = [
    "Numbers are means over seeds. Brackets hold 95% intervals, by bootstrap over seeds and "
    "images.",
    "The columns band give the shares of triggered images by |count / truth - 1| in the "
    "attacker's direction; they add up to rho_Asr. RMSE is the root mean squared error on clean "
    "images. harm MAE is the mean absolute error of triggered counts from the truth, and "
    "attainment MAE that from the attacker's count. target ASR is the share of triggered images "
    "whose count is within 10% or 5 people of the attacker's count. label distortion is the mean "
    "of |log(attacker's count / truth)|. The other numbers are explained below the table of "
    "controls.",
    IMAGES_USED,
]


def results_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and defense; without detectors, which repair nothing."""
    pairs = [(scenario, result) for scenario in scenarios for result in scenario.results
             if not result.detects]
    lines, named_results = [], []
    for (scenario, result), (attack_suffix, defense_suffix) in zip(pairs, row_suffixes(pairs)):
        line = {"protocol": result.records[0].protocol or "none", "model": scenario.model,
                "attack": scenario.attack + attack_suffix,
                "defense": result.defense + defense_suffix, "seeds": count(len(result.records)),
                "images": count(int(result.numbers["images"]))}
        for heading, key in WITH_INTERVAL.items():
            mean = result.numbers.get(key, math.nan)
            line[heading] = with_interval(mean, *result.interval(key), _digits(key))
        for heading, key in WITHOUT_INTERVAL.items():
            line[heading] = number(result.numbers.get(key, math.nan), _digits(key))
        undefended = scenario.defended("none")[0]
        line |= {"DER": number(der(undefended, result)), "knows": images_used([result]),
                 "seconds": repair_seconds([result])}
        lines.append(line)
        named_results.append((f"{line['model']} {line['attack']} {line['defense']}", result))
    settings = [scenario.settings for scenario in scenarios]
    return Table("cells", "All results", as_frame(lines),
                 [*common_settings(settings), *LEGEND, *row_notes(named_results)],
                 caption=CAPTION, brief=BRIEF)


def _digits(key: str) -> int:
    return 2 if key in PEOPLE else 3
