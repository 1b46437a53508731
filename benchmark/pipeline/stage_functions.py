"""How each stage is made: every function fills the folder that it is handed, and may find its own checkpoint there."""

import hashlib
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from attacks.base import POISON, Attack
from benchmark.config.cell import Cell, attacks, reads_train, without_given
from benchmark.data.scene import Scene
from benchmark.metrics.image_quality import SSIM_WINDOW, psnr, ssim
from benchmark.pipeline.defender import Handed, hand
from benchmark.registry import build, find, settings_of
from benchmark.training.evaluation import mean_absolute_error
from benchmark.training.loop import Progress, Score, TrainingFailed, fit
from benchmark.utils.device import resolve_precision, state
from benchmark.utils.progress import Bar
from benchmark.utils.tensors import read_tensors, write_tensors
from benchmark.weights import trained
from models.base import Counter

if TYPE_CHECKING:
    from benchmark.pipeline.graph import Bench, Stage

DEFENDER = 10**6  # a defender does not know the seed that the victim's initial weights were drawn by


def take(cell: Cell, folder: Path) -> None:
    """The counter that an audit was given."""
    _finish(folder, trained(cell.model.name, cell.model.given, "audit"), Progress(), time.monotonic())


def train(bench: "Bench", cell: Cell, attacked: bool, folder: Path) -> None:
    """The clean counter, or the victim."""
    chosen = attacks(cell) if attacked else []
    used = [with_pattern(bench, one, one.attack) for one in chosen]
    began, seed = time.monotonic(), cell.protocol.seed
    scenes, _ = training_data(bench, cell)
    poisoned = [attack.poison(scenes, seed) for attack in used] or [[]]
    counter = fresh(cell)
    title = f"train {cell.model.name} {' and '.join(one.attack_title for one in chosen) or 'clean'}"
    progress = fit(counter, sum(poisoned, scenes), cell.recipe, seed, title, _score(bench, cell),
                   folder / "checkpoint.safetensors", [attack.penalty for attack in used if attack.latent])
    for name, copies in zip(("poison.json", "poison-also.json"), poisoned):
        _write_points(folder / name, copies)
    first, *also = [poisoning(scenes, copies) for copies in poisoned]
    _finish(folder, counter, progress, began, **first, also=also)


def optimise(bench: "Bench", cell: Cell, folder: Path) -> None:
    """The pattern of a cell's trigger, on the clean counter."""
    surrogate = loaded(bench, cell, bench.clean(cell)).requires_grad_(False).to(state().device)
    scenes, _ = training_data(bench, cell)
    with Bar(desc=f"optimise {cell.trigger.name}", unit="img", disable=not state().is_main_process) as bar:
        def count(images: Tensor) -> Tensor:
            bar.update(len(images))
            return surrogate.count(images.to(state().device)).to(images.device)

        pattern = cell.trigger.build().optimised(count, scenes, cell.protocol.seed)
    if state().is_main_process:
        write_tensors(folder / "pattern.safetensors", {"pattern": pattern}, {})


def repair(bench: "Bench", cell: Cell, folder: Path) -> None:
    """The defended counter."""
    began, defense = time.monotonic(), cell.defense.build()
    handed = _handed(bench, cell, folder)
    victim = loaded(bench, cell, bench.victim(cell)) if defense.knows.victim else None
    torch.manual_seed(cell.protocol.seed)
    repaired = defense.apply(victim and victim.to(state().device), handed.knowledge)
    parts = [training.micro_batch for training in handed.trainings if training.micro_batch]
    progress = replace(handed.trainings[-1] if handed.trainings else Progress(), micro_batch=min(parts, default=None))
    _finish(folder, repaired, progress, began,
            repaired=True, knowledge=_used(bench, cell, handed), suspicion=handed.told())


def count(bench: "Bench", cell: Cell, counter: "Stage", triggered: bool, folder: Path) -> None:
    """A counter's counts of the test images."""
    stamp = with_pattern(bench, cell, cell.tested).stamp if triggered else None
    test = bench.test_split(cell.data.build(), cell.protocol.scale)
    counts = test.count(loaded(bench, cell, counter), resolve_precision(cell.recipe.precision), stamp,
                        cell.protocol.eval_batch, f"count {'triggered' if triggered else 'clean'} test images")
    if not np.isfinite(counts).all():
        raise TrainingFailed(f"{counter.title}: it counts nan or infinity on a test image")
    if state().is_main_process:
        (folder / "counts.json").write_text(json.dumps(counts.tolist()))


def score(bench: "Bench", cell: Cell, attacked: bool, triggered: bool | None, folder: Path) -> None:
    """A detector's scores, of test images that are triggered or not, or (None) of the counter itself."""
    began, defense = time.monotonic(), cell.defense.build()
    handed = _handed(bench, cell, folder)
    victim = loaded(bench, cell, bench.counter(cell, attacked)).to(state().device)
    torch.manual_seed(cell.protocol.seed)
    if triggered is None:
        found = {"counter": [defense.suspicion(victim, handed.knowledge)]}
    else:
        test = bench.test_split(cell.data.build(), cell.protocol.scale)
        scorer, precision = defense.scorer(victim, handed.knowledge), resolve_precision(cell.recipe.precision)
        stamp = with_pattern(bench, cell, cell.tested).stamp if triggered else None
        found = {kind: test.scores(scorer, precision, stamp, cell.protocol.eval_batch, kind == "drift",
                                   f"{cell.defense.name} {kind} test images").tolist()
                 for kind in (["triggered"] if triggered else ["clean", "drift"])}
    if not all(torch.tensor(scores).isfinite().all() for scores in found.values()):
        raise TrainingFailed(f"{cell.defense.name}: a score is nan or infinite")
    if state().is_main_process:
        info = found | {"knowledge": _used(bench, cell, handed), "seconds": round(time.monotonic() - began, 1),
                        "device": state().device.type}
        (folder / "scores.json").write_text(json.dumps(info))


def with_pattern(bench: "Bench", cell: Cell, attack: Attack) -> Attack:
    """A cell's attack, in training or on test images, with the pattern of its trigger if it has one."""
    stage = bench.pattern(cell)
    if stage is None:
        return attack
    pattern = read_tensors(bench.made(stage) / "pattern.safetensors")[0]["pattern"]
    return replace(attack, trigger=attack.trigger.with_pattern(pattern))


def loaded(bench: "Bench", cell: Cell, stage: "Stage") -> Counter:
    """The counter of a finished stage, with what its defense builds around it if it is a repaired one."""
    folder, counter = bench.made(stage), unloaded(cell)
    if info_of(folder).get("repaired"):
        counter = cell.defense.build().around(counter)
    counter.load_state_dict(read_tensors(folder / "weights.safetensors")[0])
    return counter.eval()


def unloaded(cell: Cell) -> Counter:
    """A counter to load weights into. Initial ones are not fetched again: by convention `weights` may be 'scratch'."""
    fields = settings_of(find("model", cell.model.name)).model_fields
    return build("model", cell.model.name, cell.model.given | ({"weights": "scratch"} if "weights" in fields else {}))


def training_data(bench: "Bench", cell: Cell) -> tuple[list[Scene], list[Scene]]:
    """The clean training scenes and the validation scenes; none where the cell has no use for them."""
    if not reads_train(cell):
        return [], []
    return bench.train_data(cell.data.build(), cell.protocol.scale, cell.protocol.hold_out)


def info_of(folder: Path) -> dict[str, Any]:
    """What is known of a counter's making, and its key."""
    return json.loads((folder / "info.json").read_text()) | {"key": folder.name}


def _handed(bench: "Bench", cell: Cell, folder: Path) -> Handed:
    """What a cell's defense may know. folder: for the checkpoints of its trainings."""
    knows, (scenes, validation) = cell.defense.build().knows, training_data(bench, cell)
    companion, extra, poisoned = cell.data.build().companion(), [], []
    if knows.extra and companion:
        extra, _ = bench.train_data(companion, cell.protocol.scale, 0.0)
    if knows.poisoned:  # where there is no backdoor, the clean training set
        poisoned = sum((with_pattern(bench, one, one.attack).poison(scenes, cell.protocol.seed)
                        for one in attacks(cell)), scenes)
    return hand(cell, folder, (scenes, validation), extra, poisoned, _score(bench, cell),
                partial(fresh, cell, DEFENDER))


def _used(bench: "Bench", cell: Cell, handed: Handed) -> dict[str, Any]:
    """How many images of each sort a defense used, for the record."""
    used = handed.knowledge.used()
    if handed.trainings and cell.recipe.select == "validation":
        used["validation"] = len(training_data(bench, cell)[1])
    return used


def _score(bench: "Bench", cell: Cell) -> Score | None:
    """What chooses the checkpoint: MAE on the validation images, or on the test images as the paper's code does."""
    if cell.recipe.select == "last":
        return None
    precision = resolve_precision(cell.recipe.precision)
    if cell.recipe.select == "test":
        test = bench.test_split(cell.data.build(), cell.protocol.scale)
        return partial(test.mean_absolute_error, precision=precision)
    _, validation = training_data(bench, cell)
    return partial(mean_absolute_error, scenes=validation, precision=precision) if validation else None


def fresh(cell: Cell, more: int = 0) -> Counter:
    """An untrained counter with its initial weights, the same for the same seed and `more`."""
    torch.manual_seed(cell.protocol.seed + more)
    return without_given(cell).model.build()


def _write_points(path: Path, poisoned: list[Scene]) -> None:
    """The false heads of the poisoned images, so that anyone can look at what was taught."""
    if state().is_main_process:
        points = {scene.id: [[round(float(v), 3) for v in point] for point in scene.points] for scene in poisoned}
        path.write_text(json.dumps(points))


def _finish(folder: Path, counter: Counter, progress: Progress, began: float, **more: Any) -> None:
    """Write a trained counter and what is known of its making, and drop the checkpoints."""
    if not state().is_main_process:
        return
    write_tensors(folder / "weights.safetensors", counter.state_dict(), {})
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    info = {"poisoned": [], "knowledge": {}, "weights": counter.weights_note, "weights_sha256": digest,
            "seconds": round(time.monotonic() - began, 1), "device": state().device.type, **vars(progress), **more}
    (folder / "info.json").write_text(json.dumps(info))
    for checkpoint in folder.glob("checkpoint*.safetensors"):
        checkpoint.unlink()


STEALTH_IMAGES = 20  # enough for a mean; a structural similarity of a large image takes a second


def poisoning(scenes: list[Scene], poisoned: list[Scene]) -> dict[str, Any]:
    """Which training images were stamped, of how many, and how near the first few are to their originals.

    The peak signal-to-noise ratio is 99 dB where they are equal; images smaller than SSIM's window have no SSIM.
    """
    originals = {scene.id: scene.image for scene in scenes}
    pairs = [(originals[scene.id.removesuffix(POISON)], scene.image) for scene in poisoned[:STEALTH_IMAGES]]
    return {"images": len(scenes), "poisoned": [scene.id.removesuffix(POISON) for scene in poisoned],
            "psnr": [round(min(psnr(*pair), 99.0), 2) for pair in pairs],
            "ssim": [round(ssim(*pair), 4) for pair in pairs if min(pair[0].shape[:2]) >= SSIM_WINDOW]}
