"""Every registered counter takes the weights of one that somebody trained, and public files under their own names."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.cli import main
from benchmark.config.cell import Component
from benchmark.registry import build, names
from benchmark.results.describe import describe_component
from benchmark.testing import MODELS
from benchmark.utils.errors import UserError
from benchmark.weights import convert, trained

SETTINGS = {name: {key: value for key, value in settings.items() if key != "weights"}
            for name, settings in MODELS.items()}
SETTINGS |= {name: SETTINGS[name] | {"last_anchor": 4.3} for name in SETTINGS if name.endswith(("_ebc", "_ebc_vit", "_zip"))}
SMALL = ("tiny", "mcnn", "squeeze")


def images(size=(64, 96)):
    return torch.rand(1, 3, *size)


@torch.inference_mode()
def same(ours, theirs, of=None):
    of = images() if of is None else of
    return torch.equal(ours.eval()(of), theirs.eval()(of))


@pytest.mark.parametrize("name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow)
                                  for name in names("model")])
def test_a_checkpoint_of_any_counter_is_converted_and_audited_as_the_same_counter(tmp_path, name):
    torch.manual_seed(0)
    counter = build("model", name, SETTINGS[name] | {"weights": "scratch"})
    tensors = {f"module._orig_mod.model.{key}": tensor for key, tensor in counter.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "their.pth")
    convert(tmp_path / "their.pth", tmp_path / "w.safetensors", name, settings=SETTINGS[name])
    assert load_file(tmp_path / "w.safetensors").keys() == counter.state_dict().keys()
    torch.manual_seed(1)
    for file in ("their.pth", "w.safetensors"):
        given = trained(name, SETTINGS[name] | {"weights": tmp_path / file}, "audit")
        assert same(given, counter) and given.weights_note.startswith(f"whole counter: {file} sha256 ")


@pytest.mark.parametrize("name, settings", [("tiny", {"width": 64}), ("mcnn", {})])
def test_a_record_of_a_small_counter_from_scratch_is_what_it_was_before_it_took_files(name, settings):
    assert describe_component(Component("model", name, {})).resolved == settings
    assert describe_component(Component("model", name, {"weights": "scratch"})).resolved["weights"] == "scratch"


@pytest.mark.parametrize("name", ["tiny", "mcnn"])
def test_the_small_counters_are_audited(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    torch.save(build("model", name, {}).state_dict(), "their.pth")
    assert main(["run", "audit", "--model", name, "--weights", "their.pth", "--data", "synthetic", "--set",
                 "data.test=4", "--set", "data.height=64", "--set", "data.width=64", "--attack", "none"]) == 0
    [path] = (tmp_path / "runs/audit/records").glob("*.json")
    record = json.loads(path.read_text())
    assert record["audit"] and record["model"]["name"] == name
    assert any(line.startswith("weights: whole counter: their.pth") for line in record["warnings"])


# The public MCNNs.

def public_mcnn(counter, layers, part):
    """Our tensors under the names of a public code. layers: its numbers of the four convolutions of a column."""
    tensors = {}
    for key, tensor in counter.state_dict().items():
        top, _, rest = key.partition(".")
        if top == "columns":
            column, layer, what = rest.split(".")
            tensors[f"DME.branch{int(column) + 1}.{layers[int(layer)]}.{part}{what}"] = tensor
        elif top == "output":
            tensors[f"DME.fuse.0.{part}{rest}"] = tensor
    return tensors


@pytest.mark.parametrize("pixels, layers, part", [("rgb", {0: 0, 3: 3, 6: 6, 8: 8}, ""),
                                                  ("grey", {0: 0, 3: 2, 6: 4, 8: 5}, "conv.")])
def test_a_public_mcnn_is_read_where_its_pixels_are_said_and_kept_apart(tmp_path, pixels, layers, part):
    counter = build("model", "mcnn", {"pixels": pixels})
    for number, file in enumerate(("public.safetensors", "own.safetensors")):
        path = tmp_path / file
        save_file(counter.state_dict() if number else public_mcnn(counter, layers, part), path)
        with pytest.raises(UserError, match=f"{file}: .*branch1|{file}: .*columns.0") as refusal:
            build("model", "mcnn", {"weights": path})
        assert f"expected model.pixels={pixels}" in str(refusal.value)
        assert same(build("model", "mcnn", {"weights": path, "pixels": pixels}), counter)


@torch.no_grad()
def test_mcnn_on_other_pixel_values_is_mcnn_on_other_images():
    image = images((32, 48))
    plain, rgb, grey = (build("model", "mcnn", {"pixels": pixels}) for pixels in ("normalised", "rgb", "grey"))
    for counter in (rgb, grey):
        for weight in counter.parameters():
            weight.uniform_(-0.02, 0.05)
    plain.load_state_dict({key: tensor for key, tensor in rgb.state_dict().items() if key != "pixel_range"})
    mean, std = (torch.tensor(values)[:, None, None] for values in (plain.mean, plain.std))
    torch.testing.assert_close(rgb(image), plain(255 * image * std + mean))
    shades = image.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    as_grey = (image * shades).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(grey(image), grey(as_grey))
    assert (grey(image) >= 0).all() and grey(image).any()


# The public SFANet.

class Layer(nn.Module):
    """A convolution and a BatchNorm, which the public code registers even where it is never run."""

    def __init__(self, inputs, outputs, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel)
        self.bn = nn.BatchNorm2d(outputs)


def public_sfanet():
    """Random tensors under the names of pxq0312/SFANet-crowd-counting, models.py."""
    plan = {"1_1": (3, 64), "1_2": (64, 64), "2_1": (64, 128), "2_2": (128, 128), "3_1": (128, 256),
            "3_2": (256, 256), "3_3": (256, 256), "4_1": (256, 512), **dict.fromkeys(
                ("4_2", "4_3", "5_1", "5_2", "5_3"), (512, 512))}
    decoder = {1: (1024, 256, 1), 2: (256, 256), 3: (512, 128, 1), 4: (128, 128), 5: (256, 64, 1), 6: (64, 64),
               7: (64, 32)}
    network = nn.ModuleDict({
        "vgg": nn.ModuleDict({f"conv{name}": Layer(*sizes) for name, sizes in plan.items()}),
        **{name: nn.ModuleDict({f"conv{number}": Layer(*sizes) for number, sizes in decoder.items()})
           for name in ("amp", "dmp")},
        "conv_att": Layer(32, 1, 1), "conv_out": Layer(32, 1, 1)})
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_()
    return network


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_sfanet_is_read_under_its_own_names(tmp_path, prefix):
    public = public_sfanet()
    tensors = {prefix + key: tensor for key, tensor in public.state_dict().items()}
    torch.save({"epoch": 1, "model": tensors, "optimizer": {}, "mae": 61.2, "mse": 99.0}, tmp_path / "best.pth")
    ours = trained("sfanet", {"weights": tmp_path / "best.pth"}, "audit")
    for part, original in ((ours.frontend, public["vgg"]), (ours.attention, public["amp"]),
                           (ours.people, public["dmp"]), (ours.gate, public["conv_att"]),
                           (ours.output, public["conv_out"].conv)):
        pairs = zip(part.state_dict().values(), original.state_dict().values(), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
