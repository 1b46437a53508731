"""The store: a folder of finished stages, each named by a hash of all that determines its result.

Nothing finished is made again, and nothing outdated is used. A stage is made in a hidden folder,
which is renamed when it is complete; a killed process leaves the hidden folder with its last
checkpoint, from which the next run goes on. Many processes, also on several machines, may share a
store: a stage is locked by the process that makes it.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.pipeline.stage import Stage
from benchmark.pipeline.stage_folder import (ABOUT, FAILED, TITLE, acquire, damage, describe,
                                             hidden, incomplete, is_held, is_hidden, lock_of,
                                             mark_of, put_aside, read_failure)
from benchmark.utils.device import main_says, state
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import publish, write_atomically
from benchmark.utils.hashing import by_content, file_sha256
from benchmark.utils.progress import log
from benchmark.utils.signals import unbroken


class Store:
    """Stages under one folder.

    made, spent: the number of stages that this process made, and the seconds it took.
    """

    def __init__(self, root: Path):
        """Raises UserError if the path is not UTF-8, since safetensors reads no other files."""
        if os.fsencode(root).decode(errors="ignore") != str(root):
            raise UserError(f"store {shown(root)}: expected a path in UTF-8")
        self.root, self.made, self.spent = root, 0, 0.0
        self._complete: set[Path] = set()  # the stages in which nothing was missing so far
        self._check = cache(_check)  # each process reads the files of a stage once

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process, all its stages share one.
        return _of_this_process, (self.root.resolve(),)

    def path(self, stage: Stage) -> Path:
        """The folder of a stage, whether or not it exists."""
        return self.root / stage.kind / stage.key

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished. One in which a file is missing is not."""
        return main_says(self._is_complete(self.path(stage)))

    def _is_complete(self, final: Path) -> bool:
        if not final.is_dir():
            return False
        if final not in self._complete and incomplete(final) is None:
            self._complete.add(final)
        return final in self._complete

    def get(self, stage: Stage, wait: bool = True) -> Path | None:
        """The folder of a stage, made first if it is missing, and before it the stages it needs.

        One process makes a stage while others wait for it or, where `wait` is false, get None at
        once. The processes of one distributed training make a stage together.

        Raises:
            UserError: a file of a finished stage differs from what was written, or the file system
                cannot lock files.
            OSError: the store cannot be written; the error names the path.
        """
        final, main = self.path(stage), state().is_main_process
        if self.has(stage):
            self._check(final)
            return final
        for need in stage.needs:
            if self.get(need, wait) is None:
                return None
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(final)
        if not main_says(not main or acquire(lock, wait)):
            return None
        try:
            if not self.has(stage):
                self._make(stage, final)
        finally:
            lock.release()
        return final

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Mark the store as needed by a run while a block is executed, for `crowdbench store gc`.

        Raises as `get` does.
        """
        mark = mark_of(self.root)
        if state().is_main_process:
            self.root.mkdir(parents=True, exist_ok=True)
            acquire(mark, wait=True)
        try:
            yield
        finally:
            if mark.is_locked:
                Path(mark.lock_file).unlink(missing_ok=True)
                mark.release()

    def shared(self) -> bool:
        """Whether another process is making a stage at this moment."""
        return main_says(state().is_main_process and any(
            is_hidden(folder) and is_held(lock_of(folder)) for folder in self.root.glob("*/.*")))

    def _make(self, stage: Stage, final: Path) -> None:
        partial, began = hidden(final), time.monotonic()
        if state().is_main_process:
            _clear_place(final)
        partial.mkdir(exist_ok=True)
        if state().is_main_process:
            _clear_leftovers(partial)
            (partial / TITLE).write_bytes(stage.title.encode())
        stage.make(partial)
        state().wait_for_everyone()
        seconds = time.monotonic() - began
        self.made, self.spent = self.made + 1, self.spent + seconds
        if state().is_main_process:
            with unbroken():
                (partial / FAILED).unlink(missing_ok=True)
                # Of an attempt that was killed before the renaming.
                (partial / ABOUT).unlink(missing_ok=True)
                (partial / TITLE).unlink(missing_ok=True)
                files = {path.name: [path.stat().st_size, file_sha256(path)]
                         for path in sorted(partial.iterdir())}
                about = {"title": stage.title, "seconds": round(seconds, 3), "files": files,
                         "needs": [need.key for need in stage.needs],
                         "facts": by_content(stage.key_parts)}
                write_atomically(partial / ABOUT, json.dumps(about, indent=1, sort_keys=True))
                publish(partial, final)
        state().wait_for_everyone()

    def seconds(self, stage: Stage) -> float | None:
        """The seconds that it took to make a finished stage; None if it is not there any more."""
        about = describe(self.path(stage))
        return about.seconds if about else None

    # A failed stage stays in its hidden folder, with the reason beside its last checkpoint.

    def fail(self, stage: Stage, reason: str) -> None:
        """Remember that a stage failed, unless another process makes it again or has made it."""
        final, failure = self.path(stage), json.dumps({"title": stage.title, "reason": reason})
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(final)
        if not state().is_main_process or not acquire(lock, wait=False):
            return
        try:
            if not self._is_complete(final):
                write_atomically(hidden(final) / FAILED, failure)
        finally:
            lock.release()

    def failure(self, stage: Stage) -> str | None:
        """The reason why a stage failed before; None if it did not.

        All processes of a distributed run get the main one's answer, which may forget it later.
        """
        failure = read_failure(hidden(self.path(stage)))
        return main_says(failure.reason if failure else None)

    def clear_failure(self, stage: Stage) -> None:
        """Forget that a stage failed, so that it is tried again."""
        if state().is_main_process:
            (hidden(self.path(stage)) / FAILED).unlink(missing_ok=True)


@cache
def _of_this_process(root: Path) -> Store:
    return Store(root)


def _clear_place(final: Path) -> None:
    """Put aside what is left of a finished stage in which a file is missing.

    Raises:
        UserError: in its place is something else than a folder.
    """
    if not final.exists():
        return
    if not final.is_dir():
        raise UserError(f"{final}: expected the folder of a stage; remove this file")
    problem = incomplete(final)
    aside = put_aside(final)
    log(f"{problem}; the stage is made again. What is left of it is in {aside} until "
        "`crowdbench store gc`")


def _clear_leftovers(partial: Path) -> None:
    """Delete the files that a killed process was writing, and folders, which no stage writes."""
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name.startswith("."):
            path.unlink()


def _check(folder: Path) -> None:
    problem = damage(folder)
    if problem:
        raise UserError(f"{problem}; `crowdbench store verify --remove` deletes damaged stages, "
                        "and the next run makes them again")
