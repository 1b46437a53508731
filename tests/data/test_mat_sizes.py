"""A MATLAB file that announces more than it holds is refused before anything is allocated."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from benchmark.data.datasets.parts.mat_sizes import problem_of
from benchmark.data.datasets.parts.points import mat_points
from benchmark.utils.errors import UserError


def saved(value, **settings):
    buffer = io.BytesIO()
    savemat(buffer, {"image_info": value}, **settings)
    return buffer.getvalue()


def element(kind, payload):
    padding = 0 if kind == 15 else -len(payload) % 8  # compressed elements have none
    return struct.pack("<II", kind, len(payload)) + payload + bytes(padding)


def array(kind, sides, *inside):
    """An array of a class with sides that nothing has to keep."""
    flags, size = struct.pack("<II", kind, 0), struct.pack(f"<{len(sides)}i", *sides)
    return element(14, element(6, flags) + element(5, size) + element(1, b"image_info") + b"".join(inside))


def file_of(*elements):
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(elements)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("value", [
    np.zeros((300, 2)), np.ones((1, 3), np.uint8), {"location": np.zeros((5, 2)), "number": 5}, "text", np.zeros((0, 2)),
    np.array([[np.zeros((2, 2)), "a"]], dtype=object), np.zeros((2, 3, 4)), [[1 + 2j]], True])
def test_what_is_written_by_others_has_no_problem(value, packed):
    assert problem_of(saved(value, do_compression=packed)) is None
    assert value is None or not np.isscalar(value) or problem_of(saved(value, format="4")) is None


def test_sparse_arrays_of_any_size_have_no_problem():
    from scipy.sparse import csc_matrix

    assert problem_of(saved(csc_matrix((10**6, 3)))) is None


BOMBS = [(file_of(array(kind, (500_000_000, 1))), "500000000x1 values in") for kind in (1, 2, 4, 6, 9)]
BOMBS += [(file_of(array(1, (1, 1), array(1, (2**30, 2**30)))), "1073741824x1073741824 values"),
          (file_of(array(1, (2**31 - 1,) * 20)), "values in"),
          (file_of(element(15, zlib.compress(array(1, (10**9, 1))))), "1000000000x1 values in"),
          (saved(np.zeros(80_000_000, np.uint8), do_compression=True), "more than 67,108,864 bytes once unpacked"),
          (file_of(*[element(15, zlib.compress(element(1, bytes(30_000_000))))] * 3), "bytes once unpacked"),
          (file_of(*[element(1, b"")] * 20_000), "more than 10,000 elements"),
          (file_of(struct.pack("<II", 14, 2**31)), "longer than the file"),
          (file_of(element(15, b"no zlib stream")), "incorrect header")]
BOMBS += [(file_of(array(kind, (1, 2), element(unknown, bytes(16)))), f"values of the unknown type {unknown}$")
          for kind in (4, 6, 9) for unknown in (0, 8, 14, 21, 255)]  # scipy would end the process
BOMBS.append((file_of(element(14, element(5, bytes(8)) + element(5, bytes(8)))), "does not begin with its class"))
nested = b""
for _ in range(40):
    nested = array(1, (1, 1), nested)
BOMBS.append((file_of(nested), "more than 20 deep"))


@pytest.mark.parametrize("content, message", BOMBS)
def test_a_bomb_is_refused_in_one_line_and_allocates_little(tmp_path, content, message):
    path = tmp_path / "GT_IMG_1.mat"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=message) as refused:
        mat_points(path, "image_info", lambda mat: mat["image_info"])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200 * 2**20 and "\n" not in str(refused.value)


def test_files_of_random_bytes_behind_a_header_are_read_or_refused(tmp_path):
    rng, path, read = np.random.default_rng(0), tmp_path / "GT_IMG_1.mat", 0
    for _ in range(300):
        content = bytearray(saved({"location": np.zeros((5, 2))}))
        for position in rng.integers(128, len(content), 5):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        try:
            points = mat_points(path, "image_info", lambda mat: mat["image_info"]["location"][0, 0])
        except UserError as error:
            assert "GT_IMG_1.mat" in str(error) and "\n" not in str(error)
        else:
            assert points.dtype == float and points.shape[1:] == (2,) and np.isfinite(points).all()
            read += 1
    assert 0 < read < 300
