"""Pull: stages are taken from a zoo into a store, where the next run finds them finished."""

import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmark.pipeline.stage_folder import acquire, hidden, incomplete, lock_of, put_aside
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import free_space, publish
from benchmark.utils.hashing import file_sha256
from benchmark.utils.human import size
from benchmark.utils.progress import Bar
from benchmark.utils.strict_json import MOST_BYTES as MOST_JSON
from benchmark.zoo.check import problem_of
from benchmark.zoo.index import INDEX, Index, SharedFile, SharedStage, read_index, stage_folder
from benchmark.zoo.sources import Source, Told


def index_of(place: Source) -> Index:
    """The index of a zoo. Raises UserError if it cannot be had or is not that of a zoo."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / INDEX
        place.fetch(INDEX, path, MOST_JSON, lambda arrived: None)
        return read_index(path, place.name)


def missing(index: Index, store: Path, keys: Collection[str] | None) -> dict[str, SharedStage]:
    """The stages of a zoo that a store lacks. keys: only these; None takes all."""
    chosen = {key: stage for key, stage in index.stages.items() if keys is None or key in keys}
    return {key: stage for key, stage in chosen.items()
            if incomplete(stage_folder(store, key, stage)) is not None}


def check_space(stages: Mapping[str, SharedStage], store: Path, most: int | None = None) -> None:
    """Check how much would be written. Raises UserError: it is more than `most`, or than is free.

    most: the number of bytes that the user allows; None sets no limit.
    """
    total = sum(stage.size for stage in stages.values())
    if most is not None and total > most:
        raise UserError(f"zoo pull: {size(total)} in {len(stages)} stages; expected at most "
                        f"{size(most)}: choose with --grid, or allow more with --most")
    free = free_space(store)
    if total > free:
        raise UserError(f"zoo pull: {size(total)} in {len(stages)} stages, and {size(free)} are "
                        f"free where the store {shown(store)} is")


def pull(place: Source, stages: Mapping[str, SharedStage], store: Path) -> None:
    """Take stages from a zoo into a store, each as a whole or not at all.

    A killed pull leaves what has arrived in the hidden folder of the stage, and the next one goes
    on from there.

    Raises:
        UserError: a file differs from what the index says, or the stage from what its key says.
        OSError: the store cannot be written.
    """
    total = sum(stage.size for stage in stages.values())
    with Bar(total=total, unit="B", unit_scale=True, desc="pull") as bar:
        for key, stage in stages.items():
            final = stage_folder(store, key, stage)
            final.parent.mkdir(parents=True, exist_ok=True)
            lock = lock_of(final)
            acquire(lock, wait=True)
            try:
                if incomplete(final) is not None:  # no other process has made it
                    _pull_stage(place, key, stage, final, bar)
            finally:
                lock.release()


def _pull_stage(place: Source, key: str, stage: SharedStage, final: Path, bar: Bar) -> None:
    folder, done = hidden(final), bar.n
    folder.mkdir(exist_ok=True)
    for name, file in stage.files.items():
        if not file.is_at(folder / name):
            _fetch(place, f"{stage.kind}/{key}/{name}", folder / name, file,
                   lambda arrived, done=done: bar.update(done + arrived - bar.n))
        done += file.size
        bar.update(done - bar.n)
    problem = problem_of(key, stage.files, folder)
    if problem:
        for name in stage.files:
            (folder / name).unlink()
        if not any(folder.iterdir()):  # else it holds the checkpoint of a killed training
            folder.rmdir()
        raise UserError(f"zoo {shown(place.name)}: {stage.kind}/{key}: {problem}; nothing of it "
                        "was kept")
    _clear(folder, stage)
    if final.exists():
        put_aside(final)
    publish(folder, final)


def _fetch(place: Source, where: str, path: Path, file: SharedFile, told: Told) -> None:
    """Get a file. What has arrived of it is under a hidden name until it is whole."""
    part = _part(path)
    place.fetch(where, part, file.size, told)
    if not file.is_at(part):
        found = file_sha256(part)
        part.unlink()
        raise UserError(f"zoo {shown(place.name)}: {where}: the SHA-256 hash is {found}; expected "
                        f"{file.sha256}; nothing of it was kept")
    part.replace(path)


def _clear(folder: Path, stage: SharedStage) -> None:
    """Delete what is no file of a stage, such as the checkpoint of a killed training."""
    for path in folder.iterdir():
        if path.name not in stage.files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
