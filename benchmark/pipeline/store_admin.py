"""What is in a store, whether it is as it was written, and what of it nobody needs."""

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


@dataclass(frozen=True)
class StoredStage:
    """A stage in a store, finished or not.

    status: 'finished', 'in hand' of a process, 'failed', or 'left' by a run that was stopped. needs: keys of stages.
    seconds: that it took; None where it is not finished. size: bytes. changed: when it was written last.
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
        """Ready for JSON."""
        return {key: getattr(self, key) for key in ("kind", "key", "title", "status", "seconds", "size", "changed")}


def contents(root: Path) -> list[StoredStage]:
    """All stages of a store, by kind and time. Raises UserError: there is no store."""
    if not root.is_dir():
        raise UserError(f"{root}: expected a store, a folder that a run has written")
    folders = [folder for folder in root.glob("*/*") if folder.is_dir()]
    return sorted(filter(None, map(_stored_stage, folders)), key=lambda one: (one.kind, one.changed, one.key))


def damaged(root: Path) -> Iterator[tuple[StoredStage, str]]:
    """The finished stages of which a file is not what was written, and what is wrong. Raises as `contents` does."""
    for one in contents(root):
        if one.status == "finished" and (wrong := damage(one.folder)):
            yield one, wrong


def garbage(root: Path, records: Sequence[Record] | None) -> list[StoredStage]:
    """What can be taken away: what failed or stopped attempts left, and, beside records, finished stages that none of
    them needs. Raises as `contents` does.
    """
    stages = contents(root)
    left = [one for one in stages if one.status in ("failed", "left")]
    if records is None:
        return left
    finished = {one.key: one for one in stages if one.status == "finished"}
    needed: set[str] = set()
    ahead = {stage["key"] for record in records for stage in record.provenance.get("stages", {}).values()}
    while ahead:
        needed |= ahead
        ahead = {need for key in ahead if key in finished for need in finished[key].needs} - needed
    told = {key for key, one in finished.items() if one.needs and needed.issuperset(one.needs)
            and one.kind != "counters"}  # the counts and scores of counters that stay
    return left + [one for key, one in finished.items() if key not in needed | told]


def remove(stages: Iterable[StoredStage]) -> None:
    """Take stages away, but for those that a process has taken in hand meanwhile."""
    for one in stages:
        lock = _lock(one.folder)
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(one.folder)
                Path(lock.lock_file).unlink(missing_ok=True)
        except (Timeout, FileNotFoundError):  # in hand, or finished or taken away by another process meanwhile
            continue


def _stored_stage(folder: Path) -> StoredStage | None:
    """What is known of a stage; None where it was finished, and so renamed, meanwhile."""
    hidden = folder.name.startswith(".")
    try:
        files = [path.stat() for path in [folder, *folder.iterdir()]]
        about = next((_json(path) for path in (folder / ABOUT, folder / FAILED) if path.is_file()), {})
    except FileNotFoundError:
        return None
    status = "finished" if not hidden else "in hand" if _in_hand(folder) else "failed" if "reason" in about else "left"
    changed = datetime.fromtimestamp(max(file.st_mtime for file in files)).isoformat(" ", "seconds")
    return StoredStage(folder.parent.name, folder.name.lstrip("."), about.get("title", "?"), status, about.get("seconds"),
                sum(file.st_size for file in files[1:]), changed, tuple(about.get("needs", ())), folder)


def _json(path: Path) -> dict[str, Any]:
    """What a file of the store says; nothing where it is broken, as `damage` will tell."""
    try:
        about = json.loads(path.read_text())
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f".{folder.name.lstrip('.')}.lock"))


def _in_hand(folder: Path) -> bool:
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True
