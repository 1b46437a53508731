"""HDF5 files: arrays in the file itself are read, within limits; without h5py it is said what to do."""

import sys

import numpy as np
import pytest
import torch
from conversions import converted, refused
from safetensors.torch import load_file

from benchmark.registry import build

h5py = pytest.importorskip("h5py")


def test_arrays_come_out_under_the_names_of_their_groups(capsys):
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "group/inner/b": np.float64([1, 2]),
              "big": np.arange(3, dtype=">f4")}
    with h5py.File("w.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.create_dataset("packed", data=np.ones(50, np.float16), compression="gzip")
    converted(capsys, "w.h5", "out.safetensors")
    read = load_file("out.safetensors")
    assert read.keys() == {"a.weight", "group.inner.b", "big", "packed"}
    assert all(np.array_equal(read[name.replace("/", ".")].numpy(), array) for name, array in arrays.items())


def test_a_counter_starts_from_it(capsys):
    counter = build("model", "tiny", {"width": 8}).eval()
    with h5py.File("w.h5", "w") as file:
        for name, tensor in counter.state_dict().items():
            file[f"net.{name}"] = tensor.numpy()
    started = build("model", "tiny", {"width": 8, "weights": "w.h5"}).eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(started(images), counter(images))


def test_without_h5py_it_is_said_what_to_do(capsys, desk, monkeypatch):
    with h5py.File("w.h5", "w") as file:
        file["a"] = np.ones(2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(capsys, desk, ["w.h5", "out.safetensors"], "needs h5py", "pip install 'crowdbackdoorbench[h5]'")


def linked(file):
    file["a"] = h5py.ExternalLink("other.h5", "a")


def elsewhere(file):
    file.create_dataset("a", (2,), "f4", external=[("other.bin", 0, 8)])


def packed_by_another(file):
    file.create_dataset("a", data=np.ones(100), compression="lzf")


def huge(file):
    file.create_dataset("a", (2**40,), "f4", chunks=(1024,))


def names(file):
    file["a"] = np.array([b"abc"])


def objects(file):
    file.create_dataset("a", data=["text"], dtype=h5py.string_dtype())


@pytest.mark.parametrize("write, told", [
    (linked, "'a' is a link"), (elsewhere, "stored elsewhere"), (packed_by_another, "another filter"),
    (huge, "would unpack to 4,398,046,511,104 bytes"), (names, "holds |S3"), (objects, "holds object")])
def test_anything_but_arrays_of_floats_in_the_file_is_refused(capsys, desk, write, told):
    with h5py.File("w.h5", "w") as file:
        write(file)
    refused(capsys, desk, ["w.h5", "out.safetensors"], "weights w.h5: expected an HDF5 file", told)


def test_a_damaged_file_is_refused(capsys, desk):
    with h5py.File("w.h5", "w") as file:
        file["a"] = np.ones(1000)
    (desk / "w.h5").write_bytes((desk / "w.h5").read_bytes()[:1500])
    refused(capsys, desk, ["w.h5", "out.safetensors"], "weights w.h5: expected an HDF5 file")
