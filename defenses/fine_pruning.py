"""Fine-pruning: channels that are silent on clean images are pruned, then the rest is fine-tuned.

Liu, Dolan-Gavitt, Garg, RAID 2018. A channel's activation is a_k = mean |ReLU(z_k)| over clean images and pixels, z the
convolution's output, after its BatchNorm if it has one. The least active go first, 1% of each layer at a time.

BackdoorBench stops when the accuracy has dropped by 10%; a counter has none, so here pruning goes on while the clean
validation MAE is at most 10% above the victim's. The original prunes the last convolution of a classifier. A density
map is made by several, so the last three spatial ones (kernel above 1, several channels) are pruned: the convolutions
to 256, 128 and 64 in CSRNet, in CLIP-EBC the decoder's 3x3 and those of the encoder's last two blocks. 1x1 convolutions
are left: they map to the output or end a residual block, whose shortcut would keep a pruned channel alive.
"""

from itertools import takewhile

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.pruning import Layer, bearable, layers_of, prune
from defenses.parts.tuning import OnFewImages
from models.base import Counter


@register
class FinePruning(OnFewImages):
    """images: clean ones. layers: how many of the last spatial convolutions are pruned.

    tolerance: by how much pruning may raise the clean validation MAE. step: share of a layer that is pruned at a time.
    epochs, lr: of fine-tuning, in which pruned weights stay 0; lr None chooses it, see `parts.tuning`.
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
        layers = late(pruned, self.layers)
        ranks = {layer: active.argsort(stable=True).argsort() / len(active)
                 for layer, active in zip(layers, activations(pruned, layers, knowledge))}
        shares = (self.step * number for number in range(1, round(1 / self.step)))
        plans = ({layer: rank < share for layer, rank in ranks.items()} for share in shares)
        plans = {sum(int(channels.sum()) for channels in plan.values()): plan for plan in plans}  # no number twice
        *_, most = {}, *takewhile(bearable(victim, knowledge, self.tolerance), plans.values())
        prune(pruned, most)
        return super().apply(pruned, knowledge)

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        silent = {layer: repaired.get_submodule(layer.convolution).weight.flatten(1).abs().amax(dim=1) == 0
                  for layer in late(repaired, self.layers)}
        self.tune(repaired, knowledge, lr, after_step=lambda: prune(repaired, silent))
        return repaired


def late(counter: Counter, number: int) -> list[Layer]:
    """The last spatial convolutions, of all if it has none."""
    layers = layers_of(counter)
    spatial = [layer for layer in layers if max(counter.get_submodule(layer.convolution).kernel_size) > 1]
    return (spatial or layers)[-number:]


def activations(counter: Counter, layers: list[Layer], knowledge: Knowledge) -> list[Tensor]:
    """The mean activation of each channel of each layer on the clean images, [C] each."""
    seen: dict[str, Tensor] = {}
    hooks = [counter.get_submodule(layer.last).register_forward_hook(
        lambda _, inputs, output, name=layer.last: seen.update({name: output.float().relu().mean(dim=(2, 3))}))
        for layer in layers]

    def measure(batch: Batch) -> Tensor:
        counter.apply_layers(batch.images, counter.density)
        return torch.cat([seen[layer.last] for layer in layers], dim=1)

    means = knowledge.trainer.per_image(counter, knowledge.clean, measure).mean(dim=0)
    for hook in hooks:
        hook.remove()
    return list(means.split([counter.get_submodule(layer.convolution).out_channels for layer in layers]))
