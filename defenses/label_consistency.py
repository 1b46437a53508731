"""Label consistency: leave out images whose label a counter trained on others contradicts.

A method of this project. The poisoned set is divided into K folds. With y the annotated count of an
image, and c_ref(x) the count of a counter that was trained on the other folds,

    score(x) = | log((y + 1) / (max(c_ref(x), 0) + 1)) |

In classification one asks whether a label is plausible (confident learning; Northcutt et al., JAIR
2021). Counts have distances, so the trimming of robust regression can be applied: the images with
the largest residuals are left out. An error by a factor has the same weight in sparse and in dense
scenes.

The reference counters train on poisoned images too, but no image is scored by a counter that has
memorised it. They can learn the trigger all the same. Then stamped images look consistent, as those
of clean-label attacks always do. With three folds the reference counters cost as much as two
trainings on the whole set; with five they cost as much as four, for a fifth more images in each.
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
    """Each fold is scored by a counter that is trained on the other folds.

    folds: number of folds that the poisoned set is divided into.
    drop, epochs: see `Filter`.
    """

    knows = Knows(poisoned=True, victim=False)
    folds: int = Field(3, ge=2)

    def scores(self, victim: Counter | None, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned  # in random order, so that every n-th scene makes a random fold
        scores = np.empty(len(scenes))
        for fold in range(self.folds):
            in_fold = slice(fold, None, self.folds)
            held_out = scenes[in_fold]
            others = [scene for index, scene in enumerate(scenes) if index % self.folds != fold]
            counts = self._reference_counts(others, held_out, knowledge)
            scores[in_fold] = inconsistency(held_out, counts)
        return scores

    def _reference_counts(self, others: list[Scene], held_out: list[Scene],
                          knowledge: Knowledge) -> Tensor:
        """The counts of the held-out scenes by a counter trained on the others, [n]."""
        reference = knowledge.trainer.fresh()
        knowledge.trainer.fit(reference, others, epochs=self.epochs)
        return knowledge.trainer.per_image(reference, held_out,
                                           lambda batch: reference.count(batch.images))


def inconsistency(scenes: list[Scene], counts: Tensor) -> np.ndarray:
    """| log((y + 1) / (c + 1)) | for annotated counts y and reference counts c, [n].

    A reference count below 0 is taken as 0.
    """
    annotated = [scene.count for scene in scenes]
    reference = counts.double().clamp(min=0).numpy()
    return np.abs(np.log1p(annotated) - np.log1p(reference))
