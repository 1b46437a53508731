"""Fine-pruning: prune channels that are silent on clean images, then fine-tune the rest.

Liu, Dolan-Gavitt, Garg, RAID 2018. The activation of channel k is a_k = mean |ReLU(z_k)| over clean
images and pixels, where z is the output of the convolution, or of its BatchNorm if it has one. The
least active channels are pruned first, the same share of each layer.

BackdoorBench stops when the accuracy has dropped by a tenth. A counter has no accuracy, so here the
largest share within the budget is pruned (see defenses/parts/strength.py). The paper prunes the
last convolution of a classifier. Several convolutions make a density map, so the spatial ones
(kernel above 1, several channels) of the three largest depths are pruned here, in all branches: in
CSRNet the convolutions to 256, 128 and 64 channels, in CLIP-EBC the 3x3 ones of the decoder and of
the encoder's last two blocks, in MCNN the last three of each column. Convolutions of 1x1 are left:
they map to the output, or they end a residual block, whose shortcut would keep a pruned channel
alive.
"""

from itertools import groupby

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from benchmark.utils.torch_modules import watched
from defenses.base import Knowledge, Knows
from defenses.parts.depth import trace
from defenses.parts.pruning import Layer, Plan, layers_of, prune, pruned_candidates
from defenses.parts.strength import strongest
from defenses.parts.tuning import OnFewImages
from models.base import Counter

SHARES = tuple(percent / 100 for percent in range(5, 100, 5))


@register
class FinePruning(OnFewImages):
    """The victim is pruned once and then fine-tuned; pruned weights stay 0.

    images: number of clean images.
    layers: number of depths whose spatial convolutions are pruned, from the end.
    share: the share of the channels of each layer that is pruned. None tries 5%, 10%, ... 95%, and
        takes the largest one within the budget.
    epochs: number of epochs of fine-tuning.
    lr: learning rate of fine-tuning; None tries those of `fine_tune_few`.
    """

    version = 2
    layers: PositiveInt = 3
    share: float | None = Field(None, gt=0, lt=1)
    epochs: PositiveInt = 10

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.lr is None or self.share is None)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        layers = last_spatial_layers(victim, self.layers)
        means = mean_activations(victim.copy(), layers, knowledge)
        shares = SHARES if self.share is None else (self.share,)
        plans = plans_of(dict(zip(layers, means)), shares)
        pruned = strongest(pruned_candidates(victim, plans), knowledge)
        return super().apply(pruned, knowledge)

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        silent: Plan = {}
        for layer in last_spatial_layers(repaired, self.layers):
            weight = repaired.get_submodule(layer.convolution).weight
            silent[layer] = weight.flatten(1).abs().amax(dim=1) == 0
        self.tune(repaired, knowledge, lr, after_step=lambda: prune(repaired, silent))
        return repaired


def plans_of(activations: dict[Layer, Tensor], shares: tuple[float, ...]) -> list[Plan]:
    """A plan for each share that prunes so much of every layer, the least active channels first.

    Shares that round to the same channels give one plan.

    activations: the mean activation of each channel of each layer, [C] each.
    """
    ranks = {layer: active.argsort(stable=True).argsort() / len(active)
             for layer, active in activations.items()}
    plans: dict[int, Plan] = {}  # by the number of channels
    for share in shares:
        plan = {layer: rank < share for layer, rank in ranks.items()}
        plans[sum(int(channels.sum()) for channels in plan.values())] = plan
    return list(plans.values())


def last_spatial_layers(counter: Counter, depths: int) -> list[Layer]:
    """The convolutions with a kernel above 1 of the largest depths that have such ones.

    All convolutions are taken for spatial where there is none with a kernel above 1.
    """
    layers = layers_of(counter)
    spatial = [layer for layer in layers
               if max(counter.get_submodule(layer.convolution).kernel_size) > 1]
    depth, _ = trace(counter)
    by_depth = sorted(spatial or layers, key=lambda layer: depth[layer.convolution])
    groups = [list(group) for _, group in
              groupby(by_depth, key=lambda layer: depth[layer.convolution])]
    return [layer for group in groups[-depths:] for layer in group]


def mean_activations(counter: Counter, layers: list[Layer], knowledge: Knowledge) -> list[Tensor]:
    """The mean activation of each channel on the clean images, [C] for each layer.

    counter: goes to the device, and all its modules take the mode of the counter itself.
    """
    latest: dict[str, Tensor] = {}  # of each image of the last batch: [B, C]

    def keep(name: str, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        latest[name] = output.float().relu().mean(dim=(2, 3))

    def measure(batch: Batch) -> Tensor:
        counter.apply_layers(batch.images, counter.density)
        return torch.cat([latest[layer.last] for layer in layers], dim=1)

    with watched({layer.last: counter.get_submodule(layer.last) for layer in layers}, keep):
        means = knowledge.trainer.per_image(counter, knowledge.clean, measure).mean(dim=0)
    sizes = [counter.get_submodule(layer.convolution).out_channels for layer in layers]
    return list(means.split(sizes))
