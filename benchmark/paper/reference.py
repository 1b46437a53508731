"""The paper's printed numbers: reads the tables in records/reference of a clone."""

import csv
from collections.abc import Iterable
from pathlib import Path

from benchmark.results.result import Settings

FOLDER = Path(__file__).parents[2] / "records" / "reference"
MODELS = {"CSRnet": "csrnet", "CLIP-EBC": "clip_ebc"}
STRATEGIES = ("clean", "add", "minus", "multiply", "divide")
DECREASES = ("minus", "divide")
SOURCE = ("paper: Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235, one run on ShanghaiTech "
          "Part B, blended trigger, alpha 0.1, poison rate 0.1; shown in rows with these settings.")
ABSENT = ("The paper's numbers are left out: they are in records/reference of a clone, and this "
          "installation has no such folder.")
_SETTINGS = {
    "audit": "false", "data": "shanghaitech", "data.part": "B",
    "trigger": "blended", "trigger.alpha": "0.1", "poison_rate": "0.1",
    "target.n": "100", "target.k": "2", "choose": "by target", "latent": "0",
    "attack.cover_rate": "0", "test_trigger": "as trained", "also": "none"}

Key = tuple[str, str, bool]  # model, strategy, whether the model was fine-tuned


def present() -> bool:
    """Whether the folder with the paper's numbers exists."""
    return FOLDER.is_dir()


def printed(table: int) -> dict[Key, dict[str, str]]:
    """Rows of a table of the paper: column -> digits as printed.

    Only Table 2 has separate rows for fine-tuned models.
    """
    rows = _rows(f"paper_table{table}.csv")
    return {_key(row, row.get("finetuned") == "1"): row for row in rows}


def corrected() -> dict[Key, str]:
    """rho_Asr as the sum of the bands of Table 2, where Tables 1 and 3 print another value."""
    rows = _rows("paper_table_corrected_asr.csv")
    return {_key(row, row["stage"] == "ft"): row["recommended"] for row in rows}


def inconsistencies() -> dict[str, dict[str, str]]:
    """Known errors and unclear places of the paper: id -> row of the file."""
    return {row["id"]: row for row in _rows("paper_inconsistencies.csv")}


def comparable(settings: Settings) -> bool:
    """Whether the settings of a row agree with the paper's, wherever the row has such a setting."""
    return all(settings.get(key, value) == value for key, value in _SETTINGS.items())


def compares(run: Iterable[Settings]) -> bool:
    """Whether the paper's numbers belong in a table.

    They do if something that was run has the paper's settings, or if nothing was run.
    """
    return any([comparable(settings) for settings in run] or [True])


def _key(row: dict[str, str], finetuned: bool) -> Key:
    return MODELS[row["model"]], row["strategy"], finetuned


def _rows(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file of the folder; none without the folder."""
    if not present():
        return []
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
