"""All numbers of all cells, a row each, with their intervals: for other programs and for the appendix of a paper."""

from collections.abc import Sequence

import pandas as pd

from benchmark.metrics import counting
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.controls import der
from benchmark.tables.defenses import cost, known
from benchmark.tables.footnotes import remarks, shared
from benchmark.tables.formats import Table, number, with_interval

SURE = {"rho_Acc": "rho_acc", "MAE": "mae", "RMSE": "rmse", "rho_Asr": "rho_asr", "RA": "ra", "Opp": "opp",
        "base": "base", "ASR0": "asr0", "eASR": "easr", "flip rate": "flip_rate", "attainment": "attainment"}
PLAIN = {f"band {band}": f"band {band}" for band in counting.BANDS} | {
    "target ASR": "target_asr", "harm MAE": "harm_mae", "attainment MAE": "attainment_mae",
    "label distortion": "label_distortion"}
PEOPLE = {"mae", "rmse", "harm_mae", "attainment_mae"}  # of two digits
LEGEND = ["Means over seeds; in brackets 95% intervals, bootstrap over seeds and images. band: triggered images by "
          "|count / truth - 1| in the attacker's direction; the bands add up to rho_Asr. harm MAE: triggered counts "
          "and the truth, attainment MAE: and the attacker's count. target ASR: within 10% or 5 people of it. knows, "
          "seconds: of the defense."]


def results_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and defense; detectors repair nothing and are left out."""
    pairs = [(scenario, result) for scenario in scenarios for result in scenario.results if not result.detects]
    attacks = suffixes([scenario.settings for scenario, _ in pairs], shown=("model", "trigger", "target"))
    defenses = suffixes([defense_settings(result) for _, result in pairs], shown=("model", "defense"))
    lines = []
    for (scenario, result), attack, told in zip(pairs, attacks, defenses):
        line = {"protocol": result.records[0].protocol or "none", "model": scenario.model,
                "attack": scenario.attack + attack, "defense": result.defense + told,
                "seeds": str(len(result.records)), "images": number(result.numbers["images"], 0)}
        line |= {heading: with_interval(result.numbers.get(key, float("nan")), *result.interval(key), _digits(key))
                 for heading, key in SURE.items()}
        line |= {heading: number(result.numbers.get(key, float("nan")), _digits(key)) for heading, key in PLAIN.items()}
        lines.append(line | {"DER": number(der(scenario.defended("none")[0], result)), "knows": known([result]),
                             "seconds": cost([result])})
    names = [" ".join([line["model"], line["attack"], line["defense"]]) for line in lines]
    return Table("cells", "Cells", pd.DataFrame(lines), [
        *shared([scenario.settings for scenario in scenarios]), *LEGEND,
        *remarks((name, result) for name, (_, result) in zip(names, pairs))])


def _digits(key: str) -> int:
    return 2 if key in PEOPLE else 3
