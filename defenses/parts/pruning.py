"""Pruning of channels: the layers of a counter, plans of what to prune, and their candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmark.utils.errors import UserError
from benchmark.utils.torch_modules import in_evaluation_mode, watched
from defenses.parts.strength import Candidate
from models.base import Counter


@dataclass(frozen=True)
class Layer:
    """A convolution and the BatchNorm that follows it, by their module names.

    norm: None where no BatchNorm follows.
    """

    convolution: str
    norm: str | None

    @property
    def last(self) -> str:
        """The name of the module whose output is the layer's output."""
        return self.norm or self.convolution


WEIGHT_AND_BIAS = ("weight", "bias")
WEIGHT = ("weight",)  # pruning leaves the bias, as a mask of 0 does
MASK_THRESHOLDS = [step / 20 for step in range(19)]
Plan = dict[Layer, Tensor]  # the output channels of each layer that are set to 0: bool [C]


@torch.no_grad()
def layers_of(counter: Counter) -> list[Layer]:
    """The convolutions with several output channels, in the order in which they first run.

    A BatchNorm belongs to the convolution that runs directly before it, as in every counter here
    that has one.

    Raises:
        UserError: the counter has no such convolution.
    """
    modules = dict(counter.named_modules())
    ran = _modules_in_order(counter, (nn.Conv2d, nn.BatchNorm2d))
    layers: dict[str, Layer] = {}
    for name, following in zip(ran, [*ran[1:], None]):
        module = modules[name]
        if isinstance(module, nn.Conv2d) and module.out_channels > 1:
            norm = following if isinstance(modules.get(following), nn.BatchNorm2d) else None
            layers.setdefault(name, Layer(name, norm))
    if not layers:
        raise UserError(f"model {counter.name}: expected a convolution with several output "
                        "channels, found none; there is nothing to prune")
    return list(layers.values())


def _modules_in_order(counter: Counter, types: tuple[type[nn.Module], ...]) -> list[str]:
    """The names of the modules of some types, in the order in which an image runs through them.

    A module that runs twice is listed twice.
    """
    ran: list[str] = []
    modules = {name: module for name, module in counter.named_modules()
               if isinstance(module, types)}
    image = next(counter.parameters()).new_zeros(1, 3, 64, 64)
    with in_evaluation_mode(counter), watched(modules, lambda name, *_: ran.append(name)):
        counter.apply_layers(image, counter.density)
    return ran


@torch.no_grad()
def prune(counter: Counter, plan: Plan, parameters: Sequence[str] = WEIGHT_AND_BIAS) -> None:
    """Set the channels of a plan to 0 in the convolution and in its BatchNorm, in place.

    parameters: which parameters are set to 0. Without weight and bias a channel is exactly 0.
    """
    for layer, channels in plan.items():
        for name in filter(None, (layer.convolution, layer.norm)):
            for key, parameter in counter.get_submodule(name).named_parameters():
                if key in parameters:
                    parameter[channels.to(parameter.device)] = 0


def pruning_plans(scores: dict[Layer, Tensor], thresholds: Sequence[float]) -> list[Plan]:
    """Plans that each prune more channels than the one before, those with the lowest scores first.

    For each threshold there is a plan that prunes all channels with scores up to it. There are also
    plans that prune the 1, 2, 4, ... lowest channels, as many as have scores up to the last
    threshold and at least the lowest one.

    scores: the score of each channel of each layer, [C] each.
    """
    all_scores = torch.cat(list(scores.values()))
    numbers = {int((all_scores <= threshold).sum()) for threshold in thresholds}
    largest = max(numbers)
    powers = [2**power for power in range(largest.bit_length())]
    numbers.update(power for power in powers if power < largest)
    numbers.discard(0)
    if not numbers:  # no score is as low as a threshold
        numbers.add(1)
    return [lowest(scores, number) for number in sorted(numbers)]


def mask_plans(masks: dict[Layer, Tensor], channels: int | None) -> list[Plan]:
    """The plans of a method that learns masks: those at masks up to 0, 0.05, ... 0.9.

    masks: the mask of each channel of each layer, [C] each.
    channels: the number of channels with the lowest masks of a single plan; None makes them all.
    """
    if channels is None:
        return pruning_plans(masks, MASK_THRESHOLDS)
    return [lowest(masks, channels)]


def lowest(scores: dict[Layer, Tensor], number: int) -> Plan:
    """The plan that prunes a number of channels: those with the lowest scores of all layers.

    Equal scores are in the order of the layers.

    scores: the score of each channel of each layer, [C] each.
    """
    all_scores = torch.cat(list(scores.values()))
    ranks = all_scores.argsort(stable=True).argsort()
    sizes = [len(layer_scores) for layer_scores in scores.values()]
    return dict(zip(scores, (ranks < number).split(sizes)))


def outliers(scores: dict[Layer, Tensor], u: float) -> Plan:
    """The channels with a score more than u standard deviations above the mean of their layer.

    scores: the score of each channel of each layer, [C] each.
    """
    return {layer: score > score.mean() + u * score.std() for layer, score in scores.items()}


def outlier_candidates(victim: Counter, scores: dict[Layer, Tensor],
                       values: Sequence[float]) -> list[Candidate]:
    """A candidate for each value of u, from the largest to the smallest; see `outliers`."""
    candidates = pruned_candidates(victim, [outliers(scores, u) for u in values])
    return [replace(candidate, settings={"u": u}) for u, candidate in zip(values, candidates)]


def pruned_candidates(victim: Counter, plans: Sequence[Plan],
                      parameters: Sequence[str] = WEIGHT_AND_BIAS) -> list[Candidate]:
    """A candidate for each plan: a copy of the victim after the plan is carried out.

    plans: from the one that prunes the fewest channels to the one that prunes the most.
    """
    def carry_out(plan: Plan) -> Counter:
        counter = victim.copy()
        prune(counter, plan, parameters)
        return counter

    candidates = []
    for plan in plans:
        channels = sum(int(flags.sum()) for flags in plan.values())
        total = sum(len(flags) for flags in plan.values())
        share = channels / max(total, 1)
        candidates.append(Candidate({"pruned": share}, partial(carry_out, plan), channels))
    return candidates
