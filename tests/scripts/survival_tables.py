"""The table of docs/survival.md: what two triggers do before and after repairs, at two strengths on the test images."""

from pathlib import Path

import pandas as pd
from page_tables import markdown

from benchmark.api import load_records

ROOT = Path(__file__).parents[2]
FOLDER = "records/survival"
ATTACKS = ("universal/multiply", "blended/multiply", "universal/divide", "blended/divide")
STRENGTHS = {"1": ("as trained",), "1/2": ("test_strength 0.5", "test_alpha 0.05)")}  # how labels of attacks name them
DEFENSES = {"none": "none", "fine_tune": "`fine_tune`", "patchwork": "`patchwork`"}
MEASURES = {"flip_rate": "flips", "chance_flips": "chance", "ra": "RA"}


def measured() -> pd.DataFrame:
    """The means over seeds, a row for each attack and strength, with columns (measure, defense)."""
    table = load_records(ROOT / FOLDER).table().query("attack != 'clean'")
    table["strength"] = [next((strength for strength, words in STRENGTHS.items() if any(word in label for word in words)), "")
                         for label in table["attack"]]
    table["attack"] = table["attack"].str.partition(" ")[0]
    found = table[table["strength"] != ""].pivot(index=["strength", "attack"], columns="defense", values=[*MEASURES, "rho_acc"])
    return found.loc[[(strength, attack) for strength in STRENGTHS for attack in ATTACKS]]


def survival_table() -> str:
    """The table, in Markdown."""
    columns = {(measure, name): f"{word}, {said}" for name, said in DEFENSES.items() for measure, word in MEASURES.items()}
    rows = [[attack, strength, *(f"{row[column]:.2f}" for column in columns)]
            for (strength, attack), row in measured().iterrows()]
    return markdown(rows, ["attack", "strength", *columns.values()])


TABLES = {FOLDER: survival_table}
