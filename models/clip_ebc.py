"""CLIP-EBC: blockwise classification by CLIP, with a sentence for each count.  Ma et al., 2024.

Ma, Sanchez, Guha, arXiv 2403.09281, with the ResNet-50 of CLIP (Radford et al., ICML 2021).
Stride 8, 71,775,073 trained parameters and 63,690,240 frozen ones. The features of a block are
compared with five sentences that say how many people it holds. The loss is DACE: the cross entropy
over the blocks plus the loss of DM-Count. The recipe is that of the paper under test (Luo,
CONF-CIAP 2025: Adam 4e-4, cosine, 150 epochs). The original recipe is
`--set training.schedule=restarts --set training.warmup=50 --set training.lr=1e-4
--set training.epochs=2600`.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import ClipWeights
from models.parts.blockwise import doubled
from models.parts.clip import TINY_TEXT, ClipCounter, new_clip
from models.parts.wide import WideConv3x3

TINY = {"embed_dim": 64, "quick_gelu": True, "text_cfg": TINY_TEXT,
        "vision_cfg": {"image_size": 224, "layers": [1, 1, 1, 1], "width": 8}}


@register
class ClipEbc(ClipCounter):
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
    trained_parameters = 71_775_073
    frozen_parameters = 63_690_240  # of the text encoder, which runs once and is not kept
    recipe = Recipe(epochs=150, batch_size=8, optimizer="adam", lr=4e-4, weight_decay=1e-4,
                    schedule="cosine", flip=True, crop=448, zoom_max=2.0, jitter=0.2, blur=0.2,
                    noise=0.5)

    def __init__(self, weights: ClipWeights = "openai", clip: Literal["RN50", "tiny"] = "RN50",
                 last_anchor: PositiveFloat | None = None,
                 window: Annotated[int, Field(gt=0, multiple_of=16)] | None = None,
                 ot_weight: PositiveFloat = 0.1):
        network = new_clip(clip, TINY)
        encoder = _set_stride_to_16(network.visual)
        super().__init__(network, Decoder(encoder.layer4[-1].conv3.out_channels), last_anchor,
                         ot_weight)
        self.window = window
        self.weights_note = self.start(weights, clip, network)

    def block_features(self, images: Tensor) -> Tensor:
        encoder = self.encoder
        features = encoder.stem(images)
        for layer in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
            features = layer(features)
        return self.decoder(features)


class Decoder(nn.Module):
    """Bilinear upsampling by 2, then convolutions 1x1, 3x3 and 1x1 with an identity skip.

    All are as wide as the features. The first 1x1 convolution runs before the upsampling, where it
    costs a quarter: the two commute.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = WideConv3x3(channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        out = F.relu(self.bn1(doubled(self.conv1(features))))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + doubled(features))


def _set_stride_to_16(encoder: nn.Module) -> nn.Module:
    """Drop the attention pool of CLIP's ResNet and the last stage's downsampling. Returns it."""
    encoder.attnpool = None
    encoder.layer4[0].avgpool = nn.Identity()
    encoder.layer4[0].downsample[0] = nn.Identity()
    return encoder
