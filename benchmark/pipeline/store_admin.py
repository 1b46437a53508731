"""Administration of a store: its contents, damaged stages, and stages that nobody needs."""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.pipeline.store import ABOUT, FAILED, damage
from benchmark.results.record import Record
from benchmark.utils.errors import UserError

COLUMNS = ("kind", "key", "title", "status", "seconds", "size", "changed")


@dataclass(frozen=True)
class StoredStage:
    """A stage in a store, finished or not.

    status: 'finished', 'in progress' in some process, 'failed', or 'interrupted'.
    seconds: the time it took; None where it is not finished. size: bytes. changed: the time of
        the last change.
    needs: the keys of the stages that it was made from.
    """

    kind: str
    key: str
    title: str
    status: str
    seconds: float | None
    size: int
    changed: str
    needs: tuple[str, ...]
    folder: Path

    def row(self) -> dict[str, Any]:
        """The stage, ready for JSON."""
        return {key: getattr(self, key) for key in COLUMNS}


def contents(root: Path) -> list[StoredStage]:
    """All stages of a store, sorted by kind and time. Raises UserError where there is no store."""
    if not root.is_dir():
        raise UserError(f"{root}: expected a store, a folder that a run has written")
    stages = [_stored_stage(folder) for folder in root.glob("*/*") if folder.is_dir()]
    return sorted((stage for stage in stages if stage),
                  key=lambda stage: (stage.kind, stage.changed, stage.key))


def damaged(root: Path) -> Iterator[tuple[StoredStage, str]]:
    """The finished stages with a damaged file, and what is wrong. Raises as `contents` does."""
    for stage in contents(root):
        problem = damage(stage.folder) if stage.status == "finished" else None
        if problem:
            yield stage, problem


def garbage(root: Path, records: Sequence[Record] | None) -> list[StoredStage]:
    """The stages that can be deleted: those of failed and interrupted attempts.

    Where records are given, also the finished stages that none of them needs. Raises as
    `contents` does.
    """
    stages = contents(root)
    left = [stage for stage in stages if stage.status in ("failed", "interrupted")]
    if records is None:
        return left
    finished = {stage.key: stage for stage in stages if stage.status == "finished"}
    needed = _needed(finished, records)
    unneeded = [stage for key, stage in finished.items() if key not in needed]
    return left + [stage for stage in unneeded if not _belongs_to(stage, needed)]


def _belongs_to(stage: StoredStage, needed: set[str]) -> bool:
    """Whether a stage holds counts, scores or a pattern of counters that are needed."""
    return stage.kind != "counters" and bool(stage.needs) and needed.issuperset(stage.needs)


def _needed(finished: dict[str, StoredStage], records: Sequence[Record]) -> set[str]:
    """The keys of the stages that records name, and of those that these were made from."""
    needed: set[str] = set()
    ahead = {stage["key"] for record in records
             for stage in record.provenance.get("stages", {}).values()}
    while ahead:
        needed |= ahead
        ahead = {need for key in ahead if key in finished for need in finished[key].needs} - needed
    return needed


def remove(stages: Iterable[StoredStage]) -> None:
    """Delete stages, except those that a process is making by now."""
    for stage in stages:
        lock = _lock(stage.folder)
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(stage.folder)
                Path(lock.lock_file).unlink(missing_ok=True)
        except (Timeout, FileNotFoundError):
            # Another process is making it, or has finished or deleted it.
            continue


def _stored_stage(folder: Path) -> StoredStage | None:
    """The stage in a folder; None where it was finished, and so renamed, in the meantime."""
    try:
        files = [path.stat() for path in [folder, *folder.iterdir()]]
        about = next((_read(path) for path in (folder / ABOUT, folder / FAILED)
                      if path.is_file()), {})
    except FileNotFoundError:
        return None
    changed = datetime.fromtimestamp(max(file.st_mtime for file in files)).isoformat(" ", "seconds")
    return StoredStage(folder.parent.name, folder.name.lstrip("."), about.get("title", "?"),
                       _status(folder, about), about.get("seconds"),
                       sum(file.st_size for file in files[1:]), changed,
                       tuple(about.get("needs", ())), folder)


def _status(folder: Path, about: dict[str, Any]) -> str:
    if not folder.name.startswith("."):
        return "finished"
    if _is_locked(folder):
        return "in progress"
    return "failed" if "reason" in about else "interrupted"


def _read(path: Path) -> dict[str, Any]:
    """The content of a description; an empty one where it is broken, which `damage` reports."""
    try:
        about = json.loads(path.read_text())
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f".{folder.name.lstrip('.')}.lock"))


def _is_locked(folder: Path) -> bool:
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True
