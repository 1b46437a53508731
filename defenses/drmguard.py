"""DRMGuard: find a change that moves all counts alike, and unlearn it.  Du et al., 2024.

Du, Liu, Jia, Lan, "Defending deep regression models against backdoor attacks", arXiv 2411.04811.
Its reverse engineering, adapted to counts, is that of the detector `inversion`: one small
perturbation, for more people or for fewer, whose log-ratio of the counts varies least. What is
found is unlearned as in `i_bau`: the counter is trained on the clean images with the perturbation
and without it, with the true labels in both. The perturbation of `i_bau` moves the counts most;
this one moves them alike.

The perturbation is found anew at the start of each round, on the counter as repaired so far and in
fewer steps than the detector takes.
"""

from typing import ClassVar

from pydantic import Field, PositiveInt

from benchmark.registry import register
from defenses.base import Knowledge
from defenses.inversion import Inversion
from defenses.parts.unlearning import LossOfBatch, Unlearning, with_and_without
from models.base import Counter


@register
class DRMGuard(Unlearning):
    """Each round inverts the counter and unlearns the perturbation in a pass over the images.

    images: number of clean images.
    rounds: number of rounds; after fewer rounds there are weaker candidates, unless lr is given.
    lr: learning rate of Adam on the counter. None tries 1e-4, 1e-3 and the victim's.
    epochs: number of passes over the images for each direction of the inversion.
    bound: largest change of a pixel, for images in 0..1.
    """

    rates: ClassVar = (1e-4, 1e-3)
    whole = True
    epochs: PositiveInt = 5
    bound: float = Field(0.1, gt=0, le=1)

    def objective(self, counter: Counter, victim: Counter, knowledge: Knowledge) -> LossOfBatch:
        inversion = Inversion(images=self.images, epochs=self.epochs, bound=self.bound)
        frozen = counter.copy().requires_grad_(False)
        return with_and_without(counter, inversion.inverted(frozen, knowledge)[1])
