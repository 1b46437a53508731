"""The table of docs/real-recipe.md: the attacks on CSRNet, each training by itself, beside the clean counter."""

from pathlib import Path

import numpy as np
from page_tables import markdown

from benchmark.api import Results, load_records

ROOT = Path(__file__).parents[2]
FOLDER = "records/real"
ATTACKS = ("add", "multiply", "minus", "divide")
DEFENSES = ("none", "fine_tune", "patchwork")
MEASURES = {"rho_acc": "rho_Acc", "clean_rho_acc": "clean counter's", "rho_asr": "rho_Asr", "asr0": "ASR0",
            "flip_rate": "flip rate", "chance_flips": "chance flips", "times": "count changes to", "clean_times": "clean counter's"}


def measured() -> dict[tuple[str, str, int], dict[str, float]]:
    """The numbers of each victim, by defense, attack and seed.

    `times` is the median of the count with the trigger divided by that without it. What begins with `clean` is of the clean
    counter of the same run, after the same defense.
    """
    found = {}
    for record in load_records(ROOT / FOLDER):
        if record.attack:
            row = Results([record]).table().query("attack != 'clean'").iloc[0]
            clean = "reference" if record.defense.name == "none" else "control"
            images = record.images.model_dump()
            found[record.defense.name, record.attack.target.name, record.seed] = {
                **{measure: row[measure] for measure in MEASURES if measure in row}, "clean_rho_acc": row[f"{clean}_rho_acc"],
                "times": median_ratio(images["triggered"], images["clean"]),
                "clean_times": median_ratio(images[f"{clean}_triggered"], images[f"{clean}_clean"])}
    return dict(sorted(found.items(), key=lambda one: (DEFENSES.index(one[0][0]), ATTACKS.index(one[0][1]), one[0][2])))


def median_ratio(counts: list[float], others: list[float]) -> float:
    """The median of counts divided by others, image by image."""
    return float(np.median(np.divide(counts, others)))


def real_table() -> str:
    """The table, in Markdown."""
    rows = [[attack, "none" if defense == "none" else f"`{defense}`", str(seed),
             *(f"{100 * numbers[measure]:.0f}%" if "times" in measure else f"{numbers[measure]:.3f}" for measure in MEASURES)]
            for (defense, attack, seed), numbers in measured().items()]
    return markdown(rows, ["attack", "defense", "seed", *MEASURES.values()])


TABLES = {FOLDER: real_table}
