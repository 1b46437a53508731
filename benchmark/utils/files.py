"""Text and binary files written whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.utils.signals import unbroken


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
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")  # a pid is one's own in a container alone
    try:
        with unbroken():
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
