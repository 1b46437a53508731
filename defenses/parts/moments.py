"""Moments: the mean and the variance of what modules of a counter read on clean images."""

import torch
from torch import Tensor

from benchmark.data.batches import Batch
from defenses.base import Knowledge
from defenses.parts.tuning import inputs
from models.base import Counter


def input_moments(counter: Counter, names: list[str], knowledge: Knowledge,
                  dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """The mean and the variance of each channel that modules read, [C] each, on the CPU.

    They are those of all pixels of the clean images, in which each image has the same weight.

    counter: goes to the device, and all its modules take the mode of the counter itself.
    names: of modules whose input is a feature map [B, C, h, w].
    dtype: in which the means of the images are averaged and subtracted.
    """
    with inputs(counter, names) as latest:
        def measure(batch: Batch) -> Tensor:
            counter.apply_layers(batch.images, counter.density)
            maps = [latest[name].float() for name in names]
            powers = [power for one in maps for power in (one, one.square())]
            return torch.cat([power.mean(dim=(2, 3)) for power in powers], dim=1)

        of_images = knowledge.trainer.per_image(counter, knowledge.clean, measure)
        channels = [latest[name].shape[1] for name in names for _ in range(2)]
    parts = of_images.to(dtype).mean(dim=0).split(channels)
    return [(mean, (square - mean.square()).clamp(min=0))
            for mean, square in zip(parts[::2], parts[1::2])]
