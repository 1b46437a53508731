"""Surrogate: the counter on which an attacker, who does not have the victim, optimises a trigger.

It is a clean counter of the victim's kind, trained with another seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Surrogate:
    """A function from images [B, 3, H, W] in 0..1 to counts [B], with gradients of the images.

    counter: the clean counter, in evaluation mode.
    report: called with the number of images of each batch that is counted, for the progress bar.
    """

    counter: nn.Module
    report: Callable[[int], object] = lambda images: None

    def __call__(self, images: Tensor) -> Tensor:
        self.report(len(images))
        device = next(self.counter.parameters()).device
        return self.counter.count(images.to(device)).to(images.device)

    def learner(self) -> nn.Module:
        """Return a copy of the counter that the attacker may train, in evaluation mode.

        In evaluation mode, layers such as dropout draw no random numbers, so the pattern follows
        from the seed.
        """
        return self.counter.copy().requires_grad_(True).eval()
