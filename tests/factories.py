"""Records, runs, entries, counters and scenes for tests, made without any long training."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from attacks.base import Attack
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.leaderboard.submit import submit
from benchmark.leaderboard.training_images import numbered_images
from benchmark.recipe import RUNNING, Recipe
from benchmark.registry import build
from benchmark.results.describe import describe_attack, describe_component
from benchmark.results.record import AttackChoice, Choice, Images, Record

ROOT = Path(__file__).parents[1]

# Records of counts.

TAU = {"add": lambda c: c + 100, "minus": lambda c: np.maximum(c - 100, 1), "multiply": lambda c: 2 * c,
       "divide": lambda c: np.maximum(c // 2, 1), "stay": lambda c: c}
INCREASES = {"add": True, "multiply": True, "minus": False, "divide": False, "stay": None}


def record_of_counts(counts, target="multiply", defense="none", seed=0, model="tiny", trigger="blended", alpha=0.1,
                     poison_rate=0.1, audit=False, variant="text", data=Choice(name="drawn"), training=None,
                     detection=None, warnings=(), **settings):
    """A record of columns of counts; `target` None is no attack. settings: the defense's."""
    columns = {key: np.asarray(column).tolist() for key, column in counts.items()}
    attack = target and AttackChoice(
        trigger=Choice(name=trigger, resolved={"alpha": alpha}), target=Choice(name=target), poisoned=[],
        poison_rate=0.0 if audit else poison_rate, increases=INCREASES.get(target, True))
    return Record(audit=audit, variant=variant, seed=seed, data=data, model=Choice(name=model), attack=attack,
                  defense=Choice(name=defense, resolved=settings), training=training or {}, warnings=list(warnings),
                  detection=detection,
                  images=Images(id=[f"IMG_{i}" for i in range(len(columns["truth"]))], **columns))


def make_record(target="multiply", defense="none", seed=0, model="csrnet", effect=0.8, alpha=0.1, truth=None, audit=False,
                data=None, training=None, **more):
    """A record whose trigger moves every count by `effect` of what the attacker wants. more: see `record_of_counts`."""
    truth = np.random.default_rng(0).integers(10, 400, 40) if truth is None else np.array(truth)
    rng = np.random.default_rng([seed, len(truth)])
    reference, clean = truth * rng.normal(1, 0.08, (2, len(truth)))
    counts = {"truth": truth, "clean": clean, "reference_clean": reference}
    if target:
        tau = TAU[target](truth)
        counts |= {"target": tau, "triggered": clean + effect * (tau - truth), "reference_triggered": reference * 1.05}
    if audit:
        counts = {key: column for key, column in counts.items() if not key.startswith("reference")}
    return record_of_counts(counts, target, defense, seed, model, alpha=alpha, audit=audit,
                            data=Choice(name="shanghaitech", resolved=data or {"part": "B"}),
                            training=training or {"epochs": 100}, **more)


# A frozen grid, a run of it, and an entry.

GRID = "data: synthetic\nmodel: tiny\nattack: [none, add]\nseed: [0, 1]\n"
SPLITS = {"train": "a" * 32, "test": "b" * 32}
KNOWLEDGE = {"none": {}, "retrain": {"clean": 216, "extra": 40, "validation": 24}}
DEFENSES = (Choice(name="none"), Choice(name="mine", version="0123456789ab", given={"epochs": 5},
                                        resolved={"epochs": 5}), Choice(name="retrain", version=2))


def run_of(grid, folder, defenses=DEFENSES):
    """A folder of records, made without training: every cell of a grid with each defense."""
    folder.mkdir(exist_ok=True)
    for cell in cells(override(load_request(grid.preset), ["defense=none"])):
        for defense in defenses:
            record = record_of_cell(cell, defense, grid.name)
            name = f"tiny-{cell.target.name if cell.target else 'clean'}-{defense.name}-seed{record.seed}-"
            (folder / f"{name}{digest(record.dumps())[:8]}.json").write_text(record.dumps())
    return folder


def record_of_cell(cell, defense, protocol):
    """What a run would write of a cell. The counts follow from which counter counted what."""
    seed, attacked = cell.settings.seed, cell.target is not None
    names = {"clean": f"clean {seed}", "victim": f"{cell.attack_title} {seed}"}
    names["repaired"] = names["victim"] if defense.name == "none" else f"{defense} {names['victim']}"
    flat_weights = {stage: digest(name) for stage, name in names.items()}
    truth = np.random.default_rng(0).integers(20, 200, 12)

    def counted(stage, triggered):
        rng = np.random.default_rng([int(flat_weights[stage][:8], 16), triggered])
        return (truth * rng.normal(1, 0.1, len(truth))).tolist()

    images = {"id": [f"IMG_{i}" for i in range(1, 13)], "truth": truth.tolist(), "clean": counted("repaired", 0),
              "reference_clean": counted("clean", 0)}
    if attacked:
        images |= {"target": (truth + 100).tolist(), "triggered": counted("repaired", 1),
                   "reference_triggered": counted("clean", 1)}
    number, hold_out = cell.data.resolved["train"], cell.settings.hold_out
    training = sorted(numbered_images(cell.data.name, number, hold_out).ids)
    first = seed % 100  # so that any seed has as many
    poisoned = {"poisoned": training[first:first + round(len(training) / 10)], "images": len(training), "psnr": [30.0],
                "ssim": [0.9]}
    return Record(
        protocol=protocol, variant="text", seed=seed, data=describe_component(cell.data), model=describe_component(cell.model),
        attack=describe_attack(cell, poisoned), defense=defense, images=Images(**images),
        training={"given": cell.training, "resolved": cell.recipe.model_dump(exclude=RUNNING), "scale": 1.0,
                  "hold_out": 0.1}, knowledge=KNOWLEDGE.get(defense.name, {"clean": 40}), warnings=["drawn scenes"],
        provenance={"stages": {stage: {"weights_sha256": sha256, "seconds": 1.0} for stage, sha256 in flat_weights.items()},
                    "data": SPLITS, "commit": "0" * 40})


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def submitted(run, out, defense="mine", **more):
    return submit(run, defense, "My defense", "https://example.org/paper", "https://example.org/code", out, **more)


def rewritten(run, name, change):
    """The records that have `name` in their file's name, changed by a function of their JSON."""
    for path in sorted(run.glob(f"*{name}*")):
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))


# Counters and scenes.

RECIPE = Recipe(epochs=4, batch_size=4, optimizer="adamw", lr=1e-3, schedule="onecycle", clip=1.0, precision="fp32",
                select="last", checkpoint_seconds=0)


def draw_scenes(number: int, start: int = 0) -> list[Scene]:
    """Small drawn scenes of two sizes."""
    scenes = []
    for i in range(start, start + number):
        image, points = draw_scene((64, 96) if i % 3 else (72, 88), 20, np.random.default_rng(i))
        scenes.append(Scene(f"IMG_{i}", image, points, 2.0))
    return scenes


def small_counter(name: str = "tiny"):
    torch.manual_seed(0)
    return build("model", name, {"width": 16} if name == "tiny" else {})


def flat_weights(trained) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for tensor in trained.state_dict().values()])


def hiding_attack(latent: float = 1000.0) -> Attack:
    return Attack(build("trigger", "blended", {"alpha": 0.3}), build("target", "multiply", {}), 0.5, latent=latent)
