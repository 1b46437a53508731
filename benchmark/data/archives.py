"""Archives: downloaded .zip and .tar files, unpacked together into one new folder.

An archive comes from a stranger, so that nothing in it is trusted. What would be written outside of
the folder, or over another file, or as a link or a device, is refused, as is more than the disk has
room for. The folder is there as a whole or not at all.
"""

import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import free_space, whole_folder
from benchmark.utils.human import size
from benchmark.utils.new_folder import check_new_folder
from benchmark.utils.progress import Bar
from benchmark.utils.regular_files import check_regular

KINDS = ".zip, .tar, .tar.gz or .tgz"
TEXT = ".txt"  # lists that lie beside the archives of a dataset are copied
MOST_MEMBERS = 1_000_000
MOST_AT_ONCE = 2**24  # bytes that a tar may announce for one of its headers, which is read at once
BLOCK = 4096  # bytes that even a small file takes on a disk
BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError,
          EOFError, ValueError, RuntimeError, OverflowError, struct.error)


@dataclass(frozen=True)
class _Member:
    """One file or folder in an archive.

    size: in bytes, which it cannot exceed. plain: whether it is a file or a folder, and no link or
    device. extract: called as extract(path=FOLDER), writes it into a folder, under its name.
    """

    name: str
    size: int
    plain: bool
    is_folder: bool
    extract: Callable[..., object]


def unpack(paths: Sequence[Path], folder: Path) -> None:
    """Unpack archives into a folder that is new or empty; lists (.txt) are copied into it.

    Raises:
        UserError: the folder is neither, or an archive is broken or asks for what is refused.
        OSError: the folder cannot be written.
    """
    check_new_folder(folder)
    room = free_space(folder)
    taken: dict[str, Path] = {}
    with ExitStack() as stack:
        members = {path: stack.enter_context(_opened(path)) for path in dict.fromkeys(paths)}
        for path, inside in members.items():
            for member in inside:
                _check_name(path, member, taken)
                room -= member.size + BLOCK
        if room < 0:
            raise UserError(f"{shown(folder)}: {size(-room)} are missing on its disk for what the "
                            "archives hold; free some space, or choose another disk")
        with whole_folder(folder.resolve()) as draft:
            for path, inside in members.items():
                _extract(path, inside, draft)


def _check_name(path: Path, member: _Member, taken: dict[str, Path]) -> None:
    """Check what a member is and where it would be written. Raises UserError.

    taken: the archives by the names of their files, in lower case, to which this one is added.
    """
    name = PureWindowsPath(member.name)  # it knows both kinds of slashes, and drives
    if name.anchor or ".." in name.parts:
        raise UserError(f"{shown(path)}: {shown(member.name)}: expected paths inside of the folder "
                        "that it is unpacked into; nothing was unpacked")
    if not member.plain:
        raise UserError(f"{shown(path)}: {shown(member.name)}: expected files and folders, found a "
                        "link or a device; nothing was unpacked")
    key = str(PurePosixPath(member.name)).casefold()
    if key in taken and not member.is_folder:
        raise UserError(f"{shown(path)}: {shown(member.name)}: expected each file once, found it "
                        f"in {shown(taken[key])} before; nothing was unpacked")
    taken[key] = path


def _extract(path: Path, members: list[_Member], draft: Path) -> None:
    with _archive_errors(path):
        for member in Bar(members, desc=f"unpack {path.name}", unit="file"):
            member.extract(path=draft)


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    """Turn what Python raises for a broken archive into a UserError that names it."""
    try:
        yield
    except BROKEN as error:
        raise UserError(f"{shown(path)}: expected an archive that can be unpacked: "
                        f"{shown(error) or type(error).__name__}") from None


@contextmanager
def _opened(path: Path) -> Iterator[list[_Member]]:
    """Open an archive for a block, and give its members. Raises UserError."""
    check_regular(path)
    name = path.name.lower()
    with ExitStack() as stack:
        with _archive_errors(path):
            if name.endswith(TEXT):
                members = [_text(path)]
            elif name.endswith(".zip"):
                members = _in_zip(stack.enter_context(zipfile.ZipFile(path)))
            elif name.endswith((".tar", ".tar.gz", ".tgz")):
                open_file = open if name.endswith(".tar") else gzip.open
                members = _in_tar(stack.enter_context(open_file(path, "rb")))
            else:
                raise UserError(f"{shown(path)}: expected {KINDS}; unpack it with another program, "
                                "and run `crowdbench data check NAME --root FOLDER`")
        if len(members) > MOST_MEMBERS:
            raise UserError(f"{shown(path)}: expected at most {MOST_MEMBERS:,} files")
        yield members


def _text(path: Path) -> _Member:
    """Return the only member of a list: the file itself."""
    def copy(path: Path, source: Path = path) -> None:
        shutil.copyfile(source, path / source.name)

    return _Member(path.name, path.stat().st_size, True, False, copy)


def _in_zip(archive: zipfile.ZipFile) -> list[_Member]:
    """Return the members of a zip file; of none more is unpacked than its size says."""
    members = []
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where it was made on Windows
        plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        members.append(_Member(info.filename, info.file_size, plain, info.is_dir(),
                               partial(archive.extract, info)))
    return members


def _in_tar(file: IO[bytes]) -> list[_Member]:
    """Return the members of a tar file. Raises UserError with a Python that lacks the filter."""
    if not hasattr(tarfile, "data_filter"):
        raise UserError("a .tar file: expected Python 3.11.4 or newer, which unpacks it safely")
    archive = tarfile.open(fileobj=_Bounded(file), mode="r:")
    members = []
    for info in archive:
        plain = (info.isreg() or info.isdir()) and info.size >= 0
        members.append(_Member(info.name, info.size, plain, info.isdir(),
                               partial(archive.extract, info, filter="data")))
        if len(members) > MOST_MEMBERS:
            break
    return members


class _Bounded:
    """A file of which not much is read at once, whatever the headers of a tar announce."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, amount: int) -> bytes:
        """Read some bytes. Raises ValueError if they are too many."""
        if amount > MOST_AT_ONCE:
            raise ValueError(f"a header of {amount:,} bytes")
        return self.file.read(amount)
