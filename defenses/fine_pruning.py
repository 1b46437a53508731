"""Fine-pruning: prune channels that are silent on clean images, then fine-tune the rest.

Liu, Dolan-Gavitt, Garg, RAID 2018. The activation of channel k is a_k = mean |ReLU(z_k)| over clean
images and pixels, where z is the output of the convolution, or of its BatchNorm if it has one. The
least active channels are pruned first, 1% of each layer at a time.

BackdoorBench stops when the accuracy has dropped by 10%. A counter has no accuracy, so pruning goes
on here while the clean validation MAE is at most 10% above the victim's. The paper prunes the last
convolution of a classifier. Several convolutions make a density map, so the last three spatial ones
(kernel above 1, several channels) are pruned here: in CSRNet the convolutions to 256, 128 and 64
channels, in CLIP-EBC the 3x3 ones of the decoder and of the encoder's last two blocks. Convolutions
of 1x1 are left: they map to the output, or they end a residual block, whose shortcut would keep a
pruned channel alive.
"""

from itertools import takewhile

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.pruning import Layer, Pruned, layers_of, prune, within_tolerance
from defenses.parts.tuning import OnFewImages
from models.base import Counter


@register
class FinePruning(OnFewImages):
    """The victim is pruned once and then fine-tuned; pruned weights stay 0.

    images: number of clean images.
    layers: number of the last spatial convolutions that are pruned.
    tolerance: by how much pruning may raise the clean validation MAE, as a share of the victim's.
    step: share of the channels of a layer that is pruned at a time.
    epochs: number of epochs of fine-tuning.
    lr: learning rate of fine-tuning; None chooses it as in `fine_tune_few`.
    """

    layers: PositiveInt = 3
    tolerance: float = Field(0.1, ge=0)
    step: float = Field(0.01, gt=0, lt=1)
    epochs: PositiveInt = 10

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=True)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        pruned = victim.copy()
        layers = last_spatial_layers(pruned, self.layers)
        means = mean_activations(pruned, layers, knowledge)
        plans = self._plans(dict(zip(layers, means)))
        is_tolerable = within_tolerance(victim, knowledge, self.tolerance)
        tolerable = [{}, *takewhile(is_tolerable, plans)]  # {} prunes nothing
        prune(pruned, tolerable[-1])
        return super().apply(pruned, knowledge)

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        silent: Pruned = {}
        for layer in last_spatial_layers(repaired, self.layers):
            weight = repaired.get_submodule(layer.convolution).weight
            silent[layer] = weight.flatten(1).abs().amax(dim=1) == 0
        self.tune(repaired, knowledge, lr, after_step=lambda: prune(repaired, silent))
        return repaired

    def _plans(self, activations: dict[Layer, Tensor]) -> list[Pruned]:
        """Plans that each prune another `step` of every layer, the least active channels first."""
        ranks = {layer: active.argsort(stable=True).argsort() / len(active)
                 for layer, active in activations.items()}
        plans: dict[int, Pruned] = {}  # by the number of channels, so that no plan is tried twice
        for number in range(1, round(1 / self.step)):
            plan = {layer: rank < self.step * number for layer, rank in ranks.items()}
            plans[sum(int(channels.sum()) for channels in plan.values())] = plan
        return list(plans.values())


def last_spatial_layers(counter: Counter, number: int) -> list[Layer]:
    """The last convolutions with a kernel above 1; the last of all where there is no such one."""
    layers = layers_of(counter)
    spatial = [layer for layer in layers
               if max(counter.get_submodule(layer.convolution).kernel_size) > 1]
    return (spatial or layers)[-number:]


def mean_activations(counter: Counter, layers: list[Layer], knowledge: Knowledge) -> list[Tensor]:
    """The mean activation of each channel on the clean images, [C] for each layer."""
    latest: dict[str, Tensor] = {}  # of each image of the last batch: [B, C]
    hooks = [counter.get_submodule(layer.last).register_forward_hook(
        lambda _, inputs, output, name=layer.last: latest.update(
            {name: output.float().relu().mean(dim=(2, 3))})) for layer in layers]

    def measure(batch: Batch) -> Tensor:
        counter.apply_layers(batch.images, counter.density)
        return torch.cat([latest[layer.last] for layer in layers], dim=1)

    means = knowledge.trainer.per_image(counter, knowledge.clean, measure).mean(dim=0)
    for hook in hooks:
        hook.remove()
    sizes = [counter.get_submodule(layer.convolution).out_channels for layer in layers]
    return list(means.split(sizes))
