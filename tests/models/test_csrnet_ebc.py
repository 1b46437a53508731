"""CSRNet-EBC: its layers, density and loss against plain computations, and the weights that it starts from."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.registry import build, find
from benchmark.utils.errors import UserError
from benchmark.weights import trained
from models.parts.transport import transport

FRONT, BACK = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21), (0, 2, 4, 6, 8, 10)  # numbers of the convolutions
POOLED = (5, 10, 17)  # those of the front end behind a pool


def counter(seed=0, **settings):
    torch.manual_seed(seed)
    return build("model", "csrnet_ebc", {"weights": "scratch", "last_anchor": 4.5} | settings).eval()


def started(path, **settings):
    return counter(seed=1, weights=str(path), **settings)


def views(size=(64, 90), heads=(30, 0, 1)):
    """Images with heads, of which five share a block."""
    points = [torch.rand(number, 2) * torch.tensor([size[1], size[0]]) for number in heads]
    points[0] = torch.cat([points[0], torch.full((5, 2), 20.0)])
    return Batch(torch.rand(len(heads), 3, *size), points, [torch.ones(len(p)) for p in points])


@torch.no_grad()
def logits_of(weights, images):
    """The logits, from a state dict and images of sides that are multiples of 8, float64."""
    weights = {key: tensor.double() for key, tensor in weights.items()}
    mean, std = (torch.tensor(numbers).double()[:, None, None]
                 for numbers in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x = (images.double() - mean) / std
    for number in FRONT:
        x = F.max_pool2d(x, 2) if number in POOLED else x
        x = F.conv2d(x, weights[f"frontend.{number}.weight"], weights[f"frontend.{number}.bias"], padding=1).relu()
    for number in BACK:
        x = F.conv2d(x, weights[f"backend.{number}.weight"], weights[f"backend.{number}.bias"], padding=2,
                     dilation=2).relu()
    return torch.einsum("bchw,nc->bnhw", x, weights["classifier.weight"][:, :, 0, 0]) \
        + weights["classifier.bias"][:, None, None]


# Layers, density and loss

def test_the_layers_are_those_of_the_public_csrnet_and_a_classifier_of_five_bins():
    tested, csrnet = counter(), build("model", "csrnet", {"weights": "scratch"})
    assert repr(tested.frontend) == repr(csrnet.frontend) and repr(tested.backend) == repr(csrnet.backend)
    assert repr(tested.classifier) == repr(nn.Conv2d(64, 5, 1))
    assert find("model", "csrnet_ebc").trained_parameters == csrnet.trained_parameters + 4 * (64 + 1)


def test_new_convolutions_start_from_kaimings_initialisation():
    for layer in counter().modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15) and not layer.bias.any()


def test_the_density_is_the_expected_anchor_of_the_plain_layers():
    tested, images = counter(), torch.rand(2, 3, 64, 96)
    for parameter in tested.parameters():
        if parameter.dim() == 1:  # a bias, which starts at 0
            nn.init.normal_(parameter, std=0.05)
    share = logits_of(tested.state_dict(), images).softmax(dim=1)
    expected = share[:, 1] + 2 * share[:, 2] + 3 * share[:, 3] + 4.5 * share[:, 4]
    density = tested(images).detach()
    assert density.shape == (2, 1, 8, 12) and density.std() > 0.1
    torch.testing.assert_close(density[:, 0].double(), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_cross_entropy_and_errors_of_the_count_and_of_the_shares():
    """The transport adds a gradient and nothing to the value."""
    tested, batch = counter(), views(size=(64, 96))
    logits = logits_of(tested.state_dict(), batch.images).numpy()
    for loss, image, points in zip(tested.loss(batch), logits, batch.points):
        heads = np.zeros(image.shape[1:], int)
        for x, y in points.numpy():
            heads[int(y // 8), int(x // 8)] += 1
        share = np.exp(image - image.max(axis=0))
        share /= share.sum(axis=0)
        density = np.tensordot([0, 1, 2, 3, 4.5], share, 1)
        entropy = -sum(np.log(share[min(heads[place], 4), *place]) for place in np.ndindex(heads.shape))
        shares = abs(density / density.sum() - heads / max(heads.sum(), 1)).sum()
        expected = entropy + abs(density.sum() - heads.sum()) + 0.01 * heads.sum() * shares
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_weight_of_the_transport_is_a_setting():
    batch = views()

    def slope(tested, loss):
        return torch.autograd.grad(loss(tested).sum(), tested.classifier.weight)[0]

    usual, public = (slope(counter(ot_weight=weight), lambda tested: tested.loss(batch)) for weight in (0.1, 0.8))
    transported = slope(counter(), lambda tested: transport(tested(batch.images), batch.points, 8))
    assert transported.abs().max() > 1
    torch.testing.assert_close(public - usual, 0.7 * transported, rtol=1e-3, atol=transported.abs().max().item() * 1e-3)


@torch.no_grad()
def test_logits_are_float32_and_the_loss_is_finite_in_bf16():
    tested, batch = counter(), views((40, 48), heads=(12, 1))  # bf16 takes long on a processor that does not have it
    with torch.autocast("cpu", torch.bfloat16):
        logits, losses = tested.apply_layers(batch.images, tested.logits), tested.loss(batch)
    assert logits.dtype == losses.dtype == torch.float32 and losses.isfinite().all()
    torch.testing.assert_close(losses, tested.loss(batch), rtol=0.1, atol=0)


# The last anchor

def test_the_last_anchor_is_the_mean_count_of_full_blocks_in_the_training_set():
    rng, counts = np.random.default_rng(0), []
    scenes = [Scene(f"scene {number}", np.zeros((40, 56, 3), np.uint8),
                    rng.uniform((0, 0), (56, 40), (number, 2)).astype(np.float32), 1.0) for number in (0, 60, 130)]
    for scene in scenes:
        for row, column in np.ndindex(5, 7):
            inside = sum(column == x // 8 and row == y // 8 for x, y in scene.points)
            counts += [inside] if inside >= 4 else []
    unknown, given = counter(last_anchor=None), counter(last_anchor=4.2)
    assert unknown.anchors.isnan().tolist() == [False] * 4 + [True] and len(counts) > 10
    for tested in (unknown, given):
        tested.prepare(scenes)
        tested.prepare(scenes[:1])  # a later training leaves it as it is
    assert unknown.anchors.tolist() == pytest.approx([0, 1, 2, 3, np.mean(counts)])
    assert given.anchors.tolist() == pytest.approx([0, 1, 2, 3, 4.2])


# Initial weights

def public(tensors):
    """Tensors under the names of the public code, which keeps its anchors elsewhere."""
    names = {"frontend.": "backbone.features.", "backend.": "backbone.decoder.", "classifier.": "classifier."}
    return {key.replace(ours, theirs): tensor for key, tensor in tensors.items()
            for ours, theirs in names.items() if key.startswith(ours)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_csrnet_ebc_counts_the_same_here(tmp_path, prefix):
    source, path = counter(), tmp_path / "best.pth"
    torch.save({prefix + key: tensor for key, tensor in public(source.state_dict()).items()}, path)
    with pytest.raises(UserError, match="best.pth: the file has no anchors; expected model.last_anchor=NUMBER"):
        started(path, last_anchor=None)
    found, images = started(path), views().images
    assert found.weights_note.startswith("whole counter: best.pth sha256 ")
    assert torch.equal(found(images), source(images))


def test_a_stored_counter_keeps_its_anchors(tmp_path):
    source, path = counter(last_anchor=4.25), tmp_path / "own.safetensors"
    save_file(source.state_dict(), path)
    assert started(path, last_anchor=None).anchors[4] == started(path, last_anchor=9.0).anchors[4] == 4.25
    assert trained("csrnet_ebc", {"weights": str(path)}, "audit").weights_note.startswith("whole counter: own.")


@pytest.mark.parametrize("output", ["output", "output_layer"])
def test_a_csrnet_starts_the_front_and_the_back_end(tmp_path, output):
    torch.manual_seed(3)
    csrnet, path = build("model", "csrnet", {"weights": "scratch"}).state_dict(), tmp_path / "csrnet.safetensors"
    save_file({key.replace("output.", f"{output}."): tensor for key, tensor in csrnet.items()}, path)
    found, fresh = started(path, last_anchor=None), counter(seed=1).state_dict()
    assert found.weights_note.startswith("front and back end: csrnet.safetensors sha256 ")
    for key, tensor in found.state_dict().items():
        assert torch.equal(tensor, csrnet.get(key, fresh[key])) or key == "anchors", key
    with pytest.raises(UserError, match="audit: model.weights = .*: expected the file of a whole trained csrnet_ebc"):
        trained("csrnet_ebc", {"weights": str(path)}, "audit")


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_a_vgg_16_of_thirteen_half_precision_convolutions_starts_the_front_end(tmp_path, prefix):
    vgg, path, inputs = {}, tmp_path / "vgg.safetensors", 3
    for number, outputs in zip((*FRONT, 24, 26, 28), (64, 64, 128, 128, *3 * [256], *6 * [512])):
        vgg[f"{number}.weight"] = torch.rand(outputs, inputs, 3, 3).half()
        vgg[f"{number}.bias"] = torch.rand(outputs).half()
        inputs = outputs
    save_file({prefix + key: tensor for key, tensor in vgg.items()}, path)
    found, fresh = started(path), counter(seed=1)
    assert found.weights_note.startswith("front end: vgg.safetensors sha256 ")
    for key, tensor in found.frontend.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, vgg[key].float()), key
    assert torch.equal(found.classifier.weight, fresh.classifier.weight)
    assert torch.equal(found.backend[0].weight, fresh.backend[0].weight)


def test_the_real_vgg_16_starts_the_front_end(real_data):
    found = started(real_data / "weights/vgg16_hed_f16.safetensors")
    assert found.weights_note.startswith("front end: vgg16_hed_f16.safetensors sha256 ")
    assert found(torch.rand(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize("change, said", [
    ({"classifier.bias": None}, "no tensor named 'classifier.bias' (1 missing)"),
    ({"classifier.weight": torch.zeros(7, 64, 1, 1)}, "size mismatch for classifier.weight"),
    ({"backend.2.weight": None}, "no tensor named 'backend.2.weight' (1 missing)"),
    ({"extra.weight": torch.zeros(1)}, "extra.weight"), ({"anchors": torch.full((5,), torch.nan)}, "no anchors"),
    ({"classifier.weight": None, "classifier.bias": None, "backend.2.bias": None},
     "no tensor named 'backend.2.bias' (1 missing)"),
    ({"features.0.bias": torch.zeros(64)}, "two tensors are named 'frontend.0.bias'")])
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, said):
    tensors = counter().state_dict() | change
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as refusal:
        started(tmp_path / "w.safetensors")
    assert "\n" not in str(refusal.value) and "w.safetensors" in str(refusal.value) and said in str(refusal.value)
