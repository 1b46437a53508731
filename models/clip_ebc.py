"""CLIP-EBC: blockwise classification. A block's features are compared with sentences on how many people it holds.

Ma, Sanchez, Guha, CLIP-EBC, arXiv 2403.09281 (2024), with the ResNet-50 of CLIP (Radford et al., ICML 2021). Stride 8.
The loss is DACE: cross entropy over blocks plus that of DM-Count. The recipe is that of the paper under test (Luo,
CONF-CIAP 2025: Adam 4e-4, cosine, 150 epochs); the original is `--set training.schedule=restarts
--set training.warmup=50 --set training.lr=1e-4 --set training.epochs=2600`.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

import open_clip
import torch
from open_clip.pretrained import download_pretrained
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.density import dot_maps
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.utils.errors import UserError
from benchmark.weights import WHOLE, ClipWeights, described, load_tensors, read_state_dict, renamed
from models.base import Counter
from models.parts.transport import distribution_matching
from models.parts.wide import WideConv3x3

PROMPTS = ["There is no person.", "There is one person.", "There are two people.", "There are three people.",
           "There are more than four people."]
LAST = len(PROMPTS) - 1  # the bin of blocks with that many people or more
NAMES = {"visual": "encoder", "image_encoder": "encoder", "image_decoder": "decoder"}  # CLIP's and the public ones
TINY = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": {"image_size": 224, "layers": [1, 1, 1, 1], "width": 8},
        "text_cfg": {"width": 64, "heads": 2, "layers": 2}}


@register
class ClipEbc(Counter):
    """weights: 'openai' (CLIP's, by open_clip), 'scratch', or the path of a state dict.

    A path may hold a whole CLIP-EBC, also the public one's, or a CLIP as open_clip names its tensors.
    clip: 'tiny' is the same code on a CLIP of a hundredth the size, for tests and laptops.
    last_anchor: people that a block of the last bin stands for; None is their mean in the training set.
    window: side of the windows that it counts in, the original's option for large images; None counts whole images.
    ot_weight: 0.1 an image, as in DM-Count's equation; the public code sums over its batch of 8, which is 0.8.
    """

    paper = "Ma, Sanchez, Guha, CLIP-EBC, arXiv 2403.09281, 2024"
    licence = "OpenAI CLIP, MIT"
    multiple = 16
    recipe = Recipe(epochs=150, batch_size=8, optimizer="adam", lr=4e-4, weight_decay=1e-4, schedule="cosine",
                    flip=True, crop=448, zoom_max=2.0, jitter=0.2, blur=0.2, noise=0.5)

    def __init__(self, weights: ClipWeights = "openai", clip: Literal["RN50", "tiny"] = "RN50",
                 last_anchor: PositiveFloat | None = None,
                 window: Annotated[int, Field(gt=0, multiple_of=16)] | None = None, ot_weight: PositiveFloat = 0.1):
        super().__init__()
        self.window, self.ot_weight = window, ot_weight
        whole = open_clip.CLIP(**(TINY if clip == "tiny" else open_clip.get_model_config("RN50-quickgelu")))
        self.encoder, whole.visual = _stride_16(whole.visual), None
        self.frozen = sum(parameter.numel() for parameter in whole.parameters()) - whole.logit_scale.numel()
        channels = self.encoder.layer4[-1].conv3.out_channels
        self.decoder = nn.Sequential(Decoder(channels))  # a Sequential, as the public checkpoints name it
        self.projection = nn.Conv2d(channels, whole.text_projection.shape[1], 1)
        for module in [*self.decoder.modules(), self.projection]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self.projection.bias)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("text", text_features(whole))
        self.register_buffer("anchors", torch.tensor([*range(LAST), last_anchor or math.nan]))
        if weights != "scratch":
            self.weights_note = self._start_from(_downloaded(clip) if weights == "openai" else Path(weights), whole)

    def _start_from(self, path: Path, whole: nn.Module) -> str:
        """Load a CLIP-EBC, or a CLIP: its image encoder, and what its text encoder makes of the prompts."""
        found = renamed(read_state_dict(path), NAMES, path)
        if "text" not in found:  # not one of ours, which keep no text encoder
            said = {key.removeprefix("text_encoder."): tensor for key, tensor in found.items()}
            load_tensors(whole, {key: said[key] for key in whole.state_dict() if key in said}, str(path))
            found |= {"text": text_features(whole), "anchors": self.anchors}
        if "projection.weight" in found:
            if found["anchors"].isnan().any():
                raise UserError(f"weights {path}: keeps no anchors; expected model.last_anchor=NUMBER, the one of its "
                                "training")
            load_tensors(self, {key: found[key] for key in self.state_dict() if key in found}, str(path))
            return f"{WHOLE}: {described(path)}"
        encoder = {key.removeprefix("encoder."): tensor for key, tensor in found.items()}
        own = {key: encoder[key] for key in self.encoder.state_dict() if key in encoder}
        load_tensors(self.encoder, own, str(path))
        self.text.copy_(found["text"])
        return f"CLIP: {described(path)}"

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> the logit of each bin, float32 [B, bins, H / 8, W / 8]."""
        encoder = self.encoder
        features = encoder.stem(images)
        for layer in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
            features = layer(features)
        features = self.projection(self.decoder(features))
        with torch.autocast(images.device.type, enabled=False):  # 8 bits of a cosine are too few
            features = features.float()
            products = F.conv2d(features, self.text[:, :, None, None])
            return self.logit_scale.exp() * products / features.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def expected(self, logits: Tensor) -> Tensor:
        """Logits [B, bins, h, w] -> the expected number of people in each block, [B, 1, h, w]."""
        return F.conv2d(logits.softmax(dim=1), self.anchors[None, :, None, None])

    def density(self, images: Tensor) -> Tensor:
        logits = self.logits(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.expected(logits)

    def loss(self, batch: Batch) -> Tensor:
        """DACE: cross entropy summed over the blocks, and DM-Count's loss of the expected density."""
        logits = self.apply_layers(batch.images, self.logits)
        dots = dot_maps(batch.points, batch.images.shape[-2:], self.stride)
        with torch.autocast(batch.images.device.type, enabled=False):
            entropy = F.cross_entropy(logits, dots[:, 0].clamp(max=LAST).long(), reduction="none").sum(dim=(1, 2))
            matching = distribution_matching(self.expected(logits), batch.points, self.stride, self.ot_weight)
        return entropy + matching

    def prepare(self, scenes: list[Scene]) -> None:
        """The last anchor, where it is not known yet: the mean count of the blocks in the last bin."""
        if self.anchors.isnan().any():
            blocks = [dot_maps([torch.tensor(s.points)], s.size, self.stride).flatten() for s in scenes]
            full = torch.cat([counts[counts >= LAST] for counts in blocks])
            self.anchors[LAST] = full.mean() if len(full) else float(LAST)

    def backbone(self) -> nn.Module:
        return self.encoder


class Decoder(nn.Module):
    """Bilinear x2, then a bottleneck 1x1 -> 3x3 -> 1x1 with an identity skip, all as wide as the features.

    The first 1x1 runs before the upsampling: the two commute, and it costs a quarter there.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = WideConv3x3(channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        out = F.relu(self.bn1(_doubled(self.conv1(features))))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + _doubled(features))


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear")


def _downloaded(clip: str) -> Path:
    """OpenAI's weights, from open_clip's cache or the network. Raises UserError."""
    if clip == "tiny":
        raise UserError("model.weights = 'openai': there are none for clip = 'tiny'; expected scratch or a path")
    try:
        return Path(download_pretrained(open_clip.get_pretrained_cfg("RN50", "openai")))
    except OSError as error:
        raise UserError(f"model.weights = 'openai': the download failed ({error}); expected a network, "
                        "model.weights=PATH or model.weights=scratch") from None


def _stride_16(encoder: nn.Module) -> nn.Module:
    """CLIP's ResNet without its attention pool, its last stage at the stride of the one before."""
    encoder.attnpool = None
    encoder.layer4[0].avgpool = encoder.layer4[0].downsample[0] = nn.Identity()
    return encoder


@torch.no_grad()
def text_features(clip: nn.Module) -> Tensor:
    """What the frozen text encoder makes of the prompts, normalised: [bins, E]."""
    return F.normalize(clip.encode_text(open_clip.get_tokenizer("RN50")(PROMPTS)), dim=1)
