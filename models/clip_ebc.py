"""CLIP-EBC: blockwise classification by CLIP, with a sentence for each count.  Ma et al., 2024.

Ma, Sanchez, Guha, arXiv 2403.09281, with the ResNet-50 of CLIP (Radford et al., ICML 2021).
Stride 8, 71,775,073 trained parameters and 63,690,240 frozen ones. The features of a block are
compared with five sentences that say how many people it holds. The loss is DACE: the cross entropy
over the blocks plus the loss of DM-Count. The recipe is that of the paper under test (Luo,
CONF-CIAP 2025: Adam 4e-4, cosine, 150 epochs). The original recipe is
`--set training.schedule=restarts --set training.warmup=50 --set training.lr=1e-4
--set training.epochs=2600`.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.utils.errors import UserError
from benchmark.weights import (ClipWeights, checked_weights, described, load_tensors, part_for,
                               read_checkpoint, renamed)
from models.parts.blockwise import BlockwiseCounter
from models.parts.wide import WideConv3x3

# A sentence for each bin.
PROMPTS = ["There is no person.", "There is one person.", "There are two people.",
           "There are three people.", "There are more than four people."]
# First parts of the keys of CLIP and of the public code -> those of this counter.
KEY_MAP = {"visual": "encoder", "image_encoder": "encoder", "image_decoder": "decoder"}
TINY = {"embed_dim": 64, "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": [1, 1, 1, 1], "width": 8},
        "text_cfg": {"width": 64, "heads": 2, "layers": 2}}


@register
class ClipEbc(BlockwiseCounter):
    """weights: 'openai' (CLIP, downloaded by open_clip), 'scratch', or the path of a state dict.

    The file may hold a whole CLIP-EBC, also one of the public code, or a CLIP whose tensors have
    the names of open_clip.
    clip: 'RN50' is CLIP's ResNet-50. 'tiny' is a hundredth of that size, for tests and laptops.
    last_anchor: number of people that stands for the last bin. None takes the mean count of the
        blocks of that bin in the training set.
    window: side in pixels of the windows in which images are counted, the option of the original
        for large images. None counts whole images.
    ot_weight: weight of the transport in the loss. 0.1 is that of the equation of DM-Count; the
        public code sums over its batch of 8, which amounts to 0.8.
    """

    paper = "Ma, Sanchez, Guha, CLIP-EBC, arXiv 2403.09281, 2024"
    licence = "OpenAI CLIP, MIT"
    public_names = {"encoder": "image_encoder", "decoder": "image_decoder", "anchors": None}
    public_code = "Yiming-M/CLIP-EBC"
    public_note = ("Load it there with strict=False: CLIP's text encoder, which is frozen, is not "
                   "in the file, and `text` is what it makes of the five sentences. The anchors of "
                   "the bins are given when the network is built, see last_anchor below.")
    multiple = 16
    trained_parameters = 71_775_073
    frozen_parameters = 63_690_240  # of the text encoder, which runs once and is not kept
    recipe = Recipe(epochs=150, batch_size=8, optimizer="adam", lr=4e-4, weight_decay=1e-4,
                    schedule="cosine", flip=True, crop=448, zoom_max=2.0, jitter=0.2, blur=0.2,
                    noise=0.5)

    def __init__(self, weights: ClipWeights = "openai", clip: Literal["RN50", "tiny"] = "RN50",
                 last_anchor: PositiveFloat | None = None,
                 window: Annotated[int, Field(gt=0, multiple_of=16)] | None = None,
                 ot_weight: PositiveFloat = 0.1):
        import open_clip  # takes a second to import

        super().__init__(last_anchor, ot_weight)
        self.window = window
        config = TINY if clip == "tiny" else open_clip.get_model_config("RN50-quickgelu")
        network = open_clip.CLIP(**config)
        self.encoder = _stride_16(network.visual)
        network.visual = None
        channels = self.encoder.layer4[-1].conv3.out_channels
        self.decoder = nn.Sequential(Decoder(channels))  # public checkpoints have such names
        self.projection = nn.Conv2d(channels, network.text_projection.shape[1], 1)
        for module in [*self.decoder.modules(), self.projection]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self.projection.bias)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("text", text_features(network))
        weights = checked_weights(weights, "openai")
        if weights == "openai":
            weights = _downloaded(clip)
        if weights != "scratch":
            self.weights_note = self._start_from(weights, network)

    def _start_from(self, path: Path, network: nn.Module) -> str:
        """Load a whole CLIP-EBC, or the image encoder and the text features of a CLIP.

        network: the CLIP of this counter without its image encoder; it may be changed.
        Returns the note on the weights.
        """
        text_names = list(network.state_dict())
        names = [*self.state_dict(), *self.encoder.state_dict(), *text_names,
                 *(f"text_encoder.{name}" for name in text_names)]
        found = read_checkpoint(path)
        tensors = renamed(found.tensors, KEY_MAP, path, names)
        if "text" not in tensors:  # a stored counter has text features in place of a text encoder
            text_encoder = {key.removeprefix("text_encoder."): tensor
                            for key, tensor in tensors.items()}
            load_tensors(network, part_for(network, text_encoder), str(path), tensors)
            tensors["text"] = text_features(network)
        if "projection.weight" in tensors:
            return self.load_whole(part_for(self, tensors), path, tensors) + found.choice
        encoder = {key.removeprefix("encoder."): tensor for key, tensor in tensors.items()}
        load_tensors(self.encoder, part_for(self.encoder, encoder), str(path), tensors)
        self.text.copy_(tensors["text"])
        return f"CLIP: {described(path)}{found.choice}"

    def logits(self, images: Tensor) -> Tensor:
        encoder = self.encoder
        features = encoder.stem(images)
        for layer in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
            features = layer(features)
        features = self.projection(self.decoder(features))
        with torch.autocast(images.device.type, enabled=False):  # 8 bits of a cosine are too few
            features = features.float()
            products = F.conv2d(features, self.text[:, :, None, None])
            norms = features.norm(dim=1, keepdim=True).clamp(min=1e-12)
            return self.logit_scale.exp() * products / norms

    def backbone(self) -> nn.Module:
        return self.encoder


class Decoder(nn.Module):
    """Bilinear upsampling by 2, then convolutions 1x1, 3x3 and 1x1 with an identity skip.

    All are as wide as the features. The first 1x1 convolution runs before the upsampling, where it
    costs a quarter: the two commute.
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
    """A map of twice the size, bilinear."""
    return F.interpolate(features, scale_factor=2, mode="bilinear")


def _downloaded(clip: str) -> Path:
    """The file of OpenAI's weights, downloaded unless open_clip has it. Raises UserError."""
    if clip == "tiny":
        raise UserError("model.weights = 'openai': there are no such weights for clip = 'tiny'; "
                        "expected 'scratch' or the path of a file")
    import open_clip
    from open_clip.pretrained import download_pretrained

    try:
        return Path(download_pretrained(open_clip.get_pretrained_cfg("RN50", "openai")))
    except OSError as error:
        raise UserError(f"model.weights = 'openai': the download failed ({error}); expected "
                        "a network, model.weights=PATH or model.weights=scratch") from None


def _stride_16(encoder: nn.Module) -> nn.Module:
    """The ResNet of CLIP without its attention pool and without the last stage's downsampling."""
    encoder.attnpool = None
    encoder.layer4[0].avgpool = nn.Identity()
    encoder.layer4[0].downsample[0] = nn.Identity()
    return encoder


@torch.no_grad()
def text_features(clip: nn.Module) -> Tensor:
    """The prompts encoded by the text encoder of a CLIP, as unit vectors [bins, E]."""
    import open_clip

    tokens = open_clip.get_tokenizer("RN50")(PROMPTS)
    return F.normalize(clip.encode_text(tokens), dim=1)
