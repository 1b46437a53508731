"""The folder of a stage in the store: its names, its lock, its description, and its damage.

KIND/KEY is a finished stage, with the description in stage.json. KIND/.KEY is the hidden folder in
which it is made, and KIND/.KEY.old holds what is left of a damaged or deleted one. All of them have
the lock KIND/.KEY.lock. While a run works in the store, it holds a lock .run-NUMBER.lock.
"""

import os
import shutil
import uuid
from pathlib import Path
from typing import Annotated, Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from benchmark.utils.errors import UserError, shown
from benchmark.utils.hashing import file_sha256
from benchmark.utils.strict_json import MOST_BYTES

ABOUT, FAILED = "stage.json", "failed.json"
TITLE = ".title"  # in a hidden folder: the title of the stage that is being made
MOST_TITLE = 1000  # bytes of it that are read
OLD = ".old"  # ends the name of a folder that was put aside
Model = TypeVar("Model", bound=BaseModel)


def _plain(name: str) -> str:
    if Path(name).name != name or not name.isprintable() or len(name) > 100:
        raise ValueError("expected the name of a file")
    return name


class Description(BaseModel):
    """A finished stage.

    title: a name for people. seconds: the time it took. needs: the keys of the stages that it was
    made from. facts: what determines its result.
    files: the size in bytes and the SHA-256 hash of each file.
    """

    title: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    files: dict[Annotated[str, AfterValidator(_plain)], tuple[int, str]]
    needs: tuple[str, ...] = ()
    facts: Any = None


class Failure(BaseModel):
    """A stage that failed. title: a name for people. reason: why, in one line."""

    title: str
    reason: str


def hidden(final: Path) -> Path:
    """The hidden folder in which a stage is made."""
    return final.with_name(f".{final.name}")


def is_hidden(folder: Path) -> bool:
    """Whether a path is the hidden folder of a stage that is not finished."""
    return folder.name.startswith(".") and folder.suffix != OLD and folder.is_dir()


def key_of(folder: Path) -> str:
    """The key of the stage in a folder, whether finished, hidden or put aside."""
    return folder.name.removeprefix(".").removesuffix(OLD)


def lock_of(folder: Path) -> FileLock:
    """The lock of the stage in a folder."""
    # Without flock, a file that merely exists would be the lock, also after its process was killed.
    return FileLock(folder.with_name(f".{key_of(folder)}.lock"), fallback_to_soft=False)


def mark_of(store: Path) -> FileLock:
    """A new lock that a run holds while it needs stages of a store."""
    return FileLock(store / f".run-{uuid.uuid4().hex[:12]}.lock", fallback_to_soft=False)


def marks(store: Path) -> list[FileLock]:
    """The locks that runs made with `mark_of`. Nobody holds that of a killed run."""
    return [FileLock(path, fallback_to_soft=False) for path in store.glob(".run-*.lock")]


def acquire(lock: FileLock, wait: bool, place: str = "a store (--store)") -> bool:
    """Take a lock. Returns whether it was taken; False only where `wait` is false.

    place: the folder that the lock belongs to, for messages.

    Raises:
        UserError: the file system has no locks.
        OSError: the file of the lock cannot be written; the error names it.
    """
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return False
    except OSError as error:
        if error.filename:
            raise
        raise UserError(f"{lock.lock_file}: the file system cannot lock files ({error.strerror}); "
                        f"expected {place} on one that can, as local disks can") from None
    return True


def is_held(lock: FileLock) -> bool:
    """Whether a process holds a lock. Raises as `acquire` does."""
    free = acquire(lock, wait=False)
    lock.release()
    return not free


def put_aside(folder: Path) -> Path:
    """Rename a folder at once, so that nobody takes it for a stage; returns its new path.

    What was put aside earlier is deleted.
    """
    aside = folder.with_name(f".{key_of(folder)}{OLD}")
    if folder != aside:
        if aside.exists():
            shutil.rmtree(aside)
        os.replace(folder, aside)
    return aside


def describe(folder: Path) -> Description | None:
    """The description of a finished stage; None where it is missing or broken.

    Raises:
        OSError: it is there and cannot be read.
    """
    return _read(Description, folder / ABOUT)


def read_failure(folder: Path) -> Failure | None:
    """Why the stage of a hidden folder failed; None where it did not, or where that is broken."""
    return _read(Failure, folder / FAILED)


def read_title(folder: Path) -> str | None:
    """The title of the stage that is being made in a hidden folder; None where it is not there."""
    path = folder / TITLE
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return file.read(MOST_TITLE).decode(errors="replace")


def _read(model: type[Model], path: Path) -> Model | None:
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return None
    try:
        return model.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError:
        return None


def incomplete(folder: Path) -> str | None:
    """A line that names the first file that a finished stage lacks; None if it is complete.

    No file is read but the description. A file is missing, too, where its size is not as written.
    Raises OSError as `describe` does.
    """
    about = describe(folder)
    if about is None:
        return f"{shown(folder / ABOUT)}: expected the description of a finished stage"
    for name, (size, _) in about.files.items():
        path = folder / name
        if not path.is_file():
            return f"{shown(path)}: the file is missing"
        if path.stat().st_size != size:
            return (f"{shown(path)}: the file differs from what was written: "
                    f"{path.stat().st_size} bytes, expected {size}")
    return None


def damage(folder: Path) -> str | None:
    """The first damaged file of a finished stage, and what is wrong with it; None if none.

    All files are read. Raises OSError where one cannot be.
    """
    problem, about = incomplete(folder), describe(folder)
    if problem or about is None:
        return problem
    for name, (_, digest) in about.files.items():
        if file_sha256(folder / name) != digest:
            return f"{shown(folder / name)}: the file differs from what was written"
    return None
