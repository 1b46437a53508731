"""Stage functions: each fills the folder of one stage, which may hold its own earlier checkpoint.

A function is given the store, the data, the cell, and the stages that it needs, in that order; the
folder comes last. `patterns` are the stages of the optimised trigger patterns, one for each of
`cell.attacks`, None where there is none.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from attacks.base import COVER, POISON
from attacks.parts.surrogate import Surrogate
from benchmark.config.cell import Cell
from benchmark.data.scene import Scene
from benchmark.metrics.image_quality import SSIM_WINDOW, psnr, ssim
from benchmark.pipeline.counter_files import (build_initialised, load_counter, read_counter,
                                              with_pattern, write_counter)
from benchmark.pipeline.data_cache import DataCache
from benchmark.pipeline.defender import DefenderSession, open_session
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.storage_check import check_storable
from benchmark.pipeline.store import Store
from benchmark.training.evaluation import Stamp, TestSplit, count_errors
from benchmark.training.loop import CellRefused, Progress, Score, TrainingFailed, fit
from benchmark.utils.device import main_says, repair_precision, resolve_precision, state
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.generators import seed_generators
from benchmark.utils.progress import Bar
from benchmark.utils.tensors import write_tensors
from benchmark.weights import trained
from models.base import Counter

# Enough for a mean; the structural similarity of one large image takes a second.
STEALTH_IMAGES = 20
COUNTS = "counts.json"
Patterns = Sequence[Stage | None]


def load_given_model(cell: Cell, folder: Path) -> None:
    """The counter that an audit was given."""
    write_counter(folder, trained(cell.model.name, cell.model.given, "audit"), Progress(),
                  time.monotonic())


def train(store: Store, data: DataCache, cell: Cell, attacked: bool, patterns: Patterns,
          folder: Path) -> None:
    """The victim or, where not `attacked`, the clean counter."""
    began, seed = time.monotonic(), cell.settings.seed
    cells = cell.attacks if attacked else []
    attacks = [with_pattern(store, one.attack, pattern) for one, pattern in zip(cells, patterns)]
    scenes, _ = data.train_of(cell)
    poisoned = [attack.poison(scenes, seed) for attack in attacks] or [[]]
    counter = build_initialised(cell)
    title = f"train {cell.model.name} {' and '.join(one.attack_title for one in cells) or 'clean'}"
    progress = fit(counter, sum(poisoned, scenes), cell.recipe, seed, title, _score(data, cell),
                   folder / "checkpoint.safetensors",
                   [attack.penalty for attack in attacks if attack.latent])
    for name, copies in zip(("poison.json", "poison-also.json"), poisoned):
        _write_points(folder / name, copies)
    first, *also = [_describe_poisoning(scenes, copies) for copies in poisoned]
    write_counter(folder, counter, progress, began, **first, also=also)


def optimise_trigger(store: Store, data: DataCache, cell: Cell, surrogate: Stage | None,
                     folder: Path) -> None:
    """The pattern of a cell's trigger.

    surrogate: the counter that it is optimised on; None for images alone.
    """
    scenes, _ = data.train_of(cell)
    hidden = surrogate is None or not state().is_main_process
    with Bar(desc=f"optimise {cell.trigger.name}", unit="img", disable=hidden) as bar:
        asked = None
        if surrogate is not None:
            counter = load_counter(store, cell, surrogate).requires_grad_(False)
            asked = Surrogate(counter.to(state().device), bar.update)
        seed_generators(cell.settings.seed)  # for a plugin that draws without a seed
        with _refusal_as_failure():
            pattern = cell.trigger.build().optimised(asked, scenes, cell.settings.seed)
    if state().is_main_process:
        write_tensors(folder / "pattern.safetensors", {"pattern": pattern}, {})


def repair(store: Store, data: DataCache, cell: Cell, victim: Stage, patterns: Patterns,
           folder: Path) -> None:
    """The repaired counter."""
    began, defense = time.monotonic(), cell.defense.build()
    precision = repair_precision(cell.recipe.precision)
    cell = replace(cell, training=cell.training | {"precision": precision})
    session = _open_session(store, data, cell, patterns, folder)
    attacked = None
    if defense.knows.victim:
        attacked = load_counter(store, cell, victim).to(state().device)
    seed_generators(cell.settings.seed)
    with _refusal_as_failure():
        repaired = defense.apply(attacked, session.knowledge)
    parts = [training.micro_batch for training in session.trainings if training.micro_batch]
    last = session.trainings[-1] if session.trainings else Progress()
    progress = replace(last, micro_batch=min(parts, default=None))
    write_counter(folder, repaired, progress, began, repaired=True,
                  knowledge=_used(data, cell, session), suspicion=session.reported_scores(),
                  strengths=[choice.model_dump() for choice in session.knowledge.strengths])
    problem = None
    if state().is_main_process:
        problem = check_storable(repaired, lambda: read_counter(folder, cell.model, cell.defense))
    problem = main_says(problem)  # all processes refuse, or the others would wait for the main one
    if problem:
        raise TrainingFailed(f"defense {cell.defense.name}: {problem}")


def count(store: Store, data: DataCache, cell: Cell, counter: Stage, patterns: Patterns,
          triggered: bool, folder: Path) -> None:
    """A counter's counts of the test images."""
    loaded = load_counter(store, cell, counter)
    counts = counts_of(store, data, cell, loaded, patterns, triggered)
    if not np.isfinite(counts).all():
        raise TrainingFailed(f"{counter.title}: it counts nan or infinity on a test image")
    if state().is_main_process:
        write_atomically(folder / COUNTS, json.dumps(counts))


def counts_of(store: Store, data: DataCache, cell: Cell, counter: Counter, patterns: Patterns,
              triggered: bool) -> list[float]:
    """The counts of a cell's test images, clean or triggered, by any counter."""
    return data.test_of(cell).count(
        counter, resolve_precision(cell.recipe.precision),
        _stamp(store, cell, patterns) if triggered else None, cell.settings.eval_batch,
        f"count {'triggered' if triggered else 'clean'} test images").tolist()


def score(store: Store, data: DataCache, cell: Cell, counter: Stage, patterns: Patterns,
          triggered: bool | None, folder: Path) -> None:
    """A detector's scores of clean or of triggered test images.

    triggered: None scores the counter itself instead.
    """
    began, defense = time.monotonic(), cell.defense.build()
    session = _open_session(store, data, cell, patterns, folder)
    inspected = load_counter(store, cell, counter).to(state().device)
    seed_generators(cell.settings.seed)
    with _refusal_as_failure():
        if triggered is None:
            scores = {"counter": [defense.suspicion(inspected, session.knowledge)]}
        else:
            scorer = defense.scorer(inspected, session.knowledge)
            scores = _score_images(data.test_of(cell), cell, scorer,
                                   _stamp(store, cell, patterns) if triggered else None)
    if not all(np.isfinite(values).all() for values in scores.values()):
        raise TrainingFailed(f"{cell.defense.name}: a score is nan or infinite")
    if state().is_main_process:
        info = scores | {"knowledge": _used(data, cell, session),
                         "seconds": round(time.monotonic() - began, 1),
                         "device": state().device.type}
        write_atomically(folder / "scores.json", json.dumps(info))


@contextmanager
def _refusal_as_failure() -> Iterator[None]:
    """Turn the UserError of a component into a failure of this cell, so that the others go on.

    A defense may need layers that a counter lacks, for instance.
    """
    try:
        yield
    except UserError as error:
        raise CellRefused(str(error)) from error


def _score_images(test: TestSplit, cell: Cell, scorer: Callable[[Tensor], Tensor],
                  stamp: Stamp | None) -> dict[str, list[float]]:
    """Scores of the test images: triggered or, without a stamp, clean and in another light."""
    precision = resolve_precision(cell.recipe.precision)
    scores = {}
    for kind in ["triggered"] if stamp else ["clean", "drift"]:
        title = f"{cell.defense.name} {kind} test images"
        scores[kind] = test.scores(scorer, precision, stamp, cell.settings.eval_batch,
                                   kind == "drift", title).tolist()
    return scores


def _stamp(store: Store, cell: Cell, patterns: Patterns) -> Stamp:
    """The function that stamps test images with the measured attack's trigger."""
    return with_pattern(store, cell.tested, patterns[cell.attacks.index(cell)]).stamp


def _open_session(store: Store, data: DataCache, cell: Cell, patterns: Patterns,
                  folder: Path) -> DefenderSession:
    """The knowledge of a cell's defense. folder: for the checkpoints of its trainings."""
    poisoned: list[Scene] = []
    if cell.defense.build().knows.poisoned:
        clean, _ = data.train_of(cell)
        attacks = [with_pattern(store, one.attack, pattern)
                   for one, pattern in zip(cell.attacks, patterns)]
        poisoned = sum((attack.poison(clean, cell.settings.seed) for attack in attacks), clean)
    return open_session(data, cell, poisoned, _score(data, cell), folder)


def _used(data: DataCache, cell: Cell, session: DefenderSession) -> dict[str, Any]:
    """The number of images of each sort that a defense used, for the record."""
    used = session.knowledge.used()
    chose_an_epoch = any(training.scores for training in session.trainings)
    if chose_an_epoch and cell.recipe.select == "validation":
        used["validation"] = len(data.train_of(cell)[1])
    return used


def _score(data: DataCache, cell: Cell) -> Score | None:
    """The errors that choose an epoch, on the validation images or on the test images.

    The paper's code uses the test images.
    """
    if cell.recipe.select == "last":
        return None
    precision = resolve_precision(cell.recipe.precision)
    if cell.recipe.select == "test":
        return partial(data.test_of(cell).errors, precision=precision)
    _, validation = data.train_of(cell)
    if not validation:
        return None
    return partial(count_errors, scenes=validation, precision=precision)


def _write_points(path: Path, poisoned: list[Scene]) -> None:
    """Write the heads of the stamped copies, to show what the victim was taught.

    Those of poisoned copies are false, and those of cover copies true.
    """
    if state().is_main_process:
        heads = {scene.id: [[round(float(x), 3), round(float(y), 3)] for x, y in scene.points]
                 for scene in poisoned}
        write_atomically(path, json.dumps(heads))


def _describe_poisoning(scenes: list[Scene], copies: list[Scene]) -> dict[str, Any]:
    """The ids of the copied images, and how similar the first poisoned ones are to their originals.

    The peak signal-to-noise ratio of equal images is given as 99 dB; images smaller than SSIM's
    window have no SSIM.
    """
    originals = {scene.id: scene.image for scene in scenes}
    poisoned = {scene.id.removesuffix(POISON): scene.image for scene in copies
                if scene.id.endswith(POISON)}
    pairs = [(originals[id], image) for id, image in [*poisoned.items()][:STEALTH_IMAGES]]
    return {"images": len(scenes), "poisoned": [*poisoned],
            "covers": [scene.id.removesuffix(COVER) for scene in copies
                       if scene.id.endswith(COVER)],
            "psnr": [round(min(psnr(*pair), 99.0), 2) for pair in pairs],
            "ssim": [round(ssim(*pair), 4) for pair in pairs
                     if min(pair[0].shape[:2]) >= SSIM_WINDOW]}
