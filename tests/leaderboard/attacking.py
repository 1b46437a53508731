"""Runs and entries of attacks, made without any training."""

import json

import numpy as np
from factories import SPLITS, digest, record_of_cell

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.leaderboard.attack_slots import grid_defenses
from benchmark.leaderboard.submit import submit_attack

ATTACK_GRID = "data: synthetic\nmodel: tiny\nattack: minus\nseed: [0, 1]\ndefense: [none, jpeg, blur, strip, retrain]\n"
KNOWLEDGE = {"jpeg": {}, "blur": {}, "strip": {"clean": 40}}
LINKS = ("https://example.org/paper", "https://example.org/code")
TITLE = "sig/add"


def attack_grid(folder, text=ATTACK_GRID, name="attacks-1"):
    """A small grid of attacks, frozen under a name."""
    preset = folder / f"{name}.yaml"
    preset.write_text(text)
    return FrozenGrid(name, str(preset), SPLITS, None, "attack", 0.1)


def attack_records(grid, *assignments, attack="attack=add"):
    """A record of every cell of an attack on a grid."""
    chosen = [attack, "attack.trigger=sig", *assignments]
    cells_of_attack = cells(override(load_request(grid.preset), ["defense=none", *chosen]))
    return [_record(cell, defense, grid.name) for cell in cells_of_attack for defense in grid_defenses(grid)]


def _record(cell, defense, protocol):
    """What a run would write of a cell: besides the columns of any record those of the control or of a detector."""
    record = record_of_cell(cell, defense, protocol)
    told = json.loads(record.dumps())
    ids = told["attack"]["poisoned"]
    images, settings = told["attack"]["images"], cell.settings
    poisoned, covers = (round(rate * images) for rate in (settings.poison_rate, settings.cover_rate))
    told["attack"] |= {"poisoned": ids[:poisoned], "covers": ids[poisoned : poisoned + covers]}
    told["knowledge"] = KNOWLEDGE.get(defense.name, told["knowledge"])
    stages, images = told["provenance"]["stages"], told["images"]
    if defense.name == "strip":
        stages["repaired"] = dict(stages["victim"])
        images |= {key: undefended(cell, protocol)["images"][key] for key in ("clean", "triggered")}
        number = len(images["id"])
        told["detection"] = {"of": "test images", "clean": [0.1 * i for i in range(number)],
                             "triggered": [0.5 + 0.1 * i for i in range(number)]}
    elif defense.name != "none":
        stages["control"] = {"weights_sha256": digest(f"control {defense.name} {cell.settings.seed}"), "seconds": 1.0}
        for triggered, column in enumerate(("control_clean", "control_triggered")):
            rng = np.random.default_rng([int(stages["control"]["weights_sha256"][:8], 16), triggered])
            images[column] = (images["truth"] * rng.normal(1, 0.1, len(images["truth"]))).tolist()
    return type(record).model_validate(told)


def undefended(cell, protocol):
    from benchmark.results.record import Choice

    return json.loads(record_of_cell(cell, Choice(name="none"), protocol).dumps())


def attack_run_of(grid, folder, *assignments, **more):
    """A folder of the records of an attack on all cells of a grid."""
    return written(attack_records(grid, *assignments, **more), folder)


def written(records, folder):
    folder.mkdir(exist_ok=True)
    for record in records:
        target = record.attack.target.name
        name = f"tiny-{target}-{record.defense.name}-seed{record.seed}-{digest(record.dumps())[:8]}.json"
        (folder / name).write_text(record.dumps())
    return folder


def attack_submitted(run, out, attack=TITLE, **more):
    return submit_attack(run, attack, "My attack", *LINKS, out, **more)
