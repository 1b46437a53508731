"""File kinds: which format a file of weights has, and what a file is that holds no weights.

The first bytes decide, not the name of the file.
"""

import json
import os
import re
import zipfile
from pathlib import Path

from benchmark.utils.errors import UserError
from benchmark.utils.regular_files import check_regular
from benchmark.weights.names import listed

HEAD = 4096  # bytes that are read to tell what a file is
ZIP = b"PK\x03\x04"
HDF5 = b"\x89HDF\r\n\x1a\n"
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch wrote until version 1.5
CUT_SHORT = "its end is missing, so the download or the copy was cut short"
SIGNATURES = {  # what no weights are read from, by the first bytes
    b"version https://git-lfs": "a git-lfs pointer, which stands for a file that was not "
                                "downloaded; `git lfs pull` gets it",
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image",
    b"BM": "a BMP image", b"II*\x00": "a TIFF image", b"MM\x00*": "a TIFF image",
    b"%PDF": "a PDF document", b"SQLite format 3": "an SQLite database",
    b"\x1f\x8b": "a gzip archive; unpack it first", b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first", b"\x28\xb5\x2f\xfd": "a zstd archive; unpack "
                                                                        "it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first", b"Rar!": "a RAR archive; unpack it "
                                                                      "first",
    b"PK\x05\x06": "an empty zip archive", b"MATLAB ": "a MATLAB file",
    b"\x93NUMPY": "a single numpy array; numpy.savez writes several by name",
    b"\x7fELF": "a program", b"MZ": "a program"}


def kind_of(path: Path) -> str:
    """The format of a file of weights: 'npz', 'safetensors', 'torch' or 'hdf5'.

    Raises:
        UserError: the file cannot be read, or is none of these; the message says what it is.
    """
    head = _head(path)
    if head.startswith(ZIP) and _first_entry(head).endswith(".npy"):
        return "npz"
    if head.startswith(ZIP):
        _check_torch_archive(path)
        return "torch"
    if head.startswith(LEGACY_TORCH):
        return "torch"
    if head.startswith(HDF5):
        return "hdf5"
    if header_length(head):
        _check_whole_safetensors(path, header_length(head))
        return "safetensors"
    raise _not_weights(path, _description(head))


def header_length(head: bytes) -> int:
    """The length of the header of a safetensors file; 0 if these are not its first bytes."""
    return int.from_bytes(head[:8], "little") if head[8:10] in (b'{"', b"{}", b"{ ") else 0


def _head(path: Path) -> bytes:
    """The first bytes of a regular file. Raises UserError."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise UserError(f"weights {path}: {error.strerror or error}") from None


def _first_entry(head: bytes) -> str:
    """The name of the first entry of a zip archive, with all that fits into its first bytes."""
    return head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace")


def _check_torch_archive(path: Path) -> None:
    """Check that a zip archive is one of torch.save. Raises UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise _not_weights(path, f"a damaged zip archive, perhaps of torch: {CUT_SHORT}") from None
    if any(name.endswith("/constants.pkl") for name in names):
        raise UserError(f"weights {path}: expected a file of tensors only: it is a TorchScript "
                        "archive, a program; write torch.jit.load(...).state_dict() with "
                        "torch.save where you trust it")
    if not any(name.endswith("/data.pkl") for name in names):
        raise _not_weights(path, f"a zip archive with {listed(names)}; unpack it first")


def _check_whole_safetensors(path: Path, header: int) -> None:
    """Check that a safetensors file is as long as its header says. Raises UserError."""
    size = os.stat(path).st_size
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(min(header, size))
    try:
        entries = json.loads(text) if len(text) == header else {}
        ends = [entry["data_offsets"][1] for name, entry in entries.items()
                if name != "__metadata__"]
        announced = 8 + header + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return  # damaged: its reader says how
    if size < announced:
        raise _not_weights(path, f"{size:,} of the {announced:,} bytes of a safetensors file: "
                                 f"{CUT_SHORT}")


def _not_weights(path: Path, what: str) -> UserError:
    return UserError(f"weights {path}: expected a file of tensors only (safetensors, torch, numpy "
                     f".npz or HDF5), found {what}")


def _description(head: bytes) -> str:
    """A description of a file that holds no weights, by its first bytes."""
    if not head:
        return "an empty file: the download or the copy wrote nothing"
    for signature, what in SIGNATURES.items():
        if head.startswith(signature):
            return what
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image"
    if head[257:262] == b"ustar":
        first = _text(head[:100].partition(bytes(1))[0])
        return f"a tar archive with {listed([first])}; unpack it first"
    if head.startswith(b"\x80") and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return ("a pickle that torch.save did not write; write the network's state_dict() with "
                "torch.save where you trust it")
    if not head.strip(bytes(1)):
        return "a file of zeros: the download or the copy failed"
    if b"\x00" not in head and _is_text(head):
        return _kind_of_text(_text(head).lstrip("\ufeff \t\r\n"))
    return "a file of an unknown format"


def _kind_of_text(text: str) -> str:
    """Describe a text file: its kind, with its title or its beginning."""
    lower = text.lower()
    if "<html" in lower or lower.startswith("<!doctype html"):
        title = re.search(r"<title[^>]*>(.{0,200}?)</title", text, re.IGNORECASE | re.DOTALL)
        named = f" named {' '.join(title[1].split())[:100]!r}" if title else ""
        return f"a web page{named}, perhaps of a login or of an error; download the file itself"
    return f"a text file that begins with {text[:60]!r}"


def _is_text(head: bytes) -> bool:
    """Whether bytes are text in UTF-8; the last character may be cut."""
    try:
        head[: len(head) - 3 if len(head) == HEAD else None].decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 6
    return True


def _text(head: bytes) -> str:
    return head.decode("utf-8", "replace")
