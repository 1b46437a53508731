"""Counters in the store: built, written, and loaded with what their defense or trigger adds."""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from attacks.base import Attack
from benchmark.config.cell import Cell, Component
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.registry import build, find, settings_of
from benchmark.training.loop import Progress
from benchmark.utils.device import state
from benchmark.utils.files import write_atomically
from benchmark.utils.generators import seed_generators
from benchmark.utils.tensors import read_tensors, write_tensors
from benchmark.weights import load_tensors
from models.base import Counter

WEIGHTS, INFO = "weights.safetensors", "info.json"


def build_initialised(cell: Cell, seed_offset: int = 0) -> Counter:
    """An untrained counter; its initial weights follow from the cell's seed plus `seed_offset`."""
    seed_generators(cell.settings.seed + seed_offset)
    return cell.without_given_weights.model.build()


def build_empty(model: Component) -> Counter:
    """A counter whose weights are about to be loaded.

    It downloads no initial weights: a model's setting `weights`, if it has one, accepts
    'scratch' by convention.
    """
    fields = settings_of(find("model", model.name)).model_fields
    scratch = {"weights": "scratch"} if "weights" in fields else {}
    return build("model", model.name, model.given | scratch)


def write_counter(folder: Path, counter: Counter, progress: Progress, began: float,
                  **more: Any) -> None:
    """Write a counter with the facts about its training, and remove the training's checkpoints.

    began: `time.monotonic()` at the start. more: further entries of info.json.
    """
    if not state().is_main_process:
        return
    write_tensors(folder / WEIGHTS, counter.state_dict(), {})
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    info = {"poisoned": [], "knowledge": {}, "weights": counter.weights_note,
            "weights_sha256": digest, "seconds": round(time.monotonic() - began, 1),
            "device": state().device.type, **vars(progress), **more}
    write_atomically(folder / INFO, json.dumps(info))
    for checkpoint in folder.glob("checkpoint*.safetensors"):
        checkpoint.unlink()


def read_info(folder: Path) -> dict[str, Any]:
    """The facts about the training of a stored counter, and the stage's key."""
    return json.loads((folder / INFO).read_text()) | {"key": folder.name}


def load_counter(store: Store, cell: Cell, stage: Stage) -> Counter:
    """The counter of a stage, which is made first if it is missing."""
    return read_counter(store.get(stage), cell.model, cell.defense)


def read_counter(folder: Path, model: Component, defense: Component) -> Counter:
    """The counter in the folder of a stage; a repaired one has the modules its defense adds.

    Raises:
        UserError: its weights are not those of such a counter.
    """
    counter = build_empty(model)
    if read_info(folder).get("repaired"):
        counter = defense.build().wrap(counter)
    load_tensors(counter, read_tensors(folder / WEIGHTS)[0], str(folder / WEIGHTS))
    return counter.eval()


def with_pattern(store: Store, attack: Attack, pattern: Stage | None) -> Attack:
    """The attack with the optimised pattern of its trigger.

    pattern: its stage, None where the trigger has none.
    """
    if pattern is None:
        return attack
    tensor = read_tensors(store.get(pattern) / "pattern.safetensors")[0]["pattern"]
    return replace(attack, trigger=attack.trigger.with_pattern(tensor))
