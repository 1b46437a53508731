"""Neurons: the loss of a counter whose channels are multiplied by factors, and masks to learn."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.data.batches import Batch
from defenses.base import Trainer
from defenses.parts.pruning import Layer, layers_of
from defenses.parts.tuning import log_losses
from models.base import Counter


class Neurons(nn.Module):
    """The loss of a counter as a function of factors of its channels' weights and biases.

    The counter's own parameters do not change. The counter is a submodule, so that `train`, `eval`
    and `to` change its mode and its device, too.
    """

    def __init__(self, counter: Counter):
        super().__init__()
        self.counter = counter
        self.layers = layers_of(counter)
        convolutions = [counter.get_submodule(layer.convolution) for layer in self.layers]
        self.sizes = [convolution.out_channels for convolution in convolutions]

    def forward(self, batch: Batch) -> Tensor:
        """The mean of `log_losses` over the images of a batch, []."""
        return log_losses(self.counter, batch).mean()

    def loss(self, batch: Batch, factors: list[Tensor]) -> Tensor:
        """The mean of `log_losses` after weights and biases are multiplied by factors, [].

        factors: those of the weights of all layers, then those of the biases of all layers, which
            may be left out.
        """
        names = [f"counter.{layer.last}.{parameter}"
                 for parameter in ("weight", "bias") for layer in self.layers]
        parameters = dict(self.named_parameters())
        scaled: dict[str, Tensor] = {}
        for name, factor in zip(names, factors):
            if name in parameters:  # a convolution may have no bias
                parameter = parameters[name]
                scaled[name] = parameter * factor.view(-1, *[1] * (parameter.dim() - 1))
        return functional_call(self, scaled, (batch,))


def learned_masks(neurons: Neurons, batches: Iterable[Batch], trainer: Trainer, lr: float,
                  loss_of: Callable[[Batch, list[Tensor]], Tensor]) -> dict[Layer, Tensor]:
    """Learn a mask in 0..1 for each channel, starting from 1, by SGD with a momentum of 0.9.

    neurons: used in the mode in which they are given, and on the trainer's device, to which
        `trainer.batches` moves their counter.
    loss_of: from a batch and the masks of all layers to the loss, [].
    Returns the mask of each layer's channels, [C] each, on the CPU.
    """
    masks = [torch.ones(size, device=trainer.device, requires_grad=True) for size in neurons.sizes]
    optimizer = torch.optim.SGD(masks, lr=lr, momentum=0.9)
    for batch in batches:
        with trainer.autocast():
            loss = loss_of(batch, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for mask in masks:
            mask.data.clamp_(0, 1)
    return {layer: mask.detach().cpu() for layer, mask in zip(neurons.layers, masks)}
