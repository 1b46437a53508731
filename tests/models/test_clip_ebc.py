"""CLIP-EBC: the published sizes, its head and loss against plain computations, and the weights that it starts from."""

import math

import numpy as np
import open_clip
import pytest
import torch
from open_clip import pretrained
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.data.splits import load_train
from benchmark.registry import build
from benchmark.utils.errors import UserError
from models.clip_ebc import TINY
from models.parts.clip import PROMPTS
from models.parts.transport import distribution_matching


def tiny(seed=0, **settings):
    torch.manual_seed(seed)
    return build("model", "clip_ebc", {"weights": "scratch", "clip": "tiny"} | settings)


@pytest.fixture(scope="module")
def full():
    return build("model", "clip_ebc", {"weights": "scratch"}).eval()


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(3)
    return open_clip.CLIP(**TINY).eval()


def batch(size=(64, 96), heads=(30, 0, 1), seed=0):
    rng = torch.Generator().manual_seed(seed)
    points = [torch.rand(number, 2, generator=rng) * torch.tensor([size[1], size[0]]) for number in heads]
    return Batch(torch.rand(len(heads), 3, *size, generator=rng), points, [torch.ones(len(p)) for p in points])


# Published facts

def test_parameters_are_the_published_ones(full):
    names = ("encoder", "decoder", "projection")
    parts = {name: sum(p.numel() for p in getattr(full, name).parameters()) for name in names}
    assert parts == {"encoder": 23_527_264, "decoder": 46_149_632, "projection": 2_098_176}
    assert sum(p.numel() for p in full.parameters() if p.requires_grad) == 71_775_073  # 71.8 M, with the logit scale
    assert full.frozen_parameters == 63_690_240  # 63.7 M, run once and not kept
    assert sum(tensor.numel() for key, tensor in full.state_dict().items() if "text" in key) == 5 * 1024


@pytest.mark.parametrize("shape, published", [((8, 3, 448, 448), 2.88), ((1, 3, 768, 1024), 1.41)])
def test_flops_are_the_published_ones_less_the_first_convolution_before_upsampling(full, shape, published):
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter, torch.no_grad():
        full.density(torch.empty(shape))
    saved = 3 / 4 * 2 * 2048**2 * shape[0] * shape[2] * shape[3] / 64  # three of four upsampled pixels
    assert saved / 1e12 == pytest.approx(0.055 * published, rel=0.01)
    assert (counter.get_total_flops() + saved) / 1e12 == pytest.approx(published, rel=0.01)


def test_a_1x1_convolution_and_the_upsampling_commute():
    decoder, features = tiny().decoder[0].eval(), torch.randn(2, 256, 5, 7)
    up = F.interpolate(features, scale_factor=2, mode="bilinear")
    out = F.relu(decoder.bn2(decoder.conv2(F.relu(decoder.bn1(decoder.conv1(up))))))
    expected = F.relu(decoder.bn3(decoder.conv3(out)) + up)
    torch.testing.assert_close(decoder(features), expected, rtol=1e-5, atol=1e-5)


def test_the_stride_of_the_encoder_is_16_and_that_of_the_map_8():
    counter = tiny().eval()
    assert counter.apply_layers(torch.rand(1, 3, 64, 96), counter.logits).shape == (1, 5, 8, 12)
    assert counter.encoder.stem(torch.rand(1, 3, 64, 96)).shape[-2:] == (16, 24)


# Head and loss

def test_the_density_is_the_expected_count_of_a_softmax_over_cosines():
    counter, images = tiny(last_anchor=4.5).eval(), torch.rand(2, 3, 64, 64)
    seen = []
    counter.projection.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    density = counter(images)
    features, text = seen[0].double().numpy(), counter.text.double().numpy()
    cosine = np.einsum("bchw,nc->bnhw", features / np.linalg.norm(features, axis=1, keepdims=True), text)
    weights = np.exp(cosine / 0.07)
    expected = np.einsum("bnhw,n->bhw", weights, [0, 1, 2, 3, 4.5]) / weights.sum(axis=1)
    np.testing.assert_allclose(density[:, 0].detach().numpy(), expected, rtol=1e-4)


def test_the_loss_is_cross_entropy_over_the_blocks_and_that_of_dm_count():
    counter, views = tiny(last_anchor=4.5), batch()
    logits = counter.apply_layers(views.images, counter.logits).detach()
    expected = []
    for image, points in zip(logits.double().numpy(), views.points):
        blocks = np.zeros(image.shape[1:], int)
        for x, y in points.numpy():
            blocks[int(y // 8), int(x // 8)] += 1
        shares = np.exp(image) / np.exp(image).sum(axis=0)
        expected.append(-sum(math.log(shares[min(blocks[i, j], 4), i, j]) for i, j in np.ndindex(blocks.shape)))
    matching = distribution_matching(counter.expected(logits), views.points, 8, 0.1)
    np.testing.assert_allclose(counter.loss(views).detach(), np.array(expected) + matching.numpy(), rtol=1e-5)
    more = tiny(last_anchor=4.5, ot_weight=0.8).loss(views) - counter.loss(views)
    transported = matching - distribution_matching(counter.expected(logits), views.points, 8, 0)
    torch.testing.assert_close(more, 7 * transported, rtol=1e-3, atol=1e-2)


def test_the_loss_is_that_of_each_image_alone():
    counter, views = tiny(last_anchor=4.5).eval(), batch()  # in training the images share BatchNorm's statistics
    alone = [counter.loss(Batch(views.images[i : i + 1], views.points[i : i + 1], views.sigmas)) for i in range(3)]
    torch.testing.assert_close(counter.loss(views), torch.cat(alone), rtol=1e-4, atol=1e-3)


def test_the_last_anchor_is_the_mean_count_of_full_blocks_in_the_training_set():
    points = np.float32([[1, 1]] * 5 + [[9, 1]] * 3 + [[17, 9]] * 8 + [[39.9, 15.9]] * 4)
    scene = Scene("full", np.zeros((16, 40, 3), np.uint8), points, 1.0)
    counter, given, sparse = tiny(), tiny(last_anchor=4.2), tiny()
    assert counter.anchors.isnan().tolist() == [False] * 4 + [True]
    for one in (counter, given):
        one.prepare([scene])
        one.prepare([Scene("other", scene.image, points[:6], 1.0)])  # a later training leaves it as it is
    assert counter.anchors.tolist() == pytest.approx([0, 1, 2, 3, (5 + 8 + 4) / 3])
    assert given.anchors[4].item() == pytest.approx(4.2)
    sparse.prepare([Scene("empty", scene.image, points[:2], 1.0)])
    assert sparse.anchors[4] == 4


def test_the_last_anchor_of_part_b_is_near_the_published_one(real_data):
    counter = tiny()
    counter.prepare(load_train(build("dataset", "shanghaitech", {"root": str(real_data), "part": "B"}), 1.0, 0.0)[0])
    assert counter.anchors[4].item() == pytest.approx(4.41009, rel=0.01)


# Text features and weights

def test_a_prompt_has_features_of_its_own():
    text = tiny().text
    torch.testing.assert_close(text.norm(dim=1), torch.ones(5))
    assert (text @ text.T - 2 * torch.eye(5)).max() < 0.9999 and not text.requires_grad


@pytest.mark.parametrize("pool", [True, False])
def test_a_clip_starts_the_encoder_and_the_text_features(clip, tmp_path, pool):
    tensors = {key: tensor for key, tensor in clip.state_dict().items() if pool or "attnpool" not in key}
    save_file(tensors, tmp_path / "clip.safetensors")
    counter = tiny(weights=str(tmp_path / "clip.safetensors"))
    assert counter.weights_note.startswith("CLIP: clip.safetensors sha256 ")
    for key, tensor in counter.encoder.state_dict().items():
        assert torch.equal(tensor, tensors[f"visual.{key}"])
    with torch.no_grad():
        torch.testing.assert_close(counter.text, F.normalize(clip.encode_text(open_clip.tokenize(PROMPTS)), dim=1))
    assert counter.anchors[4].isnan()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_clip_ebc_counts_the_same_here(clip, tmp_path, prefix):
    source = tiny(seed=5, last_anchor=4.4).eval()
    public = {key.replace("encoder.", "image_encoder.").replace("decoder.", "image_decoder."): tensor
              for key, tensor in source.state_dict().items() if key not in ("text", "anchors")}
    public |= {f"text_encoder.{key}": tensor for key, tensor in clip.state_dict().items()
               if not key.startswith(("visual", "logit_scale"))}
    torch.save({prefix + key: tensor for key, tensor in public.items()}, tmp_path / "best.pth")
    with pytest.raises(UserError, match="the file has no anchors; expected model.last_anchor"):
        tiny(weights=str(tmp_path / "best.pth"))
    counter = tiny(weights=str(tmp_path / "best.pth"), last_anchor=4.4).eval()
    assert counter.weights_note.startswith("whole counter: best.pth sha256 ")
    with torch.no_grad():
        source.text.copy_(F.normalize(clip.encode_text(open_clip.tokenize(PROMPTS)), dim=1))
        torch.testing.assert_close(counter(batch().images), source(batch().images))


def test_openai_weights_are_the_downloaded_file(clip, tmp_path, monkeypatch):
    asked = []
    downloaded = str(tmp_path / "none.pth")
    monkeypatch.setattr("open_clip.pretrained.download_pretrained", lambda cfg: asked.append(cfg) or downloaded)
    with pytest.raises(UserError, match="none.pth"):
        build("model", "clip_ebc", {})
    assert asked == [pretrained.get_pretrained_cfg("RN50", "openai")]


def test_a_failed_download_is_one_line(monkeypatch):
    def fail(cfg):
        raise FileNotFoundError("no network")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", fail)
    with pytest.raises(UserError, match="'openai': the download failed .no network.; expected a network") as refusal:
        build("model", "clip_ebc", {})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("settings, said", [
    ({"clip": "tiny"}, "there are no such weights for clip = 'tiny'"), ({"clip": "huge"}, "clip"),
    ({"weights": "imagenet"}, "openai"), ({"window": 100}, "window"), ({"last_anchor": 0}, "last_anchor")])
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        build("model", "clip_ebc", settings)


def test_a_file_that_is_no_clip_is_refused(tmp_path):
    save_file({"visual.conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match="part.safetensors: no tensor named"):
        tiny(weights=str(tmp_path / "part.safetensors"))
