"""CLIP-EBC on a vision transformer: its prompts and layers against plain computations, what is frozen, and its files."""

import math

import numpy as np
import open_clip
import pytest
import torch
from factories import draw_scenes, flat_weights
from safetensors.torch import save_file
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.registry import build, find
from benchmark.training.loop import fit
from benchmark.utils.errors import UserError
from models.clip_ebc_vit import TINY
from models.parts.clip import PROMPTS

GRID, PATCH, PROMPTED, ANCHOR = 14, 16, 7, 4.5


def counter(seed=0, **settings):
    torch.manual_seed(seed)
    given = {"weights": "scratch", "clip": "tiny", "prompts": PROMPTED, "last_anchor": ANCHOR} | settings
    return build("model", "clip_ebc_vit", given).eval()


def scrambled():
    """A counter whose biases, normalisations and averages are not those of the start."""
    made = counter()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.2)
            elif name.endswith(("running_var", "ln_1.weight", "ln_2.weight", "bn1.weight", "bn2.weight")):
                tensor.uniform_(0.5, 1.5)
    return made


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(3)
    return open_clip.CLIP(**TINY).eval()


def views(size=(64, 96), heads=(30, 0, 2)):
    points = [torch.rand(number, 2) * torch.tensor(size[::-1]) for number in heads]
    return Batch(torch.rand(len(heads), 3, *size), points, [torch.ones(len(p)) for p in points])


# The layers in float64, for one image, written from the papers.

def cubic(into):
    """The matrix that resizes GRID values to `into` values by cubic convolution with a = -0.75, the border kept."""
    matrix, a = np.zeros((into, GRID)), -0.75
    for row in range(into):
        place = (row + 0.5) * GRID / into - 0.5
        for column in range(math.floor(place) - 1, math.floor(place) + 3):
            d = abs(place - column)
            inner, outer = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(column, 0), GRID - 1)] += inner if d <= 1 else outer
    return matrix


def normalised(tokens, weight, bias):
    centred = tokens - tokens.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * weight + bias


def attended(tokens, weights, heads):
    """Self-attention over [N, C]."""
    of_heads = np.split(tokens @ weights["attn.in_proj_weight"].T + weights["attn.in_proj_bias"], 3 * heads, axis=1)
    seen = []
    for query, key, value in zip(of_heads[:heads], of_heads[heads : 2 * heads], of_heads[2 * heads :]):
        shares = np.exp(query @ key.T / math.sqrt(query.shape[1]))
        seen.append(shares / shares.sum(axis=1, keepdims=True) @ value)
    return np.concatenate(seen, 1) @ weights["attn.out_proj.weight"].T + weights["attn.out_proj.bias"]


def block(tokens, weights, heads):
    tokens = tokens + attended(normalised(tokens, weights["ln_1.weight"], weights["ln_1.bias"]), weights, heads)
    inner = normalised(tokens, weights["ln_2.weight"], weights["ln_2.bias"])
    inner = inner @ weights["mlp.c_fc.weight"].T + weights["mlp.c_fc.bias"]
    inner = inner / (1 + np.exp(-1.702 * inner))  # the GELU of OpenAI's CLIP
    return tokens + inner @ weights["mlp.c_proj.weight"].T + weights["mlp.c_proj.bias"]


def patches_of(image, weights, blocks, heads):
    """The patches [h w, C] behind the last block. Prompts stand behind the image's token, as in the public code."""
    rows, columns = image.shape[1] // PATCH, image.shape[2] // PATCH
    pixels = image.reshape(3, rows, PATCH, columns, PATCH).transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1)
    patches = pixels @ weights["encoder.conv1.weight"].reshape(-1, pixels.shape[1]).T
    places = weights["encoder.positional_embedding"]
    grid = places[1:].reshape(GRID, GRID, -1)
    grid = np.einsum("yi,xj,ijc->yxc", cubic(rows), cubic(columns), grid).reshape(patches.shape)
    tokens = np.concatenate([(weights["encoder.class_embedding"] + places[0])[None], patches + grid])
    tokens = normalised(tokens, weights["encoder.ln_pre.weight"], weights["encoder.ln_pre.bias"])
    for number in range(blocks):
        start = f"encoder.transformer.resblocks.{number}."
        own = {key.removeprefix(start): tensor for key, tensor in weights.items() if key.startswith(start)}
        prompted = np.concatenate([tokens[:1], weights[f"prompts.{number}"], tokens[1:]])
        prompted = block(prompted, own, heads)
        tokens = np.concatenate([prompted[:1], prompted[PROMPTED + 1 :]])
    return normalised(tokens, weights["encoder.ln_post.weight"], weights["encoder.ln_post.bias"])[1:]


def decoded(features, weights):
    """The decoder on features [C, h, w]."""
    def conv_and_norm(maps, number):
        wide = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
        seen = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))
        maps = np.einsum("chwij,ocij->ohw", seen, weights[f"decoder.0.conv{number}.weight"])
        mean, variance, weight, bias = (weights[f"decoder.0.bn{number}.{name}"][:, None, None]
                                        for name in ("running_mean", "running_var", "weight", "bias"))
        return (maps - mean) / np.sqrt(variance + 1e-5) * weight + bias

    up = F.interpolate(torch.from_numpy(features)[None], scale_factor=2, mode="bilinear")[0].numpy()
    return np.maximum(conv_and_norm(np.maximum(conv_and_norm(up, 1), 0), 2) + up, 0)


def density_of(tested, image):
    """The density map of a counter for one image [3, H, W] whose sides are multiples of PATCH."""
    weights = {key: tensor.double().numpy() for key, tensor in tested.state_dict().items()}
    image = (image.double() - torch.tensor(tested.mean)[:, None, None]) / torch.tensor(tested.std)[:, None, None]
    patches = patches_of(image.numpy(), weights, 3, 2)
    features = patches.T.reshape(-1, image.shape[1] // PATCH, image.shape[2] // PATCH)
    projected = np.einsum("chw,ec->ehw", decoded(features, weights), weights["projection.weight"][:, :, 0, 0])
    projected += weights["projection.bias"][:, None, None]
    cosines = np.einsum("ehw,ne->nhw", projected / np.linalg.norm(projected, axis=0), weights["text"])
    powers = np.exp(np.exp(weights["logit_scale"]) * cosines)
    return np.einsum("nhw,n->hw", powers, [0, 1, 2, 3, ANCHOR]) / powers.sum(axis=0)


@pytest.mark.parametrize("size", [(224, 224), (64, 96), (240, 32)])
def test_the_density_is_that_of_the_plain_layers(size):
    tested, image = scrambled(), torch.rand(3, *size)
    tested.window = None
    expected = density_of(tested, image)
    assert expected.shape == (size[0] // 8, size[1] // 8) and expected.std() > 0.05
    np.testing.assert_allclose(tested(image[None])[0, 0].detach().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_every_prompt_is_seen():
    tested, image = scrambled(), torch.rand(1, 3, 64, 64)
    before = tested(image)
    for prompts in tested.prompts:
        for row in prompts:
            kept = row.detach().clone()
            with torch.no_grad():
                row.neg_()
                assert not torch.allclose(tested(image), before, rtol=1e-5)
                row.copy_(kept)
    torch.testing.assert_close(tested(image), before)


def test_images_are_counted_in_windows_of_the_size_of_the_crops():
    cls, tested, image = find("model", "clip_ebc_vit"), counter(), torch.rand(1, 3, 224, 448)
    assert tested.window == cls.recipe.crop == GRID * PATCH and counter(window=None).window is None
    with torch.no_grad():
        sides = torch.cat([tested(image[..., :224]), tested(image[..., 224:])], dim=3)
        torch.testing.assert_close(tested(image), sides)
        tested.window = None
        assert not torch.allclose(tested(image), sides, rtol=1e-3)


# Sizes and the start

def test_parameters_are_those_of_vit_b_16_and_of_what_is_beside_it(monkeypatch):
    monkeypatch.setattr("models.parts.clip.text_features", lambda network: torch.zeros(5, 512))
    with torch.device("meta"):
        full = build("model", "clip_ebc_vit", {"weights": "scratch"})
    numbers = {name: sum(p.numel() for p in part.parameters()) for name, part in full.named_children()}
    of_a_block = 12 * 768**2 + 13 * 768  # its four products, their biases, and two normalisations
    assert numbers["encoder"] == 12 * of_a_block + (3 * 16**2 + 1 + 1 + 14**2 + 4) * 768
    assert numbers["prompts"] == 12 * 32 * 768 and numbers["decoder"] == 2 * 9 * 768**2 + 4 * 768
    assert numbers["projection"] == (768 + 1) * 512
    assert not any(parameter.requires_grad for parameter in full.encoder.parameters())
    assert full.trained_parameters == sum(numbers.values()) - numbers["encoder"] + 1  # the scale of the logits
    text = 49408 * 512 + 77 * 512 + 12 * (12 * 512**2 + 13 * 512) + 2 * 512 + 512 * 512
    assert full.frozen_parameters == numbers["encoder"] + text


def test_prompts_and_convolutions_start_as_in_the_public_code():
    tested = counter(prompts=200)
    for prompts in tested.prompts:
        limit = math.sqrt(6 / (3 * PATCH + 64))
        assert prompts.shape == (200, 64) and 0.99 * limit < prompts.abs().max() <= limit
        assert prompts.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    for layer, fan_out in ((tested.decoder[0].conv1, 64 * 9), (tested.decoder[0].conv2, 64 * 9), (tested.projection, 64)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    assert not tested.projection.bias.any() and tested.logit_scale.exp().item() == pytest.approx(1 / 0.07)


# Training

def test_a_step_lowers_the_loss():
    tested, batch = counter().train(), views()
    optimizer = torch.optim.Adam([p for p in tested.parameters() if p.requires_grad], 1e-3)
    before = tested.loss(batch).mean()
    before.backward()
    optimizer.step()
    assert tested.loss(batch).mean() < before - 1


def test_a_training_leaves_the_image_encoder_and_the_sentences_as_they_are():
    trained, scenes = counter(last_anchor=None), draw_scenes(4)
    before = trained.copy()
    trained.prepare(scenes)
    fit(trained, scenes, Recipe(epochs=2, batch_size=2, lr=1e-2, weight_decay=0.1, select="last", precision="fp32"),
        0, "train")
    assert torch.equal(flat_weights(trained.encoder), flat_weights(before.encoder))
    assert torch.equal(trained.text, before.text)
    for ours, theirs in zip(trained.prompts, before.prompts, strict=True):
        assert (ours - theirs).abs().min(dim=1).values.max() > 1e-3
    assert not torch.equal(flat_weights(trained.decoder), flat_weights(before.decoder))
    assert not any(parameter.requires_grad for parameter in trained.copy().encoder.parameters())


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (16, 16)])
def test_an_image_of_any_size_is_trained_on_alone(size):
    tested = counter().train()
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    loss = tested.loss(Batch.of([Scene("a", image, np.float32([[size[1] / 2, size[0] / 2]]), None)], torch.device("cpu")))
    loss.sum().backward()
    assert loss.isfinite().all() and all(prompts.grad.isfinite().all() for prompts in tested.prompts)


# Initial weights

def test_a_clip_starts_the_encoder_and_the_sentences(clip, tmp_path):
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")
    found = counter(weights=str(tmp_path / "clip.safetensors"), last_anchor=None)
    assert found.weights_note.startswith("CLIP: clip.safetensors sha256 ") and found.anchors[4].isnan()
    for key, tensor in found.encoder.state_dict().items():
        assert torch.equal(tensor, clip.state_dict()[f"visual.{key}"]), key
    with torch.no_grad():
        torch.testing.assert_close(found.text, F.normalize(clip.encode_text(open_clip.tokenize(PROMPTS)), dim=1))
    assert not any(parameter.requires_grad for parameter in found.encoder.parameters())
    assert torch.equal(found.prompts[2], counter().prompts[2])


@pytest.fixture
def public(clip):
    """A counter, and its tensors under the names of the public code with a text encoder."""
    source = scrambled()
    names = {"encoder": "image_encoder", "decoder": "image_decoder", "prompts.0": "vpt_0", "prompts.1": "vpt_1",
             "prompts.2": "vpt_2"}
    tensors = {f"text_encoder.{key}": tensor for key, tensor in clip.state_dict().items()
               if not key.startswith(("visual", "logit_scale"))}
    for key, tensor in source.state_dict().items():
        ours = next((ours for ours in names if f"{key}.".startswith(f"{ours}.")), "")
        tensors[names.get(ours, "") + key.removeprefix(ours)] = tensor
    del tensors["text"], tensors["anchors"]
    with torch.no_grad():
        source.text.copy_(F.normalize(clip.encode_text(open_clip.tokenize(PROMPTS)), dim=1))
    return source, tensors


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_counter_counts_the_same_here(public, tmp_path, prefix):
    source, tensors = public
    torch.save({prefix + key: tensor for key, tensor in tensors.items()}, tmp_path / "best.pth")
    found = counter(seed=1, weights=str(tmp_path / "best.pth"))
    assert found.weights_note.startswith("whole counter: best.pth sha256 ")
    images = views().images
    torch.testing.assert_close(found(images), source(images))
    assert {*source.public_state()} == {key for key in tensors if "text_encoder" not in key} | {"text"}


@pytest.mark.parametrize("change, settings, said", [
    ({}, {"last_anchor": None}, "the file has no anchors; expected model.last_anchor=NUMBER"),
    ({}, {"prompts": PROMPTED + 1}, "the file has 7 prompts before a block; expected model.prompts=7"),
    ({"vpt_0": torch.zeros(PROMPTED, 32)}, {}, "size mismatch for prompts.0"),
    ({"vpt_0": None}, {}, "no tensor named 'prompts.0' (1 missing)"),
    ({"vpt_2": None}, {}, "no tensor named 'prompts.2' (1 missing)"),
    ({"image_encoder.positional_embedding": torch.zeros(785, 64)}, {}, "size mismatch for encoder.positional_embedding"),
    ({"text_encoder.ln_final.bias": None}, {}, "no tensor named 'ln_final.bias' (1 missing)")])
def test_a_file_that_does_not_fit_is_refused(public, tmp_path, change, settings, said):
    tensors = {key: tensor for key, tensor in (public[1] | change).items() if tensor is not None}
    torch.save(tensors, tmp_path / "best.pth")
    with pytest.raises(UserError) as refusal:
        counter(weights=str(tmp_path / "best.pth"), **settings)
    assert "\n" not in str(refusal.value) and "best.pth" in str(refusal.value) and said in str(refusal.value)


def test_openai_weights_are_those_of_vit_b_16(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("open_clip.pretrained.download_pretrained",
                        lambda config: asked.append(config) or str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match="none.pth"):
        build("model", "clip_ebc_vit", {})
    assert asked == [open_clip.get_pretrained_cfg("ViT-B-16", "openai")]


@pytest.mark.parametrize("settings, said", [
    ({"weights": "openai"}, "there are no such weights for clip = 'tiny'"), ({"clip": "RN50"}, "clip = 'RN50'"),
    ({"prompts": 0}, "prompts = 0"), ({"window": 100}, "window = 100"), ({"weights": "imagenet"}, "expected 'openai'")])
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(UserError) as refusal:
        counter(**settings)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
