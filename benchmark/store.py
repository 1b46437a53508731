"""A folder of finished stages, found by content. A stage is made in a hidden folder that is renamed when it is whole.

The name of a stage is a hash of all that decides its result, so nothing finished is redone and nothing stale is used.
What a killed process leaves behind is its hidden folder with the last checkpoint, from which the next run goes on.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from filelock import FileLock

from benchmark.device import state

Make = Callable[[Path], None]


def content_key(facts: Any) -> str:
    """A name for JSON-like facts: 20 hex digits of SHA-256. A file counts by its bytes, not by its path.

    >>> content_key({"b": 1, "a": 2}) == content_key({"a": 2, "b": 1})
    True
    """
    text = json.dumps(_by_content(facts), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises OSError naming it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(text)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` when it is written; else nothing is left of it.

    Raises:
        OSError: naming `path`, where the disk is full or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """Stages under one folder, which many processes may share."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, kind: str, facts: Any) -> Path:
        """Where the stage of these facts is, or will be."""
        return self.root / kind / content_key(facts)

    def get(self, kind: str, facts: Any, make: Make) -> Path:
        """The folder of a stage, made first if it is not there.

        make: fills the folder that it is handed; it finds there what an earlier, killed attempt left.
        One process makes a stage and others wait for it; the processes of one training make it together.
        """
        final = self.path(kind, facts)
        if main_says(final.is_dir()):
            return final
        partial = final.with_name(f".{final.name}")
        main = state().is_main_process
        final.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(final.with_name(f".{final.name}.lock")) if main else nullcontext():
            if main_says(final.is_dir()):
                return final
            partial.mkdir(exist_ok=True)
            make(partial)
            state().wait_for_everyone()
            if main:
                (partial / "facts.json").write_text(json.dumps(_by_content(facts), indent=1, sort_keys=True))
                os.replace(partial, final)
            state().wait_for_everyone()
        return final


def main_says(value: bool) -> bool:
    """The main process's answer, so that all processes take the same way."""
    if state().num_processes == 1:
        return value
    answer = [value]
    broadcast_object_list(answer)
    return answer[0]


def _by_content(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {str(key): _by_content(value) for key, value in facts.items()}
    if isinstance(facts, (list, tuple)):
        return [_by_content(value) for value in facts]
    if isinstance(facts, Path):
        return "sha256:" + hashlib.sha256(facts.read_bytes()).hexdigest() if facts.is_file() else str(facts)
    return facts
