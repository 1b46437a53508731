"""What the paper printed: the tables in records/reference, found beside the packages in a clone."""

import csv
from collections.abc import Iterable
from pathlib import Path

from benchmark.results.result import Settings

FOLDER = Path(__file__).parents[2] / "records" / "reference"
MODELS = {"CSRnet": "csrnet", "CLIP-EBC": "clip_ebc"}
STRATEGIES = ("clean", "add", "minus", "multiply", "divide")
DECREASES = ("minus", "divide")
SOURCE = ("paper: Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235, one run on ShanghaiTech Part B, blended "
          "trigger, alpha 0.1, poison rate 0.1; beside rows that have these settings.")
ABSENT = "The paper's numbers are left out: they are in records/reference of a clone, and there is no such folder here."
_SETTINGS = {"audit": "false", "data": "shanghaitech", "data.part": "B", "trigger": "blended", "trigger.alpha": "0.1",
             "poison_rate": "0.1", "target.n": "100", "target.k": "2", "choose": "by target", "latent": "0",
             "test_trigger": "as trained", "also": "none"}

Key = tuple[str, str, bool]  # model, strategy, fine-tuned


def present() -> bool:
    return FOLDER.is_dir()


def printed(table: int) -> dict[Key, dict[str, str]]:
    """A table's rows, column -> digits as printed. Only Table 2 has rows of their own for fine-tuned models."""
    return {_key(row, row.get("finetuned") == "1"): row for row in _rows(f"paper_table{table}.csv")}


def corrected() -> dict[Key, str]:
    """rho_Asr as the bands of Table 2 add up to it, where that is not what Tables 1 and 3 print."""
    return {_key(row, row["stage"] == "ft"): row["recommended"] for row in _rows("paper_table_corrected_asr.csv")}


def inconsistencies() -> dict[str, dict[str, str]]:
    """What is known to be wrong or unclear in the paper, by its id."""
    return {row["id"]: row for row in _rows("paper_inconsistencies.csv")}


def comparable(settings: Settings) -> bool:
    """Whether a row's settings are the paper's, as far as it has them."""
    return all(settings.get(key, value) == value for key, value in _SETTINGS.items())


def compares(run: Iterable[Settings]) -> bool:
    """Whether the paper's numbers belong in a table: something that was run has its settings, or nothing was run."""
    return any([comparable(settings) for settings in run] or [True])


def _key(row: dict[str, str], finetuned: bool) -> Key:
    return MODELS[row["model"]], row["strategy"], finetuned


def _rows(name: str) -> list[dict[str, str]]:
    if not present():
        return []
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
