"""DMCount-EBC: its layers, density and loss against plain computations, and the weights that it starts from."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg19

from benchmark.data.batches import Batch
from benchmark.registry import build, find
from benchmark.utils.errors import UserError
from benchmark.weights import trained

ANCHORS = np.array([0, 1, 2, 3, 4.5])
SIZE = (64, 96)


def counter(seed=0, **settings):
    torch.manual_seed(seed)
    return build("model", "dm_count_ebc", {"weights": "scratch", "last_anchor": 4.5} | settings).eval()


def views(*heads):
    """Images with so many heads each, and five more in one block of the first."""
    points = [torch.rand(number, 2) * torch.tensor(SIZE[::-1]) for number in heads]
    points[0] = torch.cat([points[0], torch.full((5, 2), 20.0)])
    return Batch(torch.rand(len(heads), 3, *SIZE), points, [torch.ones(len(p)) for p in points])


def enlarged(maps):
    """Twice the size, [B, C, h, w] -> [B, C, 2 h, 2 w]: a new value is 3/4 of its block and 1/4 of the nearest other."""
    for axis in (2, 3):
        side = maps.shape[axis]
        before, after = np.maximum(np.arange(side) - 1, 0), np.minimum(np.arange(side) + 1, side - 1)
        halves = [0.75 * maps + 0.25 * maps.take(other, axis) for other in (before, after)]
        maps = np.stack(halves, axis + 1).reshape(*maps.shape[:axis], 2 * side, *maps.shape[axis + 1 :])
    return maps


@torch.no_grad()
def logits_of(weights, images):
    """The logits of VGG-19, three more convolutions and the images, in float64 from a state dict."""
    def convolved(maps, name, **options):
        return F.conv2d(maps, weights[f"{name}.weight"].double(), weights[f"{name}.bias"].double(), **options)

    mean, std = (torch.tensor(numbers).double()[:, None, None]
                 for numbers in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    maps, number = (images.double() - mean) / std, 0
    for stage, depth in enumerate((2, 2, 4, 4, 4)):
        maps, number = (F.max_pool2d(maps, 2), number + 1) if stage else (maps, number)
        for _ in range(depth):
            maps, number = convolved(maps, f"frontend.{number}", padding=1).relu(), number + 2
    maps = torch.from_numpy(enlarged(maps.numpy()))
    for name in ("backend.0", "backend.2"):
        maps = convolved(maps, name, padding=1).relu()
    return convolved(maps, "classifier").numpy()


def shares_of(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# Layers, density and loss

def test_the_layers_are_those_of_dm_count_and_a_classifier_of_five_bins():
    tested, original = counter(), build("model", "dm_count", {"weights": "scratch"})
    assert repr(tested.frontend) == repr(original.frontend) == repr(vgg19().features[:36])
    assert repr(tested.backend) == repr(original.head[:4]) and repr(tested.classifier) == repr(nn.Conv2d(128, 5, 1))
    assert find("model", "dm_count_ebc").trained_parameters == original.trained_parameters + 4 * (128 + 1)


def test_all_convolutions_start_from_kaimings_initialisation():
    started = {name: tensor for name, tensor in counter().state_dict().items() if name != "anchors"}
    widths = {name: tensor.std().item() for name, tensor in started.items() if tensor.dim() == 4}
    fans_out = {name: started[name][:, 0].numel() for name in widths}
    assert len(widths) == 19 and not any(tensor.any() for name, tensor in started.items() if name not in widths)
    assert widths == pytest.approx({name: (2 / fan_out) ** 0.5 for name, fan_out in fans_out.items()}, rel=0.1)


def test_the_density_is_the_expected_anchor_of_the_plain_layers():
    tested, images = counter(), torch.rand(2, 3, *SIZE)
    for parameter in tested.parameters():
        if parameter.dim() == 1:  # a bias, which starts at 0
            nn.init.normal_(parameter, std=0.05)
    expected = np.einsum("bnhw,n->bhw", shares_of(logits_of(tested.state_dict(), images)), ANCHORS)
    density = tested(images).detach().numpy()
    assert density.shape == (2, 1, 8, 12) and density.std() > 0.1
    np.testing.assert_allclose(density[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_the_value_of_the_loss_is_that_of_its_terms():
    """The transport has a gradient, but its value is 0."""
    tested, batch = counter(), views(25, 0, 2)
    every_share = shares_of(logits_of(tested.state_dict(), batch.images))
    for loss, shares, points in zip(tested.loss(batch), every_share, batch.points):
        heads = np.histogram2d(*points.numpy()[:, ::-1].T, bins=(8, 12), range=((0, 64), (0, 96)))[0]
        of_truth = np.take_along_axis(shares, heads.clip(max=4).astype(int)[None], 0)
        density = np.einsum("nhw,n->hw", shares, ANCHORS)
        variation = abs(density / density.sum() - heads / max(len(points), 1)).sum()
        expected = -np.log(of_truth).sum() + abs(density.sum() - len(points)) + 0.01 * len(points) * variation
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_a_step_lowers_the_loss():
    tested, batch = counter().train(), views(25, 0, 2)
    optimizer = torch.optim.Adam(tested.parameters(), 1e-5)
    before = tested.loss(batch).mean()
    before.backward()
    optimizer.step()
    assert tested.loss(batch).mean() < before - 1


def test_the_classifier_is_float32_in_bf16():
    tested, images = counter(), views(3).images[..., :32, :32]
    with torch.autocast("cpu", torch.bfloat16):
        assert tested.apply_layers(images, tested.logits).dtype == torch.float32


# Initial weights

@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_dm_count_ebc_counts_the_same_here(tmp_path, prefix):
    source, path, tensors = counter(), tmp_path / "best_mae.pth", {}
    for key, tensor in source.state_dict().items():
        if key != "anchors":  # the public code keeps them elsewhere
            key = key.replace("frontend.", "backbone.features.").replace("backend.", "backbone.reg_layer.")
            tensors[prefix + key] = tensor
    torch.save(tensors, path)
    with pytest.raises(UserError, match="best_mae.pth: the file has no anchors; expected model.last_anchor=NUMBER"):
        counter(seed=1, weights=str(path), last_anchor=None)
    found, images = counter(seed=1, weights=str(path)), views(3).images
    assert found.weights_note.startswith("whole counter: best_mae.pth sha256 ")
    assert torch.equal(found(images), source(images))
    assert source.public_state().keys() == {key.removeprefix(prefix) for key in tensors}


@pytest.mark.parametrize("theirs", [{}, {"frontend": "features", "head": "reg_layer"}])
def test_a_dm_count_starts_all_but_the_classifier(tmp_path, theirs):
    torch.manual_seed(3)
    original, path = build("model", "dm_count", {"weights": "scratch"}).state_dict(), tmp_path / "dm.pth"
    torch.save({theirs.get(key.split(".")[0], key.split(".")[0]) + key[key.index("."):]: tensor
                for key, tensor in original.items()}, path)
    found, fresh = counter(seed=1, weights=str(path), last_anchor=None), counter(seed=1)
    assert found.weights_note.startswith("front and back end: dm.pth sha256 ")
    for ours, public in (("frontend.34.bias", "frontend.34.bias"), ("backend.0.weight", "head.0.weight"),
                         ("backend.2.bias", "head.2.bias")):
        assert torch.equal(found.state_dict()[ours], original[public])
    assert torch.equal(found.classifier.weight, fresh.classifier.weight) and found.anchors[4].isnan()
    with pytest.raises(UserError, match="audit: model.weights = .*: expected the file of a whole trained dm_count_ebc"):
        trained("dm_count_ebc", {"weights": str(path)}, "audit")


@pytest.mark.parametrize("change, said", [
    ({"classifier.bias": None}, "no tensor named 'classifier.bias' (1 missing)"),
    ({"classifier.weight": torch.zeros(5, 64, 1, 1)}, "size mismatch for classifier.weight"),
    ({"frontend.34.weight": None}, "no tensor named 'frontend.34.weight' (1 missing)"),
    ({"backend.4.weight": torch.zeros(1)}, "backend.4.weight")])
def test_a_file_of_another_network_is_refused(tmp_path, change, said):
    tensors = counter().state_dict() | change
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as refusal:
        counter(weights=str(tmp_path / "w.safetensors"))
    assert "\n" not in str(refusal.value) and "w.safetensors" in str(refusal.value) and said in str(refusal.value)


def test_a_csrnet_is_refused(tmp_path):
    torch.save(build("model", "csrnet", {"weights": "scratch"}).state_dict(), tmp_path / "csrnet.pth")
    with pytest.raises(UserError, match="csrnet.pth: no tensor named 'frontend"):
        counter(weights=str(tmp_path / "csrnet.pth"))
