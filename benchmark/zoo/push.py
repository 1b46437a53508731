"""Push: the counters and patterns behind records are copied from a store into a zoo."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from filelock import FileLock

from benchmark.pipeline.counter_files import INFO, WEIGHTS
from benchmark.pipeline.stage_folder import ABOUT, acquire, damage, describe
from benchmark.pipeline.store_admin import StoredStage, behind
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import copy_files, publish
from benchmark.utils.human import size
from benchmark.utils.progress import log
from benchmark.weights.published import licence_of
from benchmark.zoo.check import training_of, unfit
from benchmark.zoo.half import Halving
from benchmark.zoo.index import (INDEX, KINDS, FileName, Index, SharedFile, SharedStage,
                                 read_index, stage_folder, write_index)

LOCK = ".push.lock"


def push(records: Sequence[Record], store: Path, folder: Path,
         halving: Halving | None = None) -> tuple[Index, int]:
    """Copy the stages behind records into a zoo, which is made if it is missing.

    What the zoo holds already stays as it is. The index gets a stage once its files are there, so
    that a killed push leaves a sound zoo, and the next one goes on. Two pushes into one zoo wait
    for each other, so that the index lacks the stages of neither.
    halving: rounds counters to 16 bits where they count the same; None rounds none.
    Returns the index, and the number of stages that were added.

    Raises:
        UserError: a counter of a record is not in the store, a stage is damaged or none that a run
            writes, the zoo holds another stage under its key, or its file system has no locks.
        OSError: the zoo cannot be written.
    """
    stages = [stage for stage in behind(store, records) if stage.kind in KINDS]
    with _alone(folder):
        return _push(stages, folder, halving)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a zoo, which is made if it is missing. Raises as `push` does.

    The file of the lock stays there, hidden; the index does not name it, so it is no part of the
    zoo.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, place = FileLock(folder / LOCK, fallback_to_soft=False), "a zoo (--to)"
    if not acquire(lock, wait=False, place=place):
        log(f"zoo {shown(folder)}: another push is at work there; this one waits for it")
        acquire(lock, wait=True, place=place)
    try:
        yield
    finally:
        lock.release()


def _push(stages: Sequence[StoredStage], folder: Path,
          halving: Halving | None) -> tuple[Index, int]:
    """Copy stages into a zoo whose lock is held. Raises as `push` does."""
    index = read_index(folder / INDEX, folder) if (folder / INDEX).exists() else Index()
    added = 0
    for stage in stages:
        known = index.stages.get(stage.key)
        if known and not _is(stage, known):
            raise UserError(f"zoo {shown(folder)}: {stage.kind}/{stage.key}: another stage of this "
                            "key is there, as when it was made on another machine; expected an "
                            "empty folder, or the store that the zoo was filled from")
        if not known:
            index = Index(stages=index.stages | {stage.key: _add(stage, folder, halving)})
            write_index(folder, index)
            added += 1
    return index, added


def _is(stage: StoredStage, known: SharedStage) -> bool:
    """Whether a stage of the store is the one that a zoo has, rounded or not."""
    own = {name: sha256 for name, (_, sha256) in describe(stage.folder).files.items()}
    if known.rounded_from:
        return known.rounded_from == own.get(WEIGHTS)
    return own == {name: file.sha256 for name, file in known.files.items() if name != ABOUT}


def _add(stage: StoredStage, folder: Path, halving: Halving | None) -> SharedStage:
    """Copy a stage into a zoo, as a whole or not at all. Raises as `push` does."""
    _check(stage)
    final = stage_folder(folder, stage.key, stage)
    draft = final.with_name(f".{stage.key}")
    for leftover in (draft, final):  # of a push that was killed
        if leftover.exists():
            shutil.rmtree(leftover)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        rounded = halving is not None and stage.kind == "counters" and halving.write(stage, draft)
        if not rounded:
            copy_files(stage.folder, draft)
        shared = _described(stage, draft)
        publish(draft, final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # what a full disk has left of it
    if rounded:
        original = describe(stage.folder).files[WEIGHTS][1]
        shared = shared.model_copy(update={"rounded_from": original})
    log(f"{stage.title}: {size(shared.size)}{', in 16 bits' if rounded else ''}")
    return shared


def _check(stage: StoredStage) -> None:
    """Check that a stage is one that `zoo pull` takes. Raises UserError."""
    problem = damage(stage.folder)
    if problem:
        raise UserError(f"{problem}; `crowdbench store verify --remove` deletes damaged stages")
    files = {path.name for path in stage.folder.iterdir()}
    unknown = files - set(get_args(FileName))
    if unknown:
        raise UserError(f"{shown(stage.folder / min(unknown))}: no file of a {stage.kind[:-1]}; "
                        f"expected {', '.join(get_args(FileName))}")
    problem = unfit(stage.key, files, stage.folder)
    if problem:
        raise UserError(f"{shown(stage.folder)}: {problem}; expected a stage that a run has made")


def _described(stage: StoredStage, folder: Path) -> SharedStage:
    """The entry of a stage in the index. folder: with its files."""
    files = {path.name: SharedFile.of(path) for path in sorted(folder.iterdir())}
    training = training_of(describe(folder))
    name, _, settings = training.model
    return SharedStage(kind=stage.kind, title=stage.title, needs=list(stage.needs or ()),
                       precision=training.recipe.precision,
                       weights=_note(folder), licence=licence_of(name, settings.get("weights")),
                       files=files)


def _note(folder: Path) -> str | None:
    """The origin of the initial weights of a counter; None where its files do not tell."""
    path = folder / INFO
    return json.loads(path.read_text()).get("weights") if path.is_file() else None
