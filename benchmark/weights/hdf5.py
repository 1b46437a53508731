"""HDF5 files of floating-point arrays, such as the public MCNN's, read within limits.

Only arrays that lie in the file itself are read, in contiguous or deflated form. A link to another
file, an array that is stored elsewhere, and filters that HDF5 would load as plugins are refused.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.utils.errors import UserError, quoted
from benchmark.weights import npz

FILTERS = ("gzip", None)
DEEPEST = 10  # groups within each other


def read_hdf5(path: Path) -> dict[str, Tensor | None]:
    """The arrays of an HDF5 file by name; None for a single value that `npz.is_remark`.

    The names of groups and arrays are joined by dots.

    Raises:
        UserError: h5py is missing, or the file is damaged or holds anything else.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(f"weights {path}: an HDF5 file needs h5py; expected "
                        "`pip install 'crowdbackdoorbench[h5]'`, or the same tensors in a "
                        "numpy .npz or safetensors file") from None
    try:
        with h5py.File(path, "r") as file:
            arrays = _arrays(file, h5py, "", DEEPEST)
            remarks = {name: None for name, array in arrays.items()
                       if npz.is_remark(name, array.dtype.newbyteorder("="), array.shape)}
            weights = {name: array for name, array in arrays.items() if name not in remarks}
            _check_sizes(weights, path.stat().st_size)
            return remarks | {name: _tensor(array) for name, array in weights.items()}
    except Exception as error:  # a damaged file makes h5py raise RuntimeError, KeyError and others
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise UserError(f"weights {path}: expected an HDF5 file of floating-point arrays: "
                        f"{reason}") from None


def _arrays(group: Any, h5py: Any, prefix: str, depth: int) -> dict[str, Any]:
    """The arrays below a group by name; nothing of them is read. Raises ValueError."""
    arrays: dict[str, Any] = {}
    for name in group:
        where = f"{prefix}{name}"
        if not depth:
            raise ValueError(f"{where!r}: groups are nested too deep")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{where!r} is a link; expected an array")
        value = group[name]
        if isinstance(value, h5py.Group):
            arrays |= _arrays(value, h5py, f"{prefix}{name}.", depth - 1)
        elif isinstance(value, h5py.Dataset):
            arrays[prefix + name] = value
        if len(arrays) > npz.ARRAYS:
            raise ValueError(f"more than {npz.ARRAYS:,} arrays")
    return arrays


def _check_sizes(arrays: dict[str, Any], file_size: int) -> None:
    """Check the types, places and declared sizes of arrays. Raises ValueError."""
    unpacked = 0
    for name, array in arrays.items():
        if array.external or array.is_virtual or array.compression not in FILTERS:
            raise ValueError(f"{quoted(name)} is stored elsewhere or by another filter; "
                             "expected arrays in the file itself")
        if not npz.is_weights(array.dtype.newbyteorder("="), array.shape):
            raise ValueError(f"{quoted(name)} holds {str(array.dtype)[:100]}, "
                             "expected float16, float32 or float64")
        unpacked += math.prod(array.shape) * array.dtype.itemsize
    if unpacked > min(npz.BYTES, npz.RATIO * file_size):
        raise ValueError(f"its {file_size:,} bytes would unpack to {unpacked:,} bytes; the limits "
                         f"are {npz.RATIO} times its size and {npz.BYTES:,} bytes")


def _tensor(array: Any) -> Tensor:
    values = array[()]
    return torch.as_tensor(values.astype(values.dtype.newbyteorder("="), copy=False))
