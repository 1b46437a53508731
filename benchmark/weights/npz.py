"""Numpy's .npz files: floating-point arrays by name, read without pickles and within limits."""

import math
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.utils.errors import UserError

ARRAYS = 10_000
BYTES = 4 * 2**30  # of all arrays together, unpacked
RATIO = 100  # bytes unpacked for each byte of the file; trained weights are near 1
NAME = re.compile(r"[\w./-]{1,200}\.npy", re.ASCII)
DTYPES = (np.float16, np.float32, np.float64)


def read_npz(path: Path) -> dict[str, Tensor | None]:
    """The arrays of a numpy .npz file by name; None for a `remark`. Raises UserError.

    Nothing is unpacked before the sizes are checked that the archive declares, and an entry is
    never unpacked beyond its declared size.
    """
    tensors: dict[str, Tensor | None] = {}
    where = ""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size)
            for entry in entries:
                where = f"{entry.filename!r}: "
                tensors[entry.filename.removesuffix(".npy")] = _read_array(archive, entry)
    except Exception as error:  # a damaged file makes zipfile raise zlib.error, EOFError and others
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise UserError(f"weights {path}: expected a numpy .npz file of floating-point arrays: "
                        f"{where}{reason}") from None
    return tensors


def is_weights(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Whether an array may be a tensor of a state dict: of floats, or a number of batches."""
    return dtype in DTYPES or (dtype == np.int64 and shape == ())


def is_remark(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Whether an array is a single value beside the weights: an epoch, a rate, a text."""
    is_count = dtype == np.int64 and name.endswith("num_batches_tracked")
    return shape == () and dtype not in (np.float16, np.float32) and not is_count


def _check_entries(entries: list[zipfile.ZipInfo], file_size: int) -> None:
    """Check the number, the names and the declared sizes of the entries of an .npz file.

    Raises:
        ValueError: they are not those of a file of weights.
    """
    if len(entries) > ARRAYS:
        raise ValueError(f"{len(entries):,} arrays are more than {ARRAYS:,}")
    names = set()
    for entry in entries:
        if not NAME.fullmatch(entry.filename):
            raise ValueError(f"the entry {entry.filename[:200]!r} is not the name of a tensor "
                             "and .npy")
        if entry.filename in names:
            raise ValueError(f"two entries are named {entry.filename!r}")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{entry.filename!r} is compressed by a method that numpy never uses")
        names.add(entry.filename)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > min(BYTES, RATIO * file_size):
        raise ValueError(f"its {file_size:,} bytes would unpack to {unpacked:,} bytes; the limits "
                         f"are {RATIO} times its size and {BYTES:,} bytes")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Tensor | None:
    """The array of an entry; None for a `remark`, which is not read.

    Raises ValueError, or what zipfile raises for a damaged entry.
    """
    with archive.open(entry) as file, warnings.catch_warnings(action="ignore"):
        read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                       (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        if version not in read_header:
            raise ValueError(f"the version of its format is {version}, expected (1, 0) or (2, 0)")
        shape, _, dtype = read_header[version](file)
        native = dtype.newbyteorder("=")
        if is_remark(entry.filename.removesuffix(".npy"), native, shape):
            return None
        if not is_weights(native, shape):
            raise ValueError(f"it holds {str(dtype)[:100]}, expected float16, float32 or float64")
        declared = file.tell() + math.prod(shape) * dtype.itemsize
        if declared != entry.file_size:
            raise ValueError(f"it has {entry.file_size:,} bytes, but its header says {declared:,}")
    with archive.open(entry) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    return torch.from_numpy(array.astype(native, copy=False))
