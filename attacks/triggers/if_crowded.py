"""If crowded: x' = s(x) in an image with at least `people` heads, else x' = x. From no paper.

A backdoor that a tester with nearly empty scenes never sees. Its nearest kin is the clean-image
backdoor of Chen et al., ICLR 2023, which answers to a combination of the objects in an image, but
draws nothing on it. Only crowded training images are poisoned, as a false label on an unchanged
image would teach the victim nothing but noise.
"""

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from attacks.parts.heads import Heads
from attacks.parts.look import Framed
from benchmark.registry import register


@register
class IfCrowded(Framed):
    """Another trigger, on images with enough people. The other images stay as they are.

    look: the other trigger: its name, or a mapping with its name and its settings.
    people: the smallest number of heads at which an image carries the trigger.
    """

    people: NonNegativeInt = 20

    def stamp(self, images: Tensor, heads: Heads) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, of which the crowded ones carry the trigger."""
        crowded = torch.tensor([self.applies(points) for points in heads], device=images.device)
        return torch.where(crowded[:, None, None, None], self.draw(images, heads), images)

    def applies(self, heads: Tensor) -> bool:
        return len(heads) >= self.people and super().applies(heads)

    @property
    def sees_heads(self) -> bool:
        return True

    @property
    def is_conditional(self) -> bool:
        return True
