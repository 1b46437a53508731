"""Blockwise classification by CLIP: what counters whose bins are sentences share.

Ma, Sanchez, Guha, arXiv 2403.09281. A block is compared with five sentences that say how many
people it holds: its logits are the cosines of its embedding by CLIP's image encoder and of those of
the sentences by CLIP's text encoder, times a learned scale (Radford et al., ICML 2021). The text
encoder is frozen; it runs once when a counter is built, and is not kept.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.utils.errors import UserError
from benchmark.weights import (ClipWeights, checked_weights, described, load_tensors, part_for,
                               read_checkpoint, renamed)
from models.parts.blockwise import BlockwiseCounter

# A sentence for each bin.
PROMPTS = ["There is no person.", "There is one person.", "There are two people.",
           "There are three people.", "There are more than four people."]
TINY_TEXT = {"width": 64, "heads": 2, "layers": 2}  # a text encoder for tests and laptops


class ClipCounter(BlockwiseCounter):
    """A counter that compares each block with a sentence for each bin.

    A subclass writes `block_features`, and calls `start` when it is built. It has the attributes
    `encoder`, `decoder`, `projection` and `logit_scale`, and `text`: the unit vectors of the
    sentences, [bins, E].

    network: the CLIP of the image encoder; the counter takes the encoder from it.
    decoder: the layers from the features of the image encoder to those of the blocks. Its attribute
        `channels` is the number of channels of both.
    last_anchor, ot_weight: see `BlockwiseCounter`.
    """

    licence = "OpenAI CLIP, MIT"
    public_names = {"encoder": "image_encoder", "decoder": "image_decoder", "anchors": None}
    public_code = "Yiming-M/CLIP-EBC"
    public_note = ("Load it there with strict=False: CLIP's text encoder, which is frozen, is not "
                   "in the file, and `text` is what it makes of the five sentences. The anchors of "
                   "the bins are given when the network is built, see last_anchor below.")
    multiple = 16

    def __init__(self, network: nn.Module, decoder: nn.Module, last_anchor: float | None,
                 ot_weight: float):
        super().__init__(last_anchor, ot_weight)
        self.encoder, network.visual = network.visual, None
        self.decoder = nn.Sequential(decoder)  # public checkpoints have such names
        self.projection = nn.Conv2d(decoder.channels, network.text_projection.shape[1], 1)
        for module in [*self.decoder.modules(), self.projection]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self.projection.bias)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("text", text_features(network))

    @abstractmethod
    def block_features(self, images: Tensor) -> Tensor:
        """The features of the blocks, [B, C, H / 8, W / 8].

        images: normalised, [B, 3, H, W].
        """

    def logits(self, images: Tensor) -> Tensor:
        features = self.projection(self.block_features(images))
        with torch.autocast(images.device.type, enabled=False):  # 8 bits of a cosine are too few
            features = features.float()
            products = F.conv2d(features, self.text[:, :, None, None])
            norms = features.norm(dim=1, keepdim=True).clamp(min=1e-12)
            return self.logit_scale.exp() * products / norms

    def backbone(self) -> nn.Module:
        return self.encoder

    def start(self, weights: ClipWeights, clip: str, network: nn.Module) -> str:
        """Load the initial weights, and return one line for the record that says what they are.

        weights: 'openai', 'scratch', or the path of a file with a whole counter or with a CLIP.
        clip: the name of the CLIP for open_clip, or 'tiny'.
        network: the CLIP that the counter was built of, without its image encoder; it may be
            changed.

        Raises:
            UserError: the setting is none of these, the download failed, or the file does not fit.
        """
        weights = checked_weights(weights, "openai")
        if weights == "openai":
            weights = _downloaded(clip)
        return "from scratch" if weights == "scratch" else self._start_from_file(weights, network)

    def _start_from_file(self, path: Path, network: nn.Module) -> str:
        """Load a whole counter, or the image encoder and the text features of a CLIP.

        Returns and raises as `start`.
        """
        text_names = list(network.state_dict())
        names = [*self.state_dict(), *text_names, *(f"text_encoder.{name}" for name in text_names)]
        found = read_checkpoint(path)
        key_map = {"visual": "encoder"} | dict(self._from_public_names())
        tensors = renamed(found.tensors, key_map, path, names)
        if "text" not in tensors:  # a stored counter has text features in place of a text encoder
            text_encoder = {key.removeprefix("text_encoder."): tensor
                            for key, tensor in tensors.items()}
            load_tensors(network, part_for(network, text_encoder), str(path), tensors)
            tensors["text"] = text_features(network)
        if "projection.weight" in tensors:
            return self.load_whole(part_for(self, tensors), path, tensors) + found.choice
        # Without their prefix, tensors of a ViT have the names of those of the text encoder.
        encoder = {key.removeprefix("encoder."): tensor for key, tensor in tensors.items()
                   if key.startswith("encoder.")}
        load_tensors(self.encoder, part_for(self.encoder, encoder), str(path), tensors)
        self.text.copy_(tensors["text"])
        return f"CLIP: {described(path)}{found.choice}"

    def _from_public_names(self) -> Iterator[tuple[str, str]]:
        """The beginnings of names in the public code, each with that of this counter."""
        for ours, theirs in self.public_names.items():
            if theirs is not None:
                yield theirs, ours


def new_clip(clip: str, tiny: dict[str, Any]) -> nn.Module:
    """A CLIP with random weights.

    clip: the name of its image encoder for open_clip, or 'tiny'.
    tiny: open_clip's configuration of the latter.
    """
    import open_clip  # takes a second to import

    config = tiny if clip == "tiny" else open_clip.get_model_config(f"{clip}-quickgelu")
    return open_clip.CLIP(**config)


@torch.no_grad()
def text_features(clip: nn.Module) -> Tensor:
    """The prompts encoded by the text encoder of a CLIP, as unit vectors [bins, E]."""
    import open_clip

    tokens = open_clip.get_tokenizer("RN50")(PROMPTS)  # that of every CLIP of OpenAI
    return F.normalize(clip.encode_text(tokens), dim=1)


def _downloaded(clip: str) -> Path:
    """The file of OpenAI's weights, downloaded unless open_clip has it. Raises UserError."""
    if clip == "tiny":
        raise UserError("model.weights = 'openai': there are no such weights for clip = 'tiny'; "
                        "expected 'scratch' or the path of a file")
    import open_clip
    from open_clip.pretrained import download_pretrained

    try:
        return Path(download_pretrained(open_clip.get_pretrained_cfg(clip, "openai")))
    except OSError as error:
        raise UserError(f"model.weights = 'openai': the download failed ({error}); expected "
                        "a network, model.weights=PATH or model.weights=scratch") from None
