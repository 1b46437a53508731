"""Torch files: read without running anything that is pickled in them.

Why nothing is run. torch.load(weights_only=True) calls no function and makes no object but those of
a list: torch's own, which rebuild tensors, and the ones that are allowed beside them. To these are
added only classes that are made here, one for each name in the file; torch's own list comes first.
They stand for that name and import nothing: neither the name nor any value of the file is looked up
as a module, a function or a class. Making an object of such a class gives an empty dictionary,
whatever it was (an argparse.Namespace, a configuration). Calling one is refused, except for names
of plain values (numpy scalars, paths, dates), and gives an object without content.
So a file may hold such objects beside its tensors, but the only content that is read is tensors,
numbers, text and containers of them.
"""

import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from benchmark.utils.errors import UserError, quoted
from benchmark.weights.file_kinds import CUT_SHORT, ZIP

INSTRUCTIONS = 3_000_000  # of the pickle; a state dict of 1,000 tensors has about 20,000
RATIO = 100  # bytes in memory for each byte of the file; trained weights are near 1
NAMES = 1000  # of classes and functions
LEGACY_PICKLES = 4  # a file of torch before 1.6 begins with three short ones and the content
PROTOCOL = 2  # of the pickles of torch.save
PLAIN_MODULES = ("torch", "collections", "_codecs", "builtins", "numpy")
NEW_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # pickles keep those of Python 2
CALLS = "loading it would call"
WAY_OUT = "write the network's state_dict() alone with torch.save where you trust the file"
# Functions and classes that make a plain value when they are called.
VALUES = {"collections.defaultdict", "types.SimpleNamespace", "datetime.date", "datetime.datetime",
          "datetime.time", "datetime.timedelta", "datetime.timezone", "decimal.Decimal",
          "fractions.Fraction", "uuid.UUID", "numpy.dtype", "numpy.ndarray",
          *(f"{module}.{name}" for module in ("pathlib", "pathlib._local")
            for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
          *(f"{module}.multiarray.{name}" for module in ("numpy.core", "numpy._core")
            for name in ("scalar", "_reconstruct"))}


class Inert(type):
    """The type of the classes that stand for a name in the file. See the module's docstring."""

    def __call__(cls, *arguments: Any) -> Any:
        """Stand for the value of a call in the file. Raises UnpicklingError for other names."""
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in VALUES:
            raise pickle.UnpicklingError(f"{CALLS} {quoted(name)}; {WAY_OUT}")
        return OrderedDict() if name == "collections.defaultdict" else object.__new__(cls)


def _inert(module: str, name: str) -> Inert:
    """A class that stands for a name in a file."""
    return Inert(name, (), {"__module__": module, "__qualname__": name,
                            "__new__": lambda cls, *arguments: OrderedDict(),
                            "__setstate__": lambda self, state: None})


def read_torch(path: Path) -> tuple[Any, list[str]]:
    """The content of a torch file, and the names of the classes in it that are not torch's own.

    Objects of these classes are empty. See the module's docstring.

    Raises:
        UserError: the file is damaged, or loading it would call a function.
    """
    names = _names(path)
    try:
        stand_ins = [_inert(*name) for name in names]  # torch takes its own list first
        with (torch.serialization.safe_globals(stand_ins),
              warnings.catch_warnings(action="ignore"),  # the error message says enough
              path.open("rb") as file):  # given a path, torch would go by the name of the file
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise KeyError, struct.error and others
        raise UserError(f"weights {path}: expected a file of tensors only: "
                        f"{_reason(error)}") from None
    return content, sorted(f"{module}.{name}" for module, name in names
                           if module.partition(".")[0] not in PLAIN_MODULES
                           or module.startswith("torch.nn.modules."))


def check_size(path: Path, tensors: dict[str, Tensor]) -> None:
    """Check that tensors are not much larger than their file: a few numbers may pose as many.

    Raises:
        UserError: they would take more memory than RATIO times the file.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > max(RATIO * path.stat().st_size, 2**20):
        raise UserError(f"weights {path}: its {path.stat().st_size:,} bytes would take "
                        f"{size:,} bytes of memory; the limit is {RATIO} times its size")


def _names(path: Path) -> set[tuple[str, str]]:
    """The functions and classes that the pickle of a torch file names: (module, name) of each.

    The pickle is taken apart, and nothing is loaded. Raises UserError.
    """
    names: set[tuple[str, str]] = set()
    for count, (opcode, argument, _) in enumerate(_instructions(path)):
        if opcode.name == "PROTO" and argument != PROTOCOL:
            raise UserError(f"weights {path}: expected a file of tensors only, pickled by protocol "
                            f"{PROTOCOL}; found protocol {argument}; save it by torch.save "
                            "without `pickle_protocol`")
        if opcode.name == "GLOBAL":
            module, _, name = argument.partition(" ")
            names.add((NEW_NAMES.get(module, module), name))
        if count > INSTRUCTIONS or len(names) > NAMES:
            raise UserError(f"weights {path}: expected a file of tensors only; it holds more than "
                            f"{INSTRUCTIONS:,} other values or {NAMES:,} names")
    return names


def _instructions(path: Path) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """The instructions of the pickles of a torch file; they end where they are damaged."""
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
        file.seek(0)
        pickles = [_data_pickle(path)] if zipped else [file] * LEGACY_PICKLES
        for source in pickles:
            try:
                yield from pickletools.genops(source)
            except (ValueError, UnicodeError):
                return  # `torch.load` says what is wrong


def _data_pickle(path: Path) -> BinaryIO:
    """The pickle in an archive of torch. Raises UserError if it would grow in memory."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > RATIO * path.stat().st_size:
            raise UserError(f"weights {path}: its {path.stat().st_size:,} bytes would unpack to "
                            f"{unpacked:,} bytes; the limit is {RATIO} times its size")
        name = next(entry.filename for entry in entries if entry.filename.endswith("/data.pkl"))
        try:
            return BytesIO(archive.read(name))
        except Exception as error:  # a damaged entry raises zlib.error, BadZipFile and others
            raise UserError(f"weights {path}: damaged: {quoted(name)}: {error}") from None


def _reason(error: Exception) -> str:
    """Why torch could not load a file, in a few words."""
    if isinstance(error, EOFError) or "unexpected EOF" in str(error):
        return CUT_SHORT
    reason = str(error).rpartition("WeightsUnpickler error: ")[2]
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(CALLS):
            return line
    named = re.search(r"(?i)unsupported (?:GLOBAL|global: GLOBAL) ([\w.]+)", str(error))
    if named:  # a function that is not on torch's list
        return f"{CALLS} {quoted(named[1])}; {WAY_OUT}"
    # The sentences after the first explain how to run what is pickled in the file.
    return (lines or [type(error).__name__])[0].partition(". ")[0][:300]
