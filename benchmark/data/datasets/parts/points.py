"""Points: the annotated heads of an image, checked, also from files of MATLAB and numpy."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from benchmark.data.datasets.parts.mat_sizes import problem_of
from benchmark.data.npy_files import read_header
from benchmark.utils.errors import UserError, shown
from benchmark.utils.regular_files import check_regular
from benchmark.utils.shared_context import without_warnings

HDF5 = b"\x89HDF\r\n\x1a\n"  # at byte 512 of a MATLAB v7.3 file, whose text comes before it
MAT_TEXT = 116  # bytes of text at the beginning of a MATLAB file
# All threads that write with scipy share one buffer for the headers of their files.
ONE_AT_A_TIME = Lock()
MOST_BYTES = 16 * 2**20  # of a file with points; those of 100 000 heads take a tenth of that


def mat_points(path: Path, place: str, pick: Callable[[dict[str, Any]], Any]) -> np.ndarray:
    """Return the points that `pick` takes from a MATLAB file, float64 [N, 2].

    place: the place of the points in the file, for the error message.

    Raises:
        UserError: the file is broken, or has no points at this place.
    """
    from scipy.io import loadmat

    check_regular(path, MOST_BYTES)
    content = path.read_bytes()
    _check_version(path, content)
    problem = problem_of(content)
    if problem:
        raise UserError(f"{shown(path)}: expected a MATLAB file with points at {place}: {problem}")
    try:
        with without_warnings:
            values = pick(loadmat(BytesIO(content)))
    except (LookupError, TypeError, AttributeError):  # the file has other things than `pick` takes
        raise UserError(f"{shown(path)}: expected a MATLAB file with points at {place}, "
                        "found something else") from None
    except Exception as error:  # scipy raises errors of many types for broken files
        raise UserError(f"{shown(path)}: expected a MATLAB file with points at {place}: "
                        f"{shown(error) or type(error).__name__}") from None
    return as_points(values, path)


def npy_points(path: Path) -> np.ndarray:
    """Return the points in a .npy file, float64 [N, 2]. No pickle is read.

    Raises:
        UserError: the file is broken, or has no points.
    """
    check_regular(path, MOST_BYTES)
    content = BytesIO(path.read_bytes())
    try:
        with without_warnings:
            read_header(content)
            content.seek(0)
            values = np.load(content, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{shown(path)}: expected a .npy file with points: "
                        f"{shown(error)}") from None
    return as_points(values, path)


def mat_file(points: np.ndarray, text: bytes) -> bytes:
    """Return a MATLAB file with points [N, 2] at the place where ShanghaiTech has them.

    text: the beginning of the file's header. The one that scipy writes contains the date, so the
        bytes would differ each time.
    """
    from scipy.io import savemat

    fields = [("location", "O"), ("number", "O")]
    info = np.array([(points, np.array([[len(points)]]))], dtype=fields)
    struct = np.empty((1, 1), object)
    struct[0, 0] = info.reshape(1, 1)
    buffer = BytesIO()
    with ONE_AT_A_TIME:
        savemat(buffer, {"image_info": struct})
    return text.ljust(MAT_TEXT) + buffer.getvalue()[MAT_TEXT:]


def as_points(values: Any, source: Path | str) -> np.ndarray:
    """Return values as points, float64 [N, 2].

    source: the file of the values, for the error message.

    Raises:
        UserError: the values are not points.
    """
    try:
        points = np.array(values)
    except (TypeError, ValueError):
        points = np.array("ragged")  # refused below, as text is
    if points.size and points.dtype.kind not in "iuf":  # text, booleans, integers beyond 64 bits
        raise UserError(f"{shown(source)}: expected points as numbers (x, y)")
    points = points.astype(np.float64)
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        found = "x".join(map(str, points.shape)) or "a single number"
        raise UserError(f"{shown(source)}: expected a table of points with two columns (x, y), "
                        f"found {found}")
    if not np.isfinite(points).all():
        raise UserError(f"{shown(source)}: expected finite points, found nan or infinity")
    return points


def _check_version(path: Path, content: bytes) -> None:
    """Check that a file is none of MATLAB v7.3, which scipy does not read. Raises UserError."""
    head = content[:512 + len(HDF5)]
    if head.startswith((HDF5, b"MATLAB 7.3")) or head.endswith(HDF5):
        raise UserError(f"{shown(path)}: a MATLAB v7.3 file; expected version 7 or older: in "
                        f"MATLAB, load the file and write it again with save(name, '-v7')")
