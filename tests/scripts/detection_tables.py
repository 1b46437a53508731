"""The tables of docs/detection.md: for each attack, whether it is planted, and how well its victims are found."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from page_tables import markdown

from benchmark.api import load_records
from benchmark.metrics.detection import auroc, auroc_interval, tpr_at_fpr
from benchmark.results.record import Detection, Record
from benchmark.results.scenarios import scenarios
from benchmark.tables.detection import Row, counter_rows, is_detected

ROOT = Path(__file__).parents[2]
FOLDERS = ("detection", "detection-held-out")
DETECTORS = ("inversion", "overlay_shift")


def scored(records: Sequence[Record]) -> list[Row]:
    """The scores of counters: a row for each detector and attack, and one for all attacks together."""
    return counter_rows([(scenario, result) for scenario in scenarios(records) for result in scenario.results
                         if is_detected(result)])


def table(folder: str) -> str:
    """The table of a folder of records, in Markdown."""
    records = load_records(ROOT / "records" / folder)
    victims = records.table().query("defense == 'none'").set_index("attack")
    areas: dict[str, dict[str, str]] = defaultdict(dict)
    number = {}
    for row in scored(records):
        [scores] = row.detections
        low, high = auroc_interval(scores.clean, scores.triggered)
        areas[row.attack][row.result.defense] = f"{auroc(scores.clean, scores.triggered):.2f} [{low:.2f}, {high:.2f}]"
        number[row.attack] = f"{len(scores.clean)} + {len(scores.triggered)}"
    rows = []
    for attack, found in areas.items():
        flips = ["", ""] if attack == "all" else [
            f"{value:.2f}" if value == value else "/" for value in
            (victims.loc[attack, "flip_rate"], victims.loc[attack, "reference_flip_rate"])]
        rows.append([attack, number[attack], *flips, *(found[name] for name in DETECTORS)])
    return markdown(rows, ["attack", "clean + victims", "flip rate", "chance flips", *(f"`{name}`" for name in DETECTORS)])


def counters(folder: str) -> dict[str, Detection]:
    """The scores of all counters of a folder of records, by the detector."""
    return {row.result.defense: row.detections[0] for row in scored(load_records(ROOT / "records" / folder))
            if row.attack == "all"}


def rates() -> str:
    """The share of the victims of each half that is found at two rates of false alarms among all clean counters."""
    halves = [counters(folder) for folder in FOLDERS]
    rows = []
    for name in DETECTORS:
        clean = [score for half in halves for score in half[name].clean]
        found = [f"{tpr_at_fpr(clean, half[name].triggered, rate):.2f}" for half in halves for rate in (0.01, 0.05)]
        rows.append([f"`{name}`", str(len(clean)), *found])
    return markdown(rows, ["detector", "clean", *(f"{half} at {rate}" for half in ("the paper's attacks", "held out")
                                                  for rate in ("1%", "5%"))])


TABLES = {"both halves": rates, **{f"records/{folder}": partial(table, folder) for folder in FOLDERS}}
