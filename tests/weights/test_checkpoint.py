"""Checkpoints as the training scripts of the field save them: read without running anything, and told what they are."""

import argparse
import enum
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conversions import converted, refused
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.cli import main
from benchmark.registry import build
from benchmark.utils.errors import UserError
from benchmark.weights import trained
from benchmark.weights.torch_file import read_torch

OWN = ["--model", "squeeze"]


class Settings(dict):
    """A dictionary whose keys are attributes, too, such as those of easydict and yacs."""

    def __init__(self, **values):
        super().__init__(**values)
        vars(self).update(values)


class Mode(enum.Enum):
    FAST = 1


def prefixed(prefix, tensors):
    return {prefix + key: tensor for key, tensor in tensors.items()}


def momentum_of(tensors):
    """The state of an optimizer after a step."""
    weight = nn.Parameter(next(iter(tensors.values())).clone())
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    return optimizer.state_dict()


FORMS = {
    "numpy scalars": lambda s: {"state_dict": s, "best_mae": np.float64(61.2), "mse": np.float32(1), "n": np.int64(3)},
    "scalars among the tensors": lambda s: {**s, "best_mae": np.float64(61.2), "epoch": 3},
    "an array": lambda s: {"net": s, "losses": np.arange(5.0)},
    "a namespace": lambda s: {"model": s, "args": argparse.Namespace(lr=1e-4, out=pathlib.Path("a"), mae=np.float64(3))},
    "other values": lambda s: {"model": s, "cfg": Settings(lr=1), "d": defaultdict(float, a=1), "n": SimpleNamespace(a=1)},
    "a layer among settings": lambda s: {"state_dict": s, "hyper_parameters": {"loss": nn.MSELoss()}},
    "an optimizer": lambda s: {"model_state_dict": s, "optimizer_state_dict": momentum_of(s), "epoch": 3},
    "an unknown wrapper": lambda s: {"csrnet": s, "optimizer": momentum_of(s), "rng": torch.get_rng_state()},
    "nested wrappers": lambda s: {"net": {"model": s}},
    "deep wrappers": lambda s: {"a": {"b": {"c": {"d": s}}}},
    "a generator": lambda s: {"generator": s, "discriminator": {"a": torch.ones(2)}},
    "an average alone": lambda s: {"ema": {"decay": 0.99, "shadow": s}},
    "an average of torch": lambda s: {**prefixed("module.", s), "n_averaged": torch.tensor(3)},
    "averages among the tensors": lambda s: {"state_dict": prefixed("model.", s) | prefixed("model_ema.", s)},
    "a loss with weights": lambda s: {"state_dict": prefixed("model.", s) | {"criterion.weight": torch.ones(2)}},
    "numbers of a profiler": lambda s: s | {"total_ops": torch.zeros(1), "frontend.0.total_params": torch.zeros(1)},
    "compiled parts": lambda s: {key.replace("frontend.", "frontend.module._orig_mod."): t for key, t in s.items()},
    **{prefix: lambda s, prefix=prefix: {"state_dict": prefixed(prefix, s)} for prefix in (
        "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.", "model.module._orig_mod.",
        "module.net.model.", "net._orig_mod.", "CCN.module.", "lightning.counter.")},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_scripts_save_is_taken(capsys, squeeze, form, legacy):
    if legacy and form == "a layer among settings":
        pytest.skip("torch 1.5 wrote the source of a layer, too, and torch refuses that")
    torch.save(FORMS[form](squeeze), "their.pth", _use_new_zipfile_serialization=not legacy)
    converted(capsys, "their.pth", "out.safetensors", *OWN)
    read = load_file("out.safetensors")
    assert read.keys() == squeeze.keys() and all(torch.equal(read[key], squeeze[key]) for key in squeeze)
    assert trained("squeeze", {"weights": "their.pth"}, "audit").weights_note.startswith("whole counter: their.pth ")


def test_of_weights_and_their_average_it_is_said_which_were_taken_and_the_other_can_be(capsys, squeeze):
    average = {key: 2 * tensor for key, tensor in squeeze.items()}
    torch.save({"model_ema": average, "model": squeeze, "epoch": 3}, "their.pth")
    out, told = converted(capsys, "their.pth", "out.safetensors", *OWN)
    assert told == ("taken: 'model' and not 'model_ema'; --key NAME takes another\n"
                    "left out: 'model_ema', 'epoch'\n")
    assert torch.equal(load_file("out.safetensors")["output.bias"], squeeze["output.bias"])
    assert trained("squeeze", {"weights": "their.pth"}, "audit").weights_note.endswith(", 'model' and not 'model_ema'")
    for more in ([], OWN):
        name = f"ema{len(more)}.safetensors"
        converted(capsys, "their.pth", name, "--key", "model_ema", *more)
        assert torch.equal(load_file(name)["output.bias"], average["output.bias"])


def test_where_several_entries_may_be_meant_it_is_asked(capsys, desk, squeeze):
    torch.save({"first": squeeze, "second": {"inner": squeeze}}, "their.pth")
    refused(capsys, desk, ["their.pth", "out.safetensors"], "several entries hold tensors: 'first', 'second'", "--key")
    converted(capsys, "their.pth", "out.safetensors", "--key", "second.inner", *OWN)
    refused(capsys, desk, ["their.pth", "o.safetensors", "--key", "frst"], "--key: unknown key 'frst': did you mean 'first'")
    torch.save({"model": squeeze, "epoch": 3}, "their.pth")
    refused(capsys, desk, ["their.pth", "o.safetensors", "--key", "epoch"], "expected an entry with a state dict, found int")


def test_another_counters_file_is_refused_with_names_of_both(capsys, desk):
    torch.save({f"layer{number}.weight": torch.zeros(1) for number in range(9)}, "their.pth")
    for model, name in (("squeeze", "frontend.0.weight"), ("mcnn", "columns.0.0.weight"), ("tiny", "stem.0.0.weight")):
        refused(capsys, desk, ["their.pth", "out.safetensors", "--model", model], f"no tensor named '{name}'",
                *(f"'layer{number}.weight'" for number in range(5)), "and 4 more; expected", f"'{name}'")


def test_settings_of_the_counter_can_be_given(capsys, desk):
    tensors = build("model", "tiny", {"width": 8}).state_dict()
    np.savez("their.npz", **{key: tensor.numpy() for key, tensor in tensors.items()})  # with numbers of batches, int64
    refused(capsys, desk, ["their.npz", "out.safetensors", "--model", "tiny"], "size mismatch")
    refused(capsys, desk, ["their.npz", "out.safetensors", "--set", "width=8"], "expected --model NAME")
    for key in ("width", "model.width"):
        converted(capsys, "their.npz", f"{key}.safetensors", "--model", "tiny", "--set", f"{key}=8")
        assert load_file(f"{key}.safetensors").keys() == tensors.keys()


# Nothing is run.

class Call:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("function, told", [
    (exec, "builtins.exec"), (eval, "builtins.eval"), (getattr, "builtins.getattr"), (__import__, "builtins.__import__"),
    (open, "open"), (pickle.loads, "loads"), (struct.pack, "pack"), (Mode, "Mode"), (torch.load, "load"), (zipfile.ZipFile, "ZipFile"),
    (os.system, "would call 'posix.system'"), (subprocess.call, "would call 'commands.call'"), (range, "would call 'range'")])
@pytest.mark.parametrize("where", [lambda call: {"model": {"a": torch.ones(1)}, "args": call},
                                   lambda call: {"a": torch.ones(1), "b": argparse.Namespace(c=[{"d": call}])}])
def test_a_file_that_would_call_a_function_is_refused_and_calls_none(capsys, desk, function, told, where, legacy):
    call = Call(function, "sprung = open('sprung', 'w')", "w")
    torch.save(where(call), "their.pth", _use_new_zipfile_serialization=not legacy)
    before = set(sys.modules)
    refused(capsys, desk, ["their.pth", "out.safetensors"], "their.pth: expected a file of tensors only", told)
    assert not (desk / "sprung").exists() and "their" not in set(sys.modules) - before


@pytest.mark.parametrize("pickled", [
    b"cantigravity\nfly\n.",  # a module that opens a browser when it is imported
    b"cantigravity\nfly\n)\x81}X\x01\x00\x00\x00aX\x01\x00\x00\x00bsb.",  # an object of it, with attributes
    b"cbuiltins\nexec\n(X\x05\x00\x00\x001 / 0tR.", b"cposix\nsystem\n(X\x05\x00\x00\x00falsetR."])
def test_what_a_hostile_pickle_names_is_not_imported(capsys, desk, pickled):
    for name, content in (("archive/data.pkl", b"\x80\x02" + pickled), ("archive/version", b"3\n")):
        with zipfile.ZipFile("their.pth", "a") as archive:
            archive.writestr(name, content)
    refused(capsys, desk, ["their.pth", "out.safetensors"], "weights their.pth: ")
    assert "antigravity" not in sys.modules


class Hooked:
    """An object with content, which is made without a call."""


def test_objects_in_a_file_come_out_without_content():
    hooked = Hooked()
    hooked.setting, hooked.tensor = 3, torch.ones(1)
    torch.save({"a": torch.ones(1), "b": hooked, "c": np.float64(3), "d": pathlib.Path("x")}, "their.pth")
    content, classes = read_torch(pathlib.Path("their.pth"))
    assert not isinstance(content["b"], Hooked) and len(content["b"]) == 0
    assert type(content["c"]) is not np.float64 and not isinstance(content["d"], pathlib.Path)
    assert classes == [f"pathlib.{type(pathlib.Path()).__name__}", "test_checkpoint.Hooked"]
    assert torch.serialization.get_safe_globals() == [one for one in torch.serialization.get_safe_globals()
                                                      if one.__module__ != "test_checkpoint"]


def test_a_file_of_many_values_or_of_values_at_many_places_takes_no_time(capsys, desk, monkeypatch):
    shared = {"x": 0}
    for _ in range(30):
        shared = {f"k{number}": shared for number in range(30)}
    torch.save({"a": torch.ones(1), "shared": shared}, "shared.pth")
    began = time.monotonic()
    converted(capsys, "shared.pth", "out.safetensors")
    assert time.monotonic() - began < 5
    monkeypatch.setattr("benchmark.weights.torch_file.INSTRUCTIONS", 1000)
    torch.save({"a": torch.ones(1), "log": list(range(1000))}, "long.pth")
    refused(capsys, desk, ["long.pth", "o.safetensors"], "more than 1,000 other values")


# Files of something else.

def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("save", [torch.save, save_file, lambda tensors, path: torch.save(
    tensors, path, _use_new_zipfile_serialization=False)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_download_that_was_cut_short_is_told(capsys, desk, squeeze, save, share):
    save(squeeze, desk / "w.pth")
    cut(desk / "w.pth", share)
    refused(capsys, desk, ["w.pth", "out.safetensors"], "weights w.pth: ", "was cut short")


OTHER_FILES = {
    "an empty file": b"", "a file of zeros": bytes(5000), "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(20), "a WebP image": b"RIFF\x00\x00\x00\x00WEBP",
    "a web page named 'Google Drive - Virus scan'": b"<!DOCTYPE html><html><title>Google Drive -\n Virus scan</title>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
    "a text file that begins with '{\"error\": \"denied\"}'": b'{"error": "denied"}',
    "a text file that begins with 'h": "h\u00e9llo".encode(), "a gzip archive": b"\x1f\x8b\x08" + bytes(9),
    "a tar archive with 'weights.pth'": b"weights.pth" + bytes(246) + b"ustar\x00" + bytes(300),
    "a RAR archive": b"Rar!\x1a\x07", "a PDF document": b"%PDF-1.7", "a single numpy array": b"\x93NUMPY\x01\x00",
    "a pickle that torch.save did not write": pickle.dumps({"a": 1}), "a MATLAB file": b"MATLAB 5.0 MAT-file",
    "a file of an unknown format": bytes(range(1, 256)),
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.npz", "w"])
@pytest.mark.parametrize("what", OTHER_FILES)
def test_a_file_of_something_else_is_told_as_what_it_is(capsys, desk, what, name):
    (desk / name).write_bytes(OTHER_FILES[what])
    refused(capsys, desk, [name, "out.safetensors"], f"weights {name}: ", f"found {what}")
    with pytest.raises(UserError, match=f"weights {name}: "):
        build("model", "tiny", {"weights": name})


def test_an_archive_that_is_no_torch_file_is_told_with_what_it_holds(capsys, desk):
    with zipfile.ZipFile("w.pth", "w") as archive:
        archive.writestr("model/readme.txt", "x")
    refused(capsys, desk, ["w.pth", "out.safetensors"], "a zip archive with 'model/readme.txt'; unpack it first")


def test_an_archive_that_would_grow_is_refused_before(capsys, desk):
    with zipfile.ZipFile("w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**7))
    refused(capsys, desk, ["w.pth", "out.safetensors"], "would unpack to 10,000,000 bytes; the limit is 100 times")


def test_a_file_of_one_format_is_read_by_the_name_of_another(capsys, squeeze):
    torch.save(squeeze, "w.safetensors")
    save_file(squeeze, "w.pth")
    for name in ("w.safetensors", "w.pth"):
        converted(capsys, name, f"{name}.safetensors", *OWN)


def test_a_pipe_and_a_folder_are_refused_at_once(capsys, desk):
    os.mkfifo("pipe.pth")
    (desk / "folder.pth").mkdir()
    for name, found in (("pipe.pth", "a pipe"), ("folder.pth", "a folder")):
        assert main(["convert", name, "out.safetensors"]) == 2
        assert capsys.readouterr().err == f"crowdbench: {name}: expected a file, found {found}\n"


def test_a_pickle_of_another_protocol_is_refused_with_what_to_do(capsys, desk, squeeze):
    torch.save(squeeze, "w.pth", pickle_protocol=4)
    refused(capsys, desk, ["w.pth", "out.safetensors"], "found protocol 4", "without `pickle_protocol`")
