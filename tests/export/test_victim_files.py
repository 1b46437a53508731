"""The victim's torch file: public code's names, and back to the identical tensors."""

from types import SimpleNamespace

import pytest
import torch

from benchmark.config.cell import Component
from benchmark.export.victim import conversion, write_victim
from benchmark.pipeline.counter_files import WEIGHTS
from benchmark.registry import build
from benchmark.utils.tensors import read_tensors, write_tensors
from benchmark.weights import convert

SCRATCH = {"weights": "scratch"}
LARGE = pytest.mark.slow
# A counter, and the first and the last names that its public code has for its tensors.
PUBLIC = [
    pytest.param("csrnet", SCRATCH, ("frontend.0.weight", "output_layer.bias"), marks=LARGE),
    pytest.param("can", SCRATCH, ("context.scales.0.1.weight", "output_layer.bias"), marks=LARGE),
    pytest.param("csrnet_ebc", SCRATCH | {"last_anchor": 4.7}, ("backbone.features.0.weight", "classifier.bias"), marks=LARGE),
    pytest.param("dm_count", SCRATCH, ("features.0.weight", "density_layer.0.bias"), marks=LARGE),
    pytest.param("csrnet_zip", SCRATCH | {"last_anchor": 4.7}, ("backbone.encoder.0.weight", "pi_head.bias", "bin_centers"), marks=LARGE),
    pytest.param("dm_count_ebc", SCRATCH | {"last_anchor": 4.7}, ("backbone.reg_layer.2.weight", "classifier.bias"), marks=LARGE),
    pytest.param("bayesian", SCRATCH, ("features.0.weight", "reg_layer.4.bias"), marks=LARGE),
    pytest.param("sfanet", SCRATCH, ("vgg.conv1_1.conv.weight", "conv_out.bn.running_var"), marks=LARGE),
    pytest.param("p2pnet", SCRATCH, ("backbone.body4.1.weight", "classification.conv4.bias"), marks=LARGE),
    ("clip_ebc", SCRATCH | {"clip": "tiny", "last_anchor": 4.7}, ("image_encoder.conv1.weight", "image_decoder.0.bn3.bias")),
    ("clip_ebc_vit", SCRATCH | {"clip": "tiny", "last_anchor": 4.7, "prompts": 5}, ("image_encoder.conv1.weight", "vpt_2")),
    ("mcnn", {}, ("branch1.0.weight", "fuse.0.bias")),
    ("mcnn", {"pixels": "rgb"}, ("branch3.8.weight", "fuse.0.bias")),
    ("mcnn", {"pixels": "grey"}, ("branch3.5.conv.weight", "fuse.0.conv.bias"))]


@pytest.fixture
def stored(tmp_path):
    """A function that builds a counter, writes it as the store does, and exports it."""
    def build_and_write(name, given):
        torch.manual_seed(0)
        counter = build("model", name, given)
        (tmp_path / "stored").mkdir()
        (tmp_path / "out").mkdir()
        write_tensors(tmp_path / "stored" / WEIGHTS, counter.state_dict(), {})
        write_victim(tmp_path / "out", counter, tmp_path / "stored")
        return counter, tmp_path / "out"
    return build_and_write


@pytest.mark.parametrize("name, given, public", PUBLIC)
def test_the_torch_file_has_public_names_and_is_read_back_identically(stored, tmp_path, name, given, public):
    counter, out = stored(name, given)
    tensors = torch.load(out / "victim.pth", weights_only=True)
    assert {*public} <= tensors.keys() and all(type(tensor) is torch.Tensor for tensor in tensors.values())
    command = conversion(counter, Component("model", name, given))
    assert command.startswith(f"crowdbench convert victim.pth again.safetensors --model {name}")
    words = command.split()
    settings = dict(word.split("=") for flag, word in zip(words, words[1:]) if flag == "--set")
    again, _ = convert(out / "victim.pth", tmp_path / "again.safetensors", name, None, settings)
    own, _ = read_tensors(out / "victim.safetensors")
    assert own.keys() == again.keys() == counter.state_dict().keys()
    assert all(torch.equal(own[key], again[key]) for key in own)


@pytest.mark.parametrize("name, given", [("tiny", {"width": 16}), ("squeeze", SCRATCH | {"width": 8})])
def test_a_counter_without_public_code_keeps_its_names(stored, name, given):
    counter, out = stored(name, given)
    tensors = torch.load(out / "victim.pth", weights_only=True)
    assert tensors.keys() == counter.state_dict().keys() and counter.public_code is None
    assert conversion(counter, Component("model", name, given)).endswith(f"--model {name} --set width={given['width']}")


def test_a_counter_that_is_not_read_from_files_has_no_command_for_it():
    model = SimpleNamespace(name="mine", resolved={"width": 16}, changed={})
    assert conversion(build("model", "tiny", {}), model) is None
