"""Files and folders written as a whole or not at all, also when the machine loses its power."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.utils.errors import UserError, shown
from benchmark.utils.signals import unbroken

# The errors of file systems that cannot wait for the disk, or only for files and not for folders.
CANNOT_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file as a whole or not at all; folders that are missing are created.

    The same text gives the same bytes on every system.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content, encoding="utf-8", newline="\n")


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
            publish(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if temporary.exists():  # a read-only file system refuses to delete even what is not there
            temporary.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, and rename it to `path` when the block ends.

    If the block fails or is interrupted, the temporary folder is removed. At `path` there may be
    an empty folder.

    Raises:
        OSError: the disk is full or a file cannot be written; the error names `path`.
    """
    temporary = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        with unbroken():
            publish(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_files(folder: Path, to: Path) -> None:
    """Copy the files of a folder into a new one.

    Raises:
        OSError: `to` exists or cannot be written; the error names the file.
    """
    to.mkdir()
    for path in folder.iterdir():
        try:
            shutil.copyfile(path, to / path.name)
        except OSError as error:  # which names the file that was read
            raise OSError(error.errno, error.strerror, str(to / path.name)) from None


def with_home(path: str | Path, where: str) -> Path:
    """A path in which `~` or `~USER` at the beginning is the home folder.

    where: the subject of the message, for instance 'dataset synthetic: root'.

    Raises:
        UserError: there is no such user, and no folder of that very name.
    """
    found = Path(os.path.expanduser(path))
    if found.parts[:1] and found.parts[0].startswith("~") and not found.exists():
        raise UserError(f"{where} {shown(path)}: no such user; expected the path of a folder")
    return found


def free_space(path: Path) -> int:
    """The bytes that are free on the disk of a path, which need not exist. Raises OSError."""
    return shutil.disk_usage(nearest_folder(path)).free


def nearest_folder(path: Path) -> Path:
    """The innermost folder of a path that exists: the path itself, or one around it."""
    return next(folder for folder in [path.absolute(), *path.absolute().parents]
                if folder.is_dir())


def publish(draft: Path, path: Path) -> None:
    """Give a finished file or folder its name. A file, or an empty folder, at `path` is replaced.

    The content is on the disk before the name is, so that a power failure leaves the old or the
    new content under the name, and never an empty file.

    Raises:
        OSError: the disk is full or the file system cannot rename; the error names `path`.
    """
    inside = draft.rglob("*") if draft.is_dir() else ()
    try:
        for written in [*inside, draft]:
            _wait_for_disk(written)
        os.replace(draft, path)
        _wait_for_disk(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _wait_for_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk, where the system can wait."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
