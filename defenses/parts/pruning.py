"""Pruning of channels: which layers have them, how one is put to 0, and how many can go before the counts suffer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.utils.errors import UserError
from defenses.base import Knowledge
from models.base import Counter


@dataclass(frozen=True)
class Layer:
    """Names of a convolution and of the BatchNorm that follows it, if one does."""

    convolution: str
    norm: str | None

    @property
    def last(self) -> str:
        """The name of the module whose output is the layer's."""
        return self.norm or self.convolution


BOTH = ("weight", "bias")
Pruned = dict[Layer, Tensor]  # which output channels of a layer are put to 0: bool [C]


@torch.no_grad()
def layers_of(counter: Counter) -> list[Layer]:
    """The convolutions with several output channels, in the order in which they first run.

    A BatchNorm belongs to the convolution that runs just before it, as in every counter that has one here.
    Raises UserError: it has no such convolution.
    """
    modules, ran = dict(counter.named_modules()), []
    hooks = [module.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, module in modules.items()
             if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    training = counter.training
    counter.eval()
    try:
        counter.apply_layers(next(counter.parameters()).new_zeros(1, 3, 64, 64), counter.density)
    finally:
        counter.train(training)
        for hook in hooks:
            hook.remove()
    layers: dict[str, Layer] = {}
    for name, following in zip(ran, [*ran[1:], None]):
        if isinstance(modules[name], nn.Conv2d) and modules[name].out_channels > 1:
            norm = following if isinstance(modules.get(following), nn.BatchNorm2d) else None
            layers.setdefault(name, Layer(name, norm))
    if not layers:
        raise UserError(f"model {counter.name}: has no convolution of several channels, so there is nothing to prune")
    return list(layers.values())


@torch.no_grad()
def prune(counter: Counter, pruned: Pruned, parameters: Sequence[str] = BOTH) -> None:
    """Put channels to 0 in the convolution and in its BatchNorm. Without weight and bias a channel is exactly 0."""
    for layer, channels in pruned.items():
        for module in map(counter.get_submodule, filter(None, (layer.convolution, layer.norm))):
            for name, parameter in module.named_parameters():
                if name in parameters:
                    parameter[channels.to(parameter.device)] = 0


def growing(scores: dict[Layer, Tensor], thresholds: Sequence[float]) -> list[Pruned]:
    """Plans that each prune more: all channels with scores up to each threshold, and up to the last one also the 1, 2,
    4, ... lowest, where equal scores are in the order of the layers."""
    every = torch.cat(list(scores.values()))
    ranks, numbers = every.argsort(stable=True).argsort(), {int((every <= most).sum()) for most in thresholds}
    numbers |= {2**power for power in range(max(numbers).bit_length()) if 2**power < max(numbers)}
    sizes = [len(score) for score in scores.values()]
    return [dict(zip(scores, (ranks < lowest).split(sizes))) for lowest in sorted(numbers - {0})]


def bearable(victim: Counter, knowledge: Knowledge, tolerance: float,
             parameters: Sequence[str] = BOTH) -> Callable[[Pruned], bool]:
    """Tells of a plan whether the clean validation MAE after it is at most (1 + tolerance) times the victim's."""
    limit = knowledge.error(victim) * (1 + tolerance)

    def bears(plan: Pruned) -> bool:
        tried = victim.copy()
        prune(tried, plan, parameters)
        return knowledge.error(tried) <= limit  # not where it is nan

    return bears
