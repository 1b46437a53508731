"""Files written as a whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.utils.signals import unbroken


def write_atomically(path: Path, text: str) -> None:
    """Write a text file as a whole or not at all; folders that are missing are created.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(text)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to `path` when the block ends.

    If the block fails, the temporary file is removed and `path` stays as it was.

    Raises:
        OSError: the disk is full or the file cannot be written; the error names `path`.
    """
    # A random name, because processes in different containers can have the same process id.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    try:
        with unbroken():
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
