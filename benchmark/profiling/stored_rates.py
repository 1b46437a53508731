"""Stored rates: the throughput measured on this machine, in a file of the user's cache folder."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from benchmark.utils.environment import provenance
from benchmark.utils.files import write_atomically

What = Literal["train", "count"]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rates = dict[str, dict[str, dict[str, dict[What, Rate]]]]
FILE = TypeAdapter(Rates)  # pixels per second of each machine, model, precision and what


def store_rates(machine: dict[str, Any], rates: dict[tuple[str, str, What], float]) -> Path:
    """Store pixels per second and return the file.

    They replace earlier ones of the same machine, model and precision. A broken file is replaced
    too, because everything in it can be measured again.

    machine: its provenance. rates: the keys are (title of the model, precision, what).
    """
    stored = _read()
    models = stored.setdefault(machine_name(machine), {})
    for (model, precision, what), rate in rates.items():
        models.setdefault(model, {}).setdefault(precision, {})[what] = rate
    write_atomically(_file(), json.dumps(stored, indent=1, sort_keys=True) + "\n")
    return _file()


def known_rates() -> dict[tuple[str, str, str], float]:
    """The stored pixels per second of this machine.

    The keys are (title of the model, precision, 'train' or 'count').
    """
    known = {}
    for model, precisions in _read().get(machine_name(provenance()), {}).items():
        for precision, rates in precisions.items():
            for what, rate in rates.items():
                known[model, precision, what] = rate
    return known


def machine_name(machine: dict[str, Any]) -> str:
    """The name under which the rates of a machine are stored. machine: its provenance."""
    threads = machine["threads"]
    return f"{machine['device_name']}, {threads} thread{'s' if threads > 1 else ''}"


def _file() -> Path:
    """The file of stored rates."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "crowdbench" / "speed.json"


def _read() -> Rates:
    """The content of the file; empty where there is none or it is broken."""
    try:
        return FILE.validate_json(_file().read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}
