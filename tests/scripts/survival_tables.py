"""The table of docs/survival.md: what two triggers do before and after repairs, at two strengths on the test images."""

from pathlib import Path

import pandas as pd
from page_tables import markdown

from benchmark.api import load_records

ROOT = Path(__file__).parents[2]
FOLDER = "records/survival"
ROWS = {  # of each attack: what it is called, and the share of its strength on test images
    "blended/multiply": ("`blended`, more people", "1"),
    "universal/multiply epsilon=11": ("`universal`, more people", "1"),
    "blended/divide": ("`blended`, fewer people", "1"),
    "universal/divide epsilon=11 wants=fewer": ("`universal`, fewer people", "1"),
    "blended/multiply test_alpha=0.05": ("`blended`, more people", "1/2"),
    "universal/multiply epsilon=11 test_strength=0.5": ("`universal`, more people", "1/2"),
    "blended/divide test_alpha=0.05": ("`blended`, fewer people", "1/2"),
    "universal/divide epsilon=11 wants=fewer test_strength=0.5": ("`universal`, fewer people", "1/2"),
}
DEFENSES = ("none", "fine_tune", "patchwork")


def measured() -> pd.DataFrame:
    """The means over seeds of the flip rate, the chance flips, RA and RA of a clean counter, a row for each attack."""
    table = load_records(ROOT / FOLDER).table().query("attack != 'clean'")
    return table.pivot(index="attack", columns="defense", values=["flip_rate", "chance_flips", "ra"])
