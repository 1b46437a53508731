"""CLIP-EBC on a vision transformer that is tuned by visual prompts.  Ma et al., 2024.

Ma, Sanchez, Guha, arXiv 2403.09281, with the ViT-B/16 of CLIP (Radford et al., ICML 2021). Stride
8, 11,308,545 trained parameters and 149,227,520 frozen ones. The image encoder is frozen; it is
steered by deep visual prompt tuning (Jia et al., Visual Prompt Tuning, ECCV 2022): each of its 12
blocks reads 32 learned tokens beside the patches. What a block makes of them is dropped, and the
next block has tokens of its own. The decoder, the projection and the scale of the logits are
trained too. The sentences, the bins and the loss are those of `clip_ebc`.

The layers and the initial weights are those of `clip_vit_b_16` of the public code. The patches at
stride 16 are upsampled to stride 8, and a basic block of ResNet follows. The position embedding of
14 x 14 patches is resized bicubically for images of other sizes. Prompts start from a uniform
distribution within sqrt(6 / (3 P + C)), with patches of P pixels and C channels, where Xavier's
initialisation of a patch's projection would have 3 P^2 in place of 3 P. Images are counted in
windows of 224 pixels that stand next to each other, the size of the crops that it is trained on.

The public code trains it with Adam on 2 crops of each of 16 images, at a rate that falls from 1e-3
to 1e-4 within 50 epochs, and with warm restarts from there until epoch 2,600. This schedule does
not fit shorter trainings. Here the rate starts at 1e-3 too, and a cosine falls to 0 within 150
epochs, on a crop of each image. The restarts are `--set training.schedule=restarts --set
training.lr=1e-4 --set training.epochs=2600`.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.utils.errors import UserError
from benchmark.weights import ClipWeights
from models.parts.blockwise import doubled
from models.parts.clip import TINY_TEXT, ClipCounter, new_clip
from models.parts.wide import WideConv3x3

BLOCKS = 12  # of ViT-B/16
TINY = {"embed_dim": 64, "quick_gelu": True, "text_cfg": TINY_TEXT,
        "vision_cfg": {"image_size": 224, "patch_size": 16, "layers": 3, "width": 64,
                       "head_width": 32}}


@register
class ClipEbcVit(ClipCounter):
    """weights: 'openai' (CLIP, downloaded by open_clip), 'scratch', or the path of a state dict.

    The file may hold a whole counter, also one of the public code, or a CLIP whose tensors have the
    names of open_clip.
    clip: 'ViT-B-16' is CLIP's vision transformer with patches of 16 pixels. 'tiny' is a hundredth
        of that size, for tests and laptops.
    prompts: number of learned tokens beside the patches before each block. A file of a whole
        counter has as many.
    last_anchor: number of people that stands for the last bin. None takes the mean count of the
        blocks of that bin in the training set.
    window: side in pixels of the windows in which images are counted. None counts whole images,
        where the memory grows with the square of the number of patches.
    ot_weight: weight of the transport in the loss. 0.1 is that of the equation of DM-Count; the
        public code sums over its batch of 32 crops, which amounts to 3.2.
    """

    paper = "Ma, Sanchez, Guha, CLIP-EBC, arXiv 2403.09281, 2024; prompt tuning of ECCV 2022"
    public_names = ClipCounter.public_names | {f"prompts.{number}": f"vpt_{number}"
                                               for number in range(BLOCKS)}
    trained_parameters = 11_308_545
    # Those of the text encoder, which runs once and is not kept, and of the image encoder.
    frozen_parameters = 63_428_096 + 85_799_424
    recipe = Recipe(epochs=150, batch_size=16, optimizer="adam", lr=1e-3, weight_decay=1e-4,
                    schedule="cosine", flip=True, crop=224, zoom_max=2.0, jitter=0.2, blur=0.2,
                    noise=0.5)

    def __init__(self, weights: ClipWeights = "openai",
                 clip: Literal["ViT-B-16", "tiny"] = "ViT-B-16",
                 prompts: Annotated[int, Field(ge=1, le=1024)] = 32,
                 last_anchor: PositiveFloat | None = None,
                 window: Annotated[int, Field(gt=0, multiple_of=16)] | None = 224,
                 ot_weight: PositiveFloat = 0.1):
        network = new_clip(clip, TINY)
        encoder = network.visual
        encoder.proj = None  # it is for the token of the whole image
        width, blocks = encoder.class_embedding.numel(), encoder.transformer.resblocks
        super().__init__(network, Decoder(width), last_anchor, ot_weight)
        encoder.requires_grad_(False)
        limit = math.sqrt(6 / (3 * encoder.patch_size[0] + width))
        self.prompts = nn.ParameterList(torch.empty(prompts, width).uniform_(-limit, limit)
                                        for _ in blocks)
        self.window = window
        self.weights_note = self.start(weights, clip, network)

    def load_whole(self, tensors: dict[str, Tensor], path: Path,
                   in_file: Iterable[str] | None = None) -> str:
        """See `BlockwiseCounter`. A file with another number of prompts is told by that number."""
        prompts = tensors.get("prompts.0", self.prompts[0])
        if prompts.dim() == 2 and len(prompts) != len(self.prompts[0]):
            raise UserError(f"weights {path}: the file has {len(prompts)} prompts before a block; "
                            f"expected model.prompts={len(prompts)}")
        return super().load_whole(tensors, path, in_file)

    def block_features(self, images: Tensor) -> Tensor:
        return self.decoder(self.patch_features(images))

    def patch_features(self, images: Tensor) -> Tensor:
        """The patches behind the last block, [B, C, H / 16, W / 16].

        images: normalised, [B, 3, H, W].
        """
        encoder = self.encoder
        patches = encoder.conv1(images)
        size = patches.shape[-2:]
        whole_image = encoder.class_embedding.expand(len(images), 1, -1)
        tokens = torch.cat([whole_image, patches.flatten(2).mT], dim=1)
        tokens = encoder.ln_pre(tokens + self._positions(size))
        number = tokens.shape[1]
        for block, prompts in zip(encoder.transformer.resblocks, self.prompts):
            # Their place does not matter: a block does not know the order of its tokens.
            prompted = torch.cat([tokens, prompts.expand(len(images), -1, -1)], dim=1)
            tokens = block(prompted)[:, :number]
        return encoder.ln_post(tokens)[:, 1:].mT.unflatten(2, size)

    def _positions(self, size: torch.Size) -> Tensor:
        """The position embedding of the image's token and of (h, w) patches, [1 + h w, C]."""
        positions, grid = self.encoder.positional_embedding, self.encoder.grid_size
        if tuple(size) == grid:
            return positions
        of_patches = positions[1:].mT.unflatten(1, grid)[None]
        of_patches = F.interpolate(of_patches, size=size, mode="bicubic")
        return torch.cat([positions[:1], of_patches[0].flatten(1).mT])


class Decoder(nn.Module):
    """Bilinear upsampling by 2, then two 3x3 convolutions with an identity skip.

    All are as wide as the features. It is the basic block of ResNet (He et al., CVPR 2016).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.conv1 = WideConv3x3(channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = WideConv3x3(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        features = doubled(features)
        out = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(out)) + features)
