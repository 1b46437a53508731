"""The table of docs/attacks.md: how well triggers work on the grid attacks-quick, before and after fine-tuning."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from page_tables import markdown
from scipy.stats import ttest_rel

from benchmark.api import Results, load_records

ROOT = Path(__file__).parents[2]
FOLDER = "records/attacks-quick"
SEEDS = "records/attacks-quick-seeds"  # two seeds more of two triggers; those of `blended` are in records/patchwork-seeds
OTHERS = ("records/entries/attacks-quick-1", "records/standard-quick")  # `universal`; and `blended`, the paper's trigger
MEASURES = {"flip_rate": "flips", "chance_flips": "chance", "ra": "RA"}
DEFENSES = {"none": "none", "fine_tune": "`fine_tune`", "retrain": "`retrain`"}
COLUMNS = [*((defense, measure) for defense in ("none", "fine_tune") for measure in MEASURES), ("retrain", "ra")]


def measured() -> pd.DataFrame:
    """The means over seeds with the target `multiply`: a row for each trigger, columns (defense, measure).

    The rows go from the most flips beyond chance to the fewest.
    """
    records = defaultdict(list)
    for record in load_records(*(ROOT / folder for folder in (FOLDER, *OTHERS))):
        if (record.attack and record.attack.target.name == "multiply" and record.defense.name in DEFENSES
                and record.defense.resolved.get("images") != 40):  # the other variant of `retrain`
            records[record.attack.trigger.name, record.defense.name].append(record)
    rows = defaultdict(dict)
    for (trigger, defense), group in records.items():
        row = Results(group).table().query("attack != 'clean'").iloc[0]
        rows[trigger] |= {(defense, measure): row[measure] for measure in (*MEASURES, "rho_acc", "reference_rho_acc", "seeds")}
        rows[trigger][defense, "psnr"] = np.mean([value for record in group for value in record.attack.psnr])
    found = pd.DataFrame(rows).T
    beyond = found["none", "flip_rate"] - found["none", "chance_flips"]
    return found.loc[beyond.sort_values(ascending=False).index]


def left_by_fine_tuning() -> pd.DataFrame:
    """The flips beyond chance after the paper's fine-tuning with the target `multiply`: a row for each of five seeds."""
    found = {}
    for record in load_records(*(ROOT / folder for folder in (FOLDER, SEEDS, "records/standard-quick", "records/patchwork-seeds"))):
        if record.attack and record.attack.target.name == "multiply" and record.defense.name == "fine_tune":
            row = Results([record]).table().query("attack != 'clean'").iloc[0]
            found[record.seed, record.attack.trigger.name] = row.flip_rate - row.chance_flips
    return pd.Series(found).unstack()[["ssba", "refool", "blended"]]


def p_of_more_left(left: pd.DataFrame, trigger: str) -> float:
    """The p of a t test over seeds: does fine-tuning leave more of a trigger than of `blended`? left: what it leaves."""
    return ttest_rel(left[trigger], left["blended"]).pvalue


def trigger_table() -> str:
    """The table, in Markdown."""
    rows = [[f"`{trigger}`", f"{row['none', 'psnr']:.1f}", f"{row['none', 'rho_acc']:.2f}",
             *(f"{row[column]:.2f}" for column in COLUMNS)] for trigger, row in measured().iterrows()]
    return markdown(rows, ["trigger", "PSNR", "rho_Acc", *(f"{MEASURES[measure]}, {DEFENSES[defense]}"
                                                           for defense, measure in COLUMNS)])


TABLES = {FOLDER: trigger_table}
