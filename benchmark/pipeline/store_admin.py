"""Administration of a store: its contents, damaged stages, and stages that nobody needs."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.pipeline.stage_folder import (OLD, Description, acquire, damage, describe, is_held,
                                             key_of, lock_of, marks, put_aside, read_failure,
                                             read_title)
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, shown
from benchmark.utils.human import moment
from benchmark.utils.storage_errors import describe_error

COLUMNS = ("kind", "key", "title", "status", "seconds", "size", "changed")
KINDS = ("counters", "counts", "scores", "triggers")  # the folders of a store
LEFT_BEHIND = ("failed", "interrupted", "put aside")  # that no run reads, except to go on


@dataclass(frozen=True)
class StoredStage:
    """A stage in a store, finished or not.

    status: 'finished', 'in progress' in some process, 'failed', 'interrupted', or 'put aside'
        because it was damaged or is being deleted.
    seconds: the time it took; None where it is not finished. size: bytes. changed: the time of
        the last change.
    needs: the keys of the stages that it was made from; None where that cannot be read.
    facts: what determines its result; None where it is not finished.
    """

    kind: str
    key: str
    title: str
    status: str
    seconds: float | None
    size: int
    changed: str
    needs: tuple[str, ...] | None
    facts: Any
    folder: Path

    def row(self) -> dict[str, Any]:
        """The stage, ready for JSON."""
        return {key: getattr(self, key) for key in COLUMNS}


def contents(root: Path) -> list[StoredStage]:
    """All stages of a store, sorted by kind and time. Raises UserError if it is no sound store."""
    if not root.is_dir():
        raise UserError(f"{root}: expected a store, a folder that a run has written")
    for kind in map(root.joinpath, KINDS):
        if kind.exists() and not kind.is_dir():
            raise UserError(f"{shown(kind)}: expected a folder of stages, found a file; remove or "
                            "rename it")
    stages = [_stored_stage(folder) for folder in root.glob("*/*") if folder.is_dir()]
    return sorted((stage for stage in stages if stage),
                  key=lambda stage: (stage.kind, stage.changed, stage.key))


def damaged(root: Path) -> Iterator[tuple[StoredStage, str]]:
    """The finished stages with a damaged file, and what is wrong. Raises as `contents` does."""
    for stage in contents(root):
        problem = _damage(stage) if stage.status == "finished" else None
        if problem:
            yield stage, problem


def garbage(root: Path, records: Sequence[Record] | None) -> list[StoredStage]:
    """The stages that can be deleted: what failed and interrupted attempts left, or was put aside.

    Where records are given, also the finished stages that none of them needs.

    Raises:
        UserError: there is no store. Or records are given, and a run works in the store, which may
            need finished stages that no record names yet; or it cannot be read what a stage needs.
    """
    stages = contents(root)
    left = [stage for stage in stages if stage.status in LEFT_BEHIND]
    if records is None:
        return left
    _refuse_while_in_use(root, stages)
    finished = {stage.key: stage for stage in stages if stage.status == "finished"}
    needed = _needed(finished, records)
    unneeded = [stage for key, stage in finished.items() if key not in needed]
    return left + [stage for stage in unneeded if not _belongs_to(stage, needed)]


def behind(root: Path, records: Sequence[Record]) -> list[StoredStage]:
    """The finished stages that records name, and those that these were made from.

    Raises:
        UserError: there is no store, a stage is not in it, or it cannot be read what one needs.
    """
    finished = {stage.key: stage for stage in contents(root) if stage.status == "finished"}
    for record in records:
        for name, key in _keys_of(record).items():
            if key not in finished:
                raise UserError(f"{shown(root)}: it lacks the stage {name!r} of a record "
                                f"({record.model.name}, seed {record.seed}); expected the store of "
                                "the records' run")
    return [finished[key] for key in sorted(_needed(finished, records)) if key in finished]


def _refuse_while_in_use(root: Path, stages: Iterable[StoredStage]) -> None:
    in_use = any(stage.status == "in progress" for stage in stages)
    for mark in marks(root):
        if is_held(mark):
            in_use = True
        else:  # of a run that was killed
            Path(mark.lock_file).unlink(missing_ok=True)
    if in_use:
        raise UserError(f"{root}: a run works in this store, and may need finished stages that no "
                        "record names yet; expected --keep when it has ended")


def _belongs_to(stage: StoredStage, needed: set[str]) -> bool:
    """Whether a stage holds counts, scores or a pattern of counters that are needed."""
    return stage.kind != "counters" and bool(stage.needs) and needed.issuperset(stage.needs)


def _needed(finished: dict[str, StoredStage], records: Sequence[Record]) -> set[str]:
    """The keys of the stages that records name, and of those that these were made from."""
    needed: set[str] = set()
    ahead = {key for record in records for key in _keys_of(record).values()}
    while ahead:
        needed |= ahead
        ahead = {need for key in ahead if key in finished
                 for need in _needs_of(finished[key])} - needed
    return needed


def _keys_of(record: Record) -> dict[str, str]:
    """The keys of the stages that a record names. Raises UserError where it names one without."""
    stages = record.provenance.get("stages", {})
    for name, stage in stages.items():
        if "key" not in stage:
            raise UserError(f"record of {record.model.name}, seed {record.seed}: "
                            f"provenance.stages.{shown(name)}: no key; expected that of a stage")
    return {name: stage["key"] for name, stage in stages.items()}


def _needs_of(stage: StoredStage) -> tuple[str, ...]:
    if stage.needs is None:
        raise UserError(f"{stage.folder}: it cannot be read which stages this one needs; "
                        "`crowdbench store verify --remove` deletes damaged stages")
    return stage.needs


def remove(stages: Iterable[StoredStage],
           if_still: Callable[[StoredStage], object] = lambda stage: True) -> None:
    """Delete stages, except those that a process is making by now.

    if_still: asked again once no other process can make the stage; others stay.
    """
    for stage in stages:
        lock = lock_of(stage.folder)
        if not acquire(lock, wait=False):
            continue
        try:
            if stage.folder.is_dir() and if_still(stage):
                shutil.rmtree(put_aside(stage.folder))
                Path(lock.lock_file).unlink(missing_ok=True)
        finally:
            lock.release()


def remove_damaged(stages: Iterable[StoredStage]) -> None:
    """Delete damaged stages, except those that a run has made again in the meantime."""
    remove(stages, _damage)


def _damage(stage: StoredStage) -> str | None:
    try:
        return damage(stage.folder)
    except OSError as error:  # a file that cannot be read
        return describe_error(error)


def _stored_stage(folder: Path) -> StoredStage | None:
    """The stage in a folder; None where it was finished, and so renamed, in the meantime."""
    try:
        files = [path.lstat() for path in [folder, *folder.iterdir()]]
        begun = read_title(folder)
    except FileNotFoundError:
        return None
    about, failure = _description(folder), read_failure(folder)
    title = about.title if about else failure.title if failure else begun or "?"
    status = _status(folder, failure is not None)
    return StoredStage(
        shown(folder.parent.name), shown(key_of(folder)), shown(title), status,
        about.seconds if about and status == "finished" else None,
        sum(file.st_size for file in files[1:]), moment(max(file.st_mtime for file in files)),
        about.needs if about else None, about.facts if about else None, folder)


def _description(folder: Path) -> Description | None:
    try:
        return describe(folder)
    except OSError:  # `damaged` tells why it cannot be read
        return None


def _status(folder: Path, failed: bool) -> str:
    if folder.suffix == OLD:
        return "put aside"
    if not folder.name.startswith("."):
        return "finished"
    if _in_progress(folder):
        return "in progress"
    return "failed" if failed else "interrupted"


def _in_progress(folder: Path) -> bool:
    try:
        return is_held(lock_of(folder))
    except OSError:  # a store that is only read; nobody can make a stage in it
        return False
