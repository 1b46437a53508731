"""The store: a folder of finished stages, each named by a hash of all that determines its result.

Nothing finished is made again, and nothing outdated is used. A stage is made in a hidden folder,
which is renamed when it is complete; a killed process leaves the hidden folder with its last
checkpoint, from which the next run goes on. Many processes, also on several machines, may share a
store: a stage is locked by the process that makes it.
"""

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.pipeline.stage import Stage
from benchmark.utils.device import main_says, state
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.hashing import by_content, file_sha256
from benchmark.utils.signals import unbroken

ABOUT, FAILED = "stage.json", "failed.json"


class Store:
    """Stages under one folder.

    made, spent: the number of stages that this process made, and the seconds it took.
    """

    def __init__(self, root: Path):
        self.root, self.made, self.spent = root, 0, 0.0
        self._check = cache(_check)  # each process reads the files of a stage once

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process, all its stages share one.
        return _of_this_process, (self.root.resolve(),)

    def path(self, stage: Stage) -> Path:
        """The folder of a stage, whether or not it exists."""
        return self.root / stage.kind / stage.key

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return main_says(self.path(stage).is_dir())

    def get(self, stage: Stage, wait: bool = True) -> Path | None:
        """The folder of a stage, made first if it is missing, and before it the stages it needs.

        One process makes a stage while others wait for it or, where `wait` is false, get None at
        once. The processes of one distributed training make a stage together.

        Raises:
            UserError: a file of a finished stage differs from what was written.
        """
        final, main = self.path(stage), state().is_main_process
        if self.has(stage):
            self._check(final)
            return final
        for need in stage.needs:
            if self.get(need, wait) is None:
                return None
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_hidden(final).with_suffix(".lock"))
        if not main_says(not main or _locked(lock, wait)):
            return None
        try:
            if not self.has(stage):
                self._make(stage, final)
        finally:
            lock.release()
        return final

    def shared(self) -> bool:
        """Whether another process is making a stage at this moment."""
        unfinished = [folder for folder in self.root.glob("*/.*") if folder.is_dir()]
        return main_says(state().is_main_process and any(
            not _free(FileLock(folder.with_suffix(".lock"))) for folder in unfinished))

    def _make(self, stage: Stage, final: Path) -> None:
        partial, began = _hidden(final), time.monotonic()
        partial.mkdir(exist_ok=True)
        if state().is_main_process:
            for unfinished in partial.glob(".*"):  # a file that a killed process was writing
                unfinished.unlink()
        stage.make(partial)
        state().wait_for_everyone()
        seconds = time.monotonic() - began
        self.made, self.spent = self.made + 1, self.spent + seconds
        if state().is_main_process:
            with unbroken():
                (partial / FAILED).unlink(missing_ok=True)
                # Of an attempt that was killed before the renaming.
                (partial / ABOUT).unlink(missing_ok=True)
                files = {path.name: [path.stat().st_size, file_sha256(path)]
                         for path in sorted(partial.iterdir())}
                about = {"title": stage.title, "seconds": round(seconds, 3), "files": files,
                         "needs": [need.key for need in stage.needs],
                         "facts": by_content(stage.key_parts)}
                write_atomically(partial / ABOUT, json.dumps(about, indent=1, sort_keys=True))
                os.replace(partial, final)
        state().wait_for_everyone()

    def seconds(self, stage: Stage) -> float:
        """The seconds that it took to make a finished stage."""
        return json.loads((self.path(stage) / ABOUT).read_text())["seconds"]

    # A failed stage stays in its hidden folder, with the reason beside its last checkpoint.

    def fail(self, stage: Stage, reason: str) -> None:
        """Remember that a stage failed."""
        if state().is_main_process:
            failure = json.dumps({"title": stage.title, "reason": reason})
            write_atomically(_hidden(self.path(stage)) / FAILED, failure)

    def failure(self, stage: Stage) -> str | None:
        """The reason why a stage failed before; None if it did not."""
        path = _hidden(self.path(stage)) / FAILED
        return json.loads(path.read_text())["reason"] if path.is_file() else None

    def clear_failure(self, stage: Stage) -> None:
        """Forget that a stage failed, so that it is tried again."""
        if state().is_main_process:
            (_hidden(self.path(stage)) / FAILED).unlink(missing_ok=True)


@cache
def _of_this_process(root: Path) -> Store:
    return Store(root)


def damage(folder: Path) -> str | None:
    """The first damaged file of a finished stage, and what is wrong with it; None if none."""
    try:
        files = json.loads((folder / ABOUT).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{folder / ABOUT}: expected the description of a finished stage"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: the file is missing"
        if path.stat().st_size != size or file_sha256(path) != digest:
            return f"{path}: the file differs from what was written"
    return None


def _check(folder: Path) -> None:
    problem = damage(folder)
    if problem:
        raise UserError(f"{problem}; `crowdbench store verify --remove` deletes damaged stages, "
                        "and the next run makes them again")


def _hidden(final: Path) -> Path:
    """The hidden folder in which a stage is made."""
    return final.with_name(f".{final.name}")


def _locked(lock: FileLock, wait: bool) -> bool:
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return False
    return True


def _free(lock: FileLock) -> bool:
    free = _locked(lock, wait=False)
    lock.release()
    return free
