"""A cell as a graph of stages: clean counter -> trigger's pattern -> victim -> repaired counter -> counts -> record.

In an audit the victim is the counter that was given, and there is no clean counter. A few triggers have a pattern that
is optimised on the clean counter; with the others a victim does not depend on it.
Each stage is kept in the store under a hash of its facts: the settings that differ from their defaults, the data's
fingerprint, and the stage before it. So cells share what they have in common, and nothing is done twice.
"""

import hashlib
import json
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from attacks.base import Attack
from benchmark.checkpoint import read_tensors, write_tensors
from benchmark.config import Cell
from benchmark.data.datasets.base import Dataset, Split
from benchmark.data.scene import Scene
from benchmark.data.splits import fingerprint, load_train
from benchmark.defending import Handed, hand
from benchmark.detecting import detection, repairs
from benchmark.device import resolve_precision, state
from benchmark.evaluation import TestSplit, mean_absolute_error
from benchmark.facts import attack_facts, attacks, known_by, reads_train
from benchmark.provenance import provenance
from benchmark.recipe import Recipe
from benchmark.record import Detection, Images, Record
from benchmark.registry import build, find, settings_of
from benchmark.store import Store
from benchmark.telling import attack_choice, choice, poisoning, warnings
from benchmark.training import Progress, Score, TrainingFailed, fit
from benchmark.weights import trained
from models.base import Counter

Facts = dict[str, Any]
STAGE = ("key", "weights_sha256", "seconds", "best_epoch", "device")  # what a record keeps of a stage
DEFENDER = 10**6  # a defender does not know the seed that the victim's initial weights were drawn by
RUNNING = {"tracker", "compile", "checkpoint_every"}  # how a training runs, not what it is


class Bench:
    """Runs cells. Data and finished counters' folders are shared by all cells of one bench."""

    def __init__(self, store: Store):
        self.store = store
        self.train_data = cache(load_train)
        self.test_split = cache(TestSplit)
        self.fingerprint = cache(lambda dataset, split: fingerprint(dataset.items(split)))

    # What decides a stage's result.

    def training_facts(self, cell: Cell, attacked: bool) -> Facts:
        """Facts of the clean counter, or of the victim; in an audit, of what is trained on from the given counter."""
        dataset, defaults = cell.data.build(), Recipe()
        recipe = {key: value for key, value in cell.recipe
                  if value != getattr(defaults, key) and key not in RUNNING}
        facts = {"stage": "train", "scale": cell.protocol.scale, "hold_out": cell.protocol.hold_out,
                 "model": known_by(cell.model), "seed": cell.protocol.seed,
                 "recipe": recipe | {"precision": resolve_precision(cell.recipe.precision)}}
        if cell.protocol.audit:
            facts["audit"] = True
        if reads_train(cell):
            facts["data"] = self.data_facts(dataset, "train")
        if cell.recipe.select == "test":
            facts["test"] = self.data_facts(dataset, "test")
        if attacked and cell.trigger and cell.target:
            facts["attack"] = [attack_facts(one) for one in attacks(cell)] if cell.also else attack_facts(cell)
        return facts

    def pattern_facts(self, cell: Cell) -> Facts | None:
        """Facts of the pattern that a cell's trigger has optimised on the clean counter; None where it has none."""
        cls = find("trigger", cell.trigger.name)
        if not cls.optimises:
            return None
        settings = {key: value for key, value in cell.trigger.changed.items() if key in cls.optimises}
        return {"stage": "pattern", "trigger": [cls.name, cls.version, settings],
                "counter": self.training_facts(cell, False)}

    def repair_facts(self, cell: Cell) -> Facts:
        """Facts of the defended counter.

        A control that looks at neither victim nor poison is shared by all attacks, and with the runs that are no audit.
        """
        knows = cell.defense.build().knows
        attacked = (knows.victim or knows.poisoned) and not cell.protocol.audit  # a given counter knows no attack
        facts = {"stage": "repair", "defense": known_by(cell.defense),
                 "before": self.training_facts(cell if knows.victim else _without_given(cell), attacked)}
        companion = cell.data.build().companion()
        if knows.extra and companion:
            facts["extra"] = self.data_facts(companion, "train")
        return facts

    def data_facts(self, dataset: Dataset, split: Split) -> Facts:
        """Facts of a split: what its files hold, and how they are read."""
        return {"content": self.fingerprint(dataset, split), "sigma": dataset.sigma, "max_side": dataset.max_side}

    # The stages.

    def counter(self, cell: Cell, attacked: bool) -> Path:
        """The folder of the clean counter, or of the victim; in an audit it is the given counter's."""
        if cell.protocol.audit:
            return self.store.get("counters", {"stage": "given", "model": known_by(cell.model)},
                                  partial(self._take, cell))
        return self.store.get("counters", self.training_facts(cell, attacked), partial(self._train, cell, attacked))

    def with_pattern(self, cell: Cell, attack: Attack) -> Attack:
        """A cell's attack, in training or on test images, with the pattern of its trigger if it has one."""
        facts = self.pattern_facts(cell)
        if facts is None:
            return attack
        folder = self.store.get("triggers", facts, partial(self._optimise, cell))
        pattern = read_tensors(folder / "pattern.safetensors")[0]["pattern"]
        return replace(attack, trigger=attack.trigger.with_pattern(pattern))

    def repaired(self, cell: Cell) -> Path:
        """The folder of the defended counter; the victim's where nothing repairs it."""
        if not repairs(cell):
            return self.counter(cell, attacked=True)
        return self.store.get("counters", self.repair_facts(cell), partial(self._repair, cell))

    def counts(self, cell: Cell, folder: Path, triggered: bool) -> list[float]:
        """The counts of a counter on the test images, clean or triggered."""
        trigger = (cell.test_trigger or cell.trigger) if triggered else None
        facts = {"stage": "count", "counter": folder.name, "scale": cell.protocol.scale,
                 "data": self.data_facts(cell.data.build(), "test"),
                 "precision": resolve_precision(cell.recipe.precision), "trigger": trigger and known_by(trigger)}
        path = self.store.get("counts", facts, partial(self._count, cell, folder, triggered))
        return json.loads((path / "counts.json").read_text())

    def record(self, cell: Cell) -> Record:
        """The record of a cell; what is missing in the store is made first."""
        test = self.test_split(cell.data.build(), cell.protocol.scale)  # first: a broken image is told before training
        clean = None if cell.protocol.audit else self.counter(cell, False)
        victim, repaired = self.counter(cell, True), self.repaired(cell)
        truth = test.counts()
        images = {"id": test.ids(), "truth": truth, "clean": self.counts(cell, repaired, False),
                  "reference_clean": clean and self.counts(cell, clean, False)}
        attack = cell.attack
        if attack:
            if scenes := self._training(cell)[0]:
                attack = attack.fitted(scenes, cell.protocol.seed)
            images |= {"target": test.targets(attack.target),
                       "triggered": self.counts(cell, repaired, True),
                       "reference_triggered": clean and self.counts(cell, clean, True)}
        folders = {"clean": clean, "victim": victim, "repaired": repaired}
        info = {name: _info(folder) for name, folder in folders.items() if folder}
        told, scored = detection(self, cell) or (_filtered(info["repaired"]), {})
        if scored:
            info["detection"] = scored
        return Record(
            audit=cell.protocol.audit, variant=cell.protocol.variant, seed=cell.protocol.seed,
            data=choice(cell.data), model=choice(cell.model),
            attack=attack_choice(cell, info["victim"]), defense=choice(cell.defense),
            training={"given": cell.training, "resolved": cell.recipe.model_dump(exclude=RUNNING),
                      "scale": cell.protocol.scale, "hold_out": cell.protocol.hold_out},
            knowledge=(scored or info["repaired"])["knowledge"], warnings=warnings(cell, info), images=Images(**images),
            detection=told,
            provenance=provenance() | {
                "stages": {name: {key: one[key] for key in STAGE if key in one} for name, one in info.items()},
                "weights": info["victim"]["weights"], "precision": resolve_precision(cell.recipe.precision),
                "data": {split: self.fingerprint(cell.data.build(), split)
                         for split in (["train"] if reads_train(cell) else []) + ["test"]}})

    # What a defense is handed.

    def hand(self, cell: Cell, folder: Path) -> Handed:
        """What a cell's defense may know. folder: for the checkpoints of its trainings."""
        knows, (scenes, validation) = cell.defense.build().knows, self._training(cell)
        companion, extra, poisoned = cell.data.build().companion(), [], []
        if knows.extra and companion:
            extra, _ = self.train_data(companion, cell.protocol.scale, 0.0)
        if knows.poisoned:  # where there is no backdoor, the clean training set
            poisoned = sum((self.with_pattern(one, one.attack).poison(scenes, cell.protocol.seed)
                            for one in attacks(cell)), scenes)
        return hand(cell, folder, (scenes, validation), extra, poisoned, self._score(cell),
                    partial(fresh, cell, DEFENDER))

    def used(self, cell: Cell, handed: Handed) -> dict[str, Any]:
        """How many images of each sort a defense used, for the record."""
        used = handed.knowledge.used()
        if handed.trainings and cell.recipe.select == "validation":
            used["validation"] = len(self._training(cell)[1])
        return used

    def loaded(self, cell: Cell, folder: Path) -> Counter:
        """A finished counter, with what its defense builds around it if it is a repaired one."""
        counter = _unloaded(cell)
        if _info(folder).get("repaired"):
            counter = cell.defense.build().around(counter)
        counter.load_state_dict(read_tensors(folder / "weights.safetensors")[0])
        return counter.eval()

    # How each is made; every one fills the folder that it is handed.

    def _take(self, cell: Cell, folder: Path) -> None:
        _finish(folder, trained(cell.model.name, cell.model.given, "audit"), Progress(), time.monotonic())

    def _train(self, cell: Cell, attacked: bool, folder: Path) -> None:
        chosen = attacks(cell) if attacked else []
        used = [self.with_pattern(one, one.attack) for one in chosen]
        began, seed = time.monotonic(), cell.protocol.seed
        scenes, _ = self._training(cell)
        poisoned = [attack.poison(scenes, seed) for attack in used] or [[]]
        counter = fresh(cell)
        title = f"train {cell.model.name} {' and '.join(one.attack_title for one in chosen) or 'clean'}"
        progress = fit(counter, sum(poisoned, scenes), cell.recipe, seed, title, self._score(cell),
                       folder / "checkpoint.safetensors", [attack.penalty for attack in used if attack.latent])
        for name, copies in zip(("poison.json", "poison-also.json"), poisoned):
            _write_points(folder / name, copies)
        first, *also = [poisoning(scenes, copies) for copies in poisoned]
        _finish(folder, counter, progress, began, **first, also=also)

    def _optimise(self, cell: Cell, folder: Path) -> None:
        surrogate = self.loaded(cell, self.counter(cell, False)).requires_grad_(False).to(state().device)
        scenes, _ = self._training(cell)
        with tqdm(desc=f"optimise {cell.trigger.name}", unit="img", disable=not state().is_main_process) as bar:
            def count(images: Tensor) -> Tensor:
                bar.update(len(images))
                return surrogate.count(images.to(state().device)).to(images.device)

            pattern = cell.trigger.build().optimised(count, scenes, cell.protocol.seed)
        if state().is_main_process:
            write_tensors(folder / "pattern.safetensors", {"pattern": pattern}, {})

    def _repair(self, cell: Cell, folder: Path) -> None:
        began, defense = time.monotonic(), cell.defense.build()
        handed = self.hand(cell, folder)
        victim = self.loaded(cell, self.counter(cell, attacked=True)) if defense.knows.victim else None
        torch.manual_seed(cell.protocol.seed)
        repaired = defense.apply(victim and victim.to(state().device), handed.knowledge)
        _finish(folder, repaired, handed.trainings[-1] if handed.trainings else Progress(), began,
                repaired=True, knowledge=self.used(cell, handed), suspicion=handed.told())

    def _count(self, cell: Cell, counter: Path, triggered: bool, folder: Path) -> None:
        stamp = self.with_pattern(cell, cell.tested).stamp if triggered else None
        test = self.test_split(cell.data.build(), cell.protocol.scale)
        counts = test.count(self.loaded(cell, counter), resolve_precision(cell.recipe.precision), stamp,
                            cell.protocol.eval_batch, f"count {'triggered' if triggered else 'clean'} test images")
        if not np.isfinite(counts).all():
            raise TrainingFailed("it counts nan or infinity on a test image")
        if state().is_main_process:
            (folder / "counts.json").write_text(json.dumps(counts.tolist()))

    def _training(self, cell: Cell) -> tuple[list[Scene], list[Scene]]:
        """The clean training scenes and the validation scenes; none where the cell has no use for them."""
        if not reads_train(cell):
            return [], []
        return self.train_data(cell.data.build(), cell.protocol.scale, cell.protocol.hold_out)

    def _score(self, cell: Cell) -> Score | None:
        """What chooses the checkpoint: MAE on the validation images, or on the test images as the paper's code does."""
        if cell.recipe.select == "last":
            return None
        precision = resolve_precision(cell.recipe.precision)
        if cell.recipe.select == "test":
            test = self.test_split(cell.data.build(), cell.protocol.scale)
            return partial(test.mean_absolute_error, precision=precision)
        _, validation = self._training(cell)
        return partial(mean_absolute_error, scenes=validation, precision=precision) if validation else None


def fresh(cell: Cell, more: int = 0) -> Counter:
    """An untrained counter with its initial weights, the same for the same seed and `more`."""
    torch.manual_seed(cell.protocol.seed + more)
    return _without_given(cell).model.build()


def _unloaded(cell: Cell) -> Counter:
    """A counter to load weights into. Initial ones are not fetched again: by convention `weights` may be 'scratch'."""
    fields = settings_of(find("model", cell.model.name)).model_fields
    given = cell.model.given | ({"weights": "scratch"} if "weights" in fields else {})
    return build("model", cell.model.name, given)


def _without_given(cell: Cell) -> Cell:
    """In an audit, the cell that trains its counter, which starts from the counter's own initial weights."""
    if not cell.protocol.audit:
        return cell
    given = {key: value for key, value in cell.model.given.items() if key != "weights"}
    return replace(cell, protocol=cell.protocol.model_copy(update={"audit": False}),
                   model=replace(cell.model, given=given))


def _filtered(info: dict[str, Any]) -> Detection | None:
    """What a defense said of the poisoned set on its way."""
    return Detection(of="training images", **info["suspicion"]) if info.get("suspicion") else None


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


def _info(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "info.json").read_text()) | {"key": folder.name}
