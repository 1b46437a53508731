"""Fine-tuning all layers on a few clean images: the baseline of repairs.  As in BackdoorBench.

BackdoorBench (Wu et al., NeurIPS 2022) tunes on 5% of the training images, for 100 epochs, with SGD
at the victim's rate of 0.01, which falls along a cosine. That is one twentieth of the steps of the
victim's training. Here there are 40 images, a tenth of ShanghaiTech B's training set, and 20
epochs, in which the counter sees as many images as in two of the victim's own epochs. The optimizer
is the victim's own. Rates for other losses do not carry over, so the victim's and higher ones are
tried; see defenses/parts/strength.py.
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
    """All layers of the victim are trained further.

    images: number of clean images.
    epochs: number of epochs.
    lr: learning rate; None tries 1, 2, 5 and 10 times the victim's.
    batch_norm: 'train' updates the running averages of BatchNorm. 'eval' leaves them as the
        poisoned training set left them, so that only the weights are repaired. Without BatchNorm
        there is no difference.
    """

    version = 2
    batch_norm: Literal["train", "eval"] = "train"

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        loss = _loss_with_fixed_averages if self.batch_norm == "eval" else None
        self.tune(repaired, knowledge, lr, loss=loss)
        return repaired


def _loss_with_fixed_averages(counter: Counter, batch: Batch) -> Tensor:
    """The counter's loss with BatchNorm in evaluation mode, [B]."""
    for module in counter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # for every batch, because each epoch begins in training mode
    return counter.loss(batch)
