"""Fine-tuning all layers on a few clean images: the baseline of repairs.  As in Wu et al., BackdoorBench, NeurIPS 2022.

There: 5% of the training images, 100 epochs, SGD at 0.01. Ours: 40 images, a tenth of ShanghaiTech B's. The optimizer
is the victim's own, and so is the rate or a tenth of it, since rates of other losses carry no meaning over. 20 epochs:
as many images seen as two of the victim's own epochs; the best on clean validation images is kept anyway.
"""

from typing import Literal

from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.tuning import OnFewImages
from models.base import Counter


@register
class FineTuneFew(OnFewImages):
    """images: clean images. epochs: of them. lr: None chooses it, see `parts.tuning`.

    batch_norm: 'eval' leaves BatchNorm's running averages as the poisoned training set left them, so that only the
        weights are repaired; the same as 'train' on a counter without BatchNorm.
    """

    batch_norm: Literal["train", "eval"] = "train"

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        self.tune(repaired, knowledge, lr, loss=_with_victims_averages if self.batch_norm == "eval" else None)
        return repaired


def _with_victims_averages(counter: Counter, batch: Batch) -> Tensor:
    for module in counter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # at every batch: each epoch begins in training mode
    return counter.loss(batch)
