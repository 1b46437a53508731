"""Label consistency: leave out images whose annotated count a counter that did not see them disagrees with.  Ours.

The set is cut into K folds; c_ref(x) is what a counter trained on the other folds counts on x, y its annotated count:

    score(x) = | log((y + 1) / (max(c_ref(x), 0) + 1)) |

Classification asks whether a label is plausible (confident learning; Northcutt et al., JAIR 2021); a count has a
distance, so the trimming of robust regression carries over: the worst residuals go. An error of a factor weighs alike
in sparse and in dense scenes. The reference counters train on poisoned images too, but none is scored by a counter that
had it by heart. They can learn the trigger all the same: then stamped images look consistent, and clean-label attacks
always do. Three folds cost two trainings beside the last one; five cost four, for a fifth more images in each.
"""

import numpy as np
from pydantic import Field
from torch import Tensor

from benchmark.data.scene import Scene
from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.filtering import Filter
from models.base import Counter


@register
class LabelConsistency(Filter):
    """folds: parts of the poisoned set, each counted by a counter trained on the others. drop, epochs: see Filter."""

    knows = Knows(poisoned=True, victim=False)
    folds: int = Field(3, ge=2)

    def scores(self, victim: Counter | None, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned
        scores = np.empty(len(scenes))
        for fold in range(self.folds):  # the set comes in random order
            others = [scene for i, scene in enumerate(scenes) if i % self.folds != fold]
            held_out = scenes[fold :: self.folds]
            scores[fold :: self.folds] = inconsistency(held_out, self._reference_counts(others, held_out, knowledge))
        return scores

    def _reference_counts(self, others: list[Scene], held_out: list[Scene], knowledge: Knowledge) -> Tensor:
        """What a counter trained on the other scenes counts on these, [n]."""
        reference = knowledge.trainer.fresh()
        knowledge.trainer.fit(reference, others, epochs=self.epochs)
        return knowledge.trainer.per_image(reference, held_out, lambda batch: reference.count(batch.images))


def inconsistency(scenes: list[Scene], counts: Tensor) -> np.ndarray:
    """| log((y + 1) / (c + 1)) | of annotated counts y and reference counts c, which are taken as 0 below it."""
    return np.abs(np.log1p([scene.count for scene in scenes]) - np.log1p(counts.double().clamp(min=0).numpy()))
