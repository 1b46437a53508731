"""The tables of docs/detection.md: for each attack, whether it is planted, and how well its victims are found."""

import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmark.api import load_records  # noqa: E402
from benchmark.metrics.detection import auroc, auroc_interval  # noqa: E402
from benchmark.results.scenarios import scenarios  # noqa: E402
from benchmark.tables.detection import counter_rows, is_detected  # noqa: E402

PAGE = ROOT / "docs/detection.md"
FOLDERS = ("detection", "detection-held-out")
DETECTORS = ("inversion", "overlay_shift")


def table(folder: str) -> str:
    """The table of a folder of records, in Markdown."""
    records = load_records(ROOT / "records" / folder)
    victims = records.table().query("defense == 'none'").set_index("attack")
    results = [(scenario, result) for scenario in scenarios(list(records)) for result in scenario.results
               if is_detected(result)]
    areas: dict[str, dict[str, str]] = defaultdict(dict)
    number = {}
    for row in counter_rows(results):
        [scores] = row.detections
        low, high = auroc_interval(scores.clean, scores.triggered)
        areas[row.attack][row.result.defense] = f"{auroc(scores.clean, scores.triggered):.2f} [{low:.2f}, {high:.2f}]"
        number[row.attack] = f"{len(scores.clean)} + {len(scores.triggered)}"
    lines = ["| attack | clean + victims | flip rate | chance flips | " + " | ".join(f"`{name}`" for name in DETECTORS)
             + " |", "|---|---|---|---|" + "---|" * len(DETECTORS)]
    for attack, found in areas.items():
        flips = ["", ""] if attack == "all" else [
            f"{value:.2f}" if value == value else "/" for value in
            (victims.loc[attack, "flip_rate"], victims.loc[attack, "reference_flip_rate"])]
        lines.append("| " + " | ".join([attack, number[attack], *flips, *(found[name] for name in DETECTORS)]) + " |")
    return "\n".join(lines)


def written(text: str) -> str:
    """A page with the tables of today in it."""
    for folder in FOLDERS:
        begin, end = f"<!-- table of records/{folder} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{table(folder)}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
