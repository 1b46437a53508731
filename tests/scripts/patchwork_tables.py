"""The tables of docs/patchwork.md: the repair beside others with as many images, and on attacks that were held out."""

from pathlib import Path

import pandas as pd
from page_tables import markdown
from scipy.stats import t, ttest_1samp, ttest_rel

from benchmark.api import Results, load_records
from benchmark.results.scenarios import scenarios

ROOT = Path(__file__).parents[2]
CONTROL = "retrain (40 clean images, epochs 614)"
OURS, ANNOTATED = "patchwork (maps victim)", "patchwork (maps annotated)"
# What each row of the first table is called, and what it was given.
ROWS = {
    "none": ("`none`", "nothing"),
    "fine_tune": ("`fine_tune`, the paper's", "216 clean, 40 extra"),
    "distillation": ("`distillation`", "216 clean"),
    "fine_pruning": ("`fine_pruning`", "40 clean"),
    "i_bau": ("`i_bau`", "40 clean"),
    "fine_tune_few": ("`fine_tune_few`", "40 clean"),
    CONTROL: ("`retrain` on 40 images", "40 clean"),
    ANNOTATED: ("`patchwork` with annotated maps", "40 clean"),
    OURS: ("**`patchwork`**", "40 clean"),
}
MEASURES = {"ra": "RA", "rho_acc": "rho_Acc", "easr": "eASR", "flip_rate": "flip rate", "control_flip_rate": "chance flips",
            "control_rho_acc": "rho_Acc, clean counter"}
SEEDS = "records/patchwork-seeds"  # two seeds more of the quick grid
OF_SEEDS = {"beyond": "flips beyond chance", "easr": "eASR", "cost": "rho_Acc lost by the victim",
            "clean_cost": "by the clean counter", "tuned": "flips minus those after `fine_tune`"}


def of_grid() -> pd.DataFrame:
    """The mean of each measure over the four attacks of standard-quick and its seeds, a row for each defense."""
    table = load_records(ROOT / "records/standard-quick").table().query("attack != 'clean'")
    return table.groupby("defense")[list(MEASURES)].mean().loc[list(ROWS)]


def of_held_out() -> pd.DataFrame:
    """The measures of each held-out attack without a defense and after `patchwork`, a row for each attack."""
    records = load_records(ROOT / "records/detection-held-out", ROOT / "records/patchwork-held-out")
    measures = ["flip_rate", "ra", "rho_acc", "reference_flip_rate", "control_flip_rate"]
    return records.table().query("attack != 'clean'").pivot(index="attack", columns="defense", values=measures)


def p_of_flips_beyond_chance() -> pd.Series:
    """The p of a t test over seeds of each held-out attack: after `patchwork`, do more images flip than by chance?"""
    found = {}
    for scenario in scenarios(load_records(ROOT / "records/patchwork-held-out")):
        for result in scenario.results:
            flips, chance = result.successes("flip_rate"), result.successes("control_flip_rate")
            if flips.size and result.records[0].defense.resolved["maps"] == "victim":
                found[scenario.attack] = ttest_rel(flips.mean(axis=1), chance.mean(axis=1)).pvalue
    return pd.Series(found)


def of_each_seed() -> pd.DataFrame:
    """What `patchwork` leaves and costs, a row for each attack and seed of the quick grid and of two seeds more.

    beyond: flips minus those of the repaired clean counter. easr: of the repaired victim. cost: the rho_Acc
    that the victim loses. clean_cost: that the clean counter loses. tuned: flips minus those after the paper's fine-tuning.
    chance, annotated: the flips of the repaired clean counter, and of one that is trained with annotated maps.
    annotated_easr, annotated_cost: the eASR of the latter, and how much lower its rho_Acc is than that of the victim.
    """
    rows = {}
    for record in load_records(ROOT / "records/standard-quick", ROOT / SEEDS):
        name = record.defense.name
        if record.attack and name in ("none", "fine_tune", "patchwork"):
            numbers = Results([record]).table().query("attack != 'clean'").iloc[0]
            name = record.defense.resolved.get("maps", name)
            rows.setdefault((record.attack.target.name, record.seed), {})[name] = numbers
    found = {}
    for cell, numbers in rows.items():
        none, tuned, ours, control = (numbers[name] for name in ("none", "fine_tune", "victim", "annotated"))
        found[cell] = {"beyond": ours.flip_rate - ours.control_flip_rate, "easr": ours.easr,
                       "cost": none.rho_acc - ours.rho_acc, "clean_cost": none.reference_rho_acc - ours.control_rho_acc,
                       "tuned": ours.flip_rate - tuned.flip_rate, "chance": ours.control_flip_rate,
                       "annotated": control.flip_rate, "annotated_easr": control.easr,
                       "annotated_cost": none.rho_acc - control.rho_acc}
    return pd.DataFrame(found).T.rename_axis(["attack", "seed"])


def with_interval(values: pd.Series) -> str:
    """The mean over seeds with its 95% interval by Student's t."""
    reach = t.ppf(0.975, len(values) - 1) * values.sem()
    return f"{values.mean():.2f} [{values.mean() - reach:.2f}, {values.mean() + reach:.2f}]"


def p_of_fewer_flips() -> float:
    """The p of a t test over five seeds: do fewer images flip than after fine-tuning, in the mean of the four attacks?"""
    return ttest_1samp(of_each_seed()["tuned"].groupby("seed").mean(), 0).pvalue


def seeds_table() -> str:
    """The table of five seeds, in Markdown."""
    found = of_each_seed()
    rows = [[attack, *(with_interval(group[measure]) for measure in OF_SEEDS)] for attack, group in found.groupby("attack")]
    rows.append(["mean of the four", *(with_interval(found[measure].groupby("seed").mean()) for measure in OF_SEEDS)])
    return markdown(rows, ["attack", *OF_SEEDS.values()])


def number(value: float) -> str:
    """A number with two decimals; a slash stands for one that does not exist."""
    return f"{value:.2f}" if value == value else "/"


def grid_table() -> str:
    """The table of standard-quick, in Markdown."""
    rows = [[ROWS[name][0], ROWS[name][1], *(number(row[measure]) for measure in MEASURES)]
            for name, row in of_grid().iterrows()]
    return markdown(rows, ["defense", "images", *MEASURES.values()])


def held_out_table() -> str:
    """The table of the held-out attacks, in Markdown."""
    columns = {(measure, defense): word for measure, first in (("flip_rate", "flip rate"), ("ra", "RA"), ("rho_acc", "rho_Acc"))
               for defense, word in (("none", first), (OURS, "`patchwork`"), (ANNOTATED, "annotated"))}
    columns |= {("reference_flip_rate", "none"): "chance flips", ("control_flip_rate", OURS): "`patchwork`"}
    rows = [[attack, *(number(row[column]) for column in columns)] for attack, row in of_held_out().iterrows()]
    return markdown(rows, ["attack", *columns.values()])


TABLES = {"records/standard-quick": grid_table, SEEDS: seeds_table, "records/patchwork-held-out": held_out_table}
