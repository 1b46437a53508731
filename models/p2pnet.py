"""P2PNet: proposes points on a grid and says which of them are heads.  Song et al., ICCV 2021.

Song, Wang, Jiang, Wang, Tai, Wang, Li, Huang, Wu, arXiv 2107.12746. Each block of 8x8 pixels has
four proposals, each with a score and an offset. The count is the number of proposals whose score
exceeds 0.5. It is no sum of densities, but it is the sum of a map: that of the number of accepted
proposals in each block. This map is what `density` returns, so that all measures and defenses work
as for other counters. Rounding has no gradient, so the map takes the gradient of the scores' sum.

The loss is the paper's. It differs from the public code in two points. There the location loss
never enters the sum, because its weight is stored under another name; its weight here is that of
the paper, and `--set model.point_weight=0` is what the code does. And the cross entropy is averaged
over each image, where the code averages over the batch.

The recipe is that of the code, where each image gives four crops to a batch of eight images: here
they are batches of 32 images and four times as many epochs. Its limits of the scale, 0.7 and 1.3,
are 1 / 1.3 and 1 / 0.7 here, because they are factors of the square that is cut.
"""

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.points import block_centres, match, point_loss
from models.parts.pretrained import imagenet_features
from models.parts.vgg import LICENCE, VGG_16, convolutions, kaiming

CHANNELS = 256
# The layers of VGG-16-BN in the four parts that the public code makes of it.
PARTS = {"body1": range(13), "body2": range(13, 23), "body3": range(23, 33), "body4": range(33, 43)}
STRIDE_8 = 33  # the number of layers of VGG-16-BN until its features have this stride
# Convolutions that the public code saves and never runs, and the sides of their kernels.
UNUSED = {"fpn.P3_1": 1, "fpn.P3_2": 3, "fpn.P5_2": 3, "regression.conv3": 3, "regression.conv4": 3,
          "classification.conv3": 3, "classification.conv4": 3}
# The proposals of a block, as (x, y) from its centre in pixels.
GRID = [(-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0)]
ACCEPTED = 0.5  # the score above which a proposal is counted
OFFSET = 100.0  # pixels in one unit of the offsets' convolution
EMPTY_WEIGHT = 0.5  # of the proposals that are no heads (lambda 1 in the paper)


def _key_map() -> dict[str, str | None]:
    """Beginnings of the keys of the public code, and of VGG -> those of this counter."""
    names = {f"backbone.{part}.{layer - layers.start}": f"frontend.{layer}"
             for part, layers in PARTS.items() for layer in layers}
    heads = {f"{theirs}.{name}": f"{ours}.{number}"
             for theirs, ours in (("regression", "offsets"), ("classification", "scores"))
             for name, number in (("conv1", 0), ("conv2", 2), ("output", 4))}
    return {"features": "frontend", "fpn.P5_1": "coarse", "fpn.P4_1": "fine", "fpn.P4_2": "merged",
            **names, **heads, **dict.fromkeys(UNUSED)}


def _public_names() -> dict[str, str | None]:
    """Beginnings of the keys of this counter -> those of the public code."""
    return {ours: theirs for theirs, ours in _key_map().items()
            if ours is not None and theirs != "features"}


@register
class P2PNet(Counter):
    """weights: 'imagenet' (torchvision's VGG-16-BN), 'scratch', or the path of a state dict.

    The file may hold a whole P2PNet of the public code (backbone.bodyN, fpn, regression,
    classification), or a VGG-16-BN for the encoder.
    point_weight: weight of the squared distance, in pixels, between heads and their proposals
        (lambda 2 in the paper).
    """

    paper = "Song et al., P2PNet, ICCV 2021, arXiv 2107.12746"
    licence = LICENCE
    multiple = 16
    trained_parameters = 17_973_072
    may_be_negative = False  # a number of proposals
    public_names = _public_names()
    public_code = "TencentYoutuResearch/CrowdCounting-P2PNet"
    recipe = Recipe(epochs=14_000, batch_size=32, optimizer="adam", lr=1e-4, backbone_lr_ratio=0.1,
                    flip=True, crop=128, zoom_min=0.77, zoom_max=1.43, clip=0.1,
                    validate_every=20)

    def __init__(self, weights: Weights = "imagenet", point_weight: NonNegativeFloat = 2e-4):
        super().__init__()
        self.point_weight = point_weight
        self.frontend = convolutions(3, VGG_16, norm=True)
        kaiming(self.frontend)
        self.coarse = nn.Conv2d(512, CHANNELS, 1)
        self.fine = nn.Conv2d(512, CHANNELS, 1)
        self.merged = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.offsets = _head()
        self.scores = _head()
        self.register_buffer("grid", torch.tensor(GRID), persistent=False)
        self.register_buffer("class_weights", torch.tensor([EMPTY_WEIGHT, 1]), persistent=False)
        self.weights_note = start_from(
            self, weights, self.frontend, "frontend", lambda: imagenet_features("vgg16_bn"),
            _key_map(), download="imagenet")

    def _pyramid(self, images: Tensor) -> Tensor:
        """The features at stride 8, joined with those at stride 16, [B, 256, H / 8, W / 8]."""
        fine = self.frontend[:STRIDE_8](images)
        coarse = self.frontend[STRIDE_8:](fine)
        return self.merged(self.fine(fine) + F.interpolate(self.coarse(coarse), scale_factor=2))

    def density(self, images: Tensor) -> Tensor:
        """The number of accepted proposals per block, with the gradient of their scores' sum."""
        logits = _in_float32(self.scores, self._pyramid(images)).unflatten(1, (len(GRID), 2))
        scores = logits.softmax(dim=2)[:, :, 1]
        accepted = (scores > ACCEPTED).float()
        # The difference in brackets is exactly 0, so that the sums are whole numbers.
        return (accepted + (scores - scores.detach())).sum(dim=1, keepdim=True)

    def proposals(self, images: Tensor) -> Tensor:
        """The proposals of each block, [B, 4 * (2 + 2), H / 8, W / 8].

        The first 8 channels are the x and y of the four offsets in pixels, the last 8 the two
        logits of each proposal: no head, and head. images: normalised, [B, 3, H, W].
        """
        features = self._pyramid(images)
        return torch.cat([OFFSET * _in_float32(self.offsets, features),
                          _in_float32(self.scores, features)], dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of each image, [B]: the cross entropy and the weighted location loss.

        Each head is matched with one proposal, so that the sum of their distances less their scores
        is smallest. The matched proposals are to be heads at these places, and the others none.
        """
        places, logits = self.located(self.apply_layers(batch.images, self.proposals).float())
        pairs = match(places.detach(), logits.detach(), batch.points)
        return torch.stack([point_loss(*image, self.class_weights, self.point_weight)
                            for image in zip(places, logits, batch.points, pairs)])

    def located(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The places (x, y) in pixels [B, 4 h w, 2] and the logits [B, 4 h w, 2] of proposals.

        maps: what `proposals` returns, [B, 16, h, w]. The four proposals of a block are neighbours.
        """
        offsets, logits = maps.flatten(2).unflatten(1, (2, len(GRID), 2)).permute(1, 0, 4, 2, 3)
        places = offsets + block_centres(*maps.shape[-2:], self.stride, self.grid)
        return places.flatten(1, 2), logits.flatten(1, 2)

    def public_state(self) -> dict[str, Tensor]:
        """The tensors under the names of the public code, with the layers that it never runs."""
        unused: dict[str, Tensor] = {}
        for name, side in UNUSED.items():
            unused |= {f"{name}.weight": torch.zeros(CHANNELS, CHANNELS, side, side),
                       f"{name}.bias": torch.zeros(CHANNELS)}
        return super().public_state() | unused

    def backbone(self) -> nn.Module:
        return self.frontend


def _head() -> nn.Sequential:
    """Two convolutions with ReLU, and a third to two numbers for each proposal of a block."""
    return nn.Sequential(*convolutions(CHANNELS, [CHANNELS, CHANNELS]),
                         nn.Conv2d(CHANNELS, 2 * len(GRID), 3, padding=1))


def _in_float32(head: nn.Sequential, features: Tensor) -> Tensor:
    """The output of a head, whose last convolution runs in float32.

    Scores near the threshold decide about a person each, and 16 bits would round them.
    """
    *inner, last = head
    for layer in inner:
        features = layer(features)
    with torch.autocast(features.device.type, enabled=False):
        return last(features.float())
