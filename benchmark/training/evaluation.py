"""Evaluation: counts and scores of images, and the test split, which no other module reads."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from attacks.base import Attack, Target
from attacks.parts.heads import call_with_heads, takes_heads
from benchmark.data.batches import images_to_count, in_order
from benchmark.data.datasets.base import Dataset
from benchmark.data.lighting_drift import drifted
from benchmark.data.scene import Scene
from benchmark.data.splits import load_test
from benchmark.training.loop import CountErrors
from benchmark.training.measuring import measured
from benchmark.utils.device import autocast, state
from benchmark.utils.memory import keep_buffers
from benchmark.utils.progress import Bar
from benchmark.utils.transfer import Awaited
from models.base import Counter

# Both take images [B, 3, H, W] in 0..1.
Measure = Callable[[Tensor], Tensor]  # returns one number per image, [B]
# Returns the same images with the trigger. One with a parameter `heads` is given those of each
# image; see attacks/parts/heads.py.
Stamp = Callable[..., Tensor]


def count_people(counter: Counter, scenes: list[Scene], precision: str, stamp: Stamp | None = None,
                 batch_size: int = 8, title: str | None = None) -> np.ndarray:
    """The counter's count of each scene, float64 [N], in the order of the scenes.

    stamp: applied to the images before they are counted.
    batch_size: the most images counted at once; those of a batch have one size.
    title: of a progress bar; None shows no bar.

    Several processes share the work, and each returns all counts. When memory runs out, the
    remaining images are counted in batches of half the size, which changes counts only by rounding.

    Raises:
        TrainingFailed: memory runs out even with one image.
    """
    counter.to(state().device, memory_format=torch.channels_last).eval()
    return _measure_scenes(counter.count, scenes, precision, stamp, batch_size, title)


def count_errors(counter: Counter, scenes: list[Scene], precision: str) -> CountErrors:
    """The counter's errors over scenes."""
    truth = np.array([scene.count for scene in scenes])
    errors = count_people(counter, scenes, precision) - truth
    return CountErrors(float(np.abs(errors).mean()), float(errors.mean()))


class TestSplit:
    """The test images of a dataset. They can be measured, but only an export is given them."""

    __test__ = False  # pytest collects classes named Test...; this is none of its tests

    def __init__(self, dataset: Dataset, scale: float):
        self._scenes = load_test(dataset, scale)

    def ids(self) -> list[str]:
        """The ids of the images, in order."""
        return [scene.id for scene in self._scenes]

    def counts(self) -> list[int]:
        """The annotated count of each image."""
        return [scene.count for scene in self._scenes]

    def targets(self, target: Target) -> list[int]:
        """The count of each image that the attacker wants."""
        return [target.tau_of(scene.points, scene.size) for scene in self._scenes]

    def carriers(self, attack: Attack) -> int:
        """The number of images that carry the attack's trigger once they are stamped."""
        return sum(map(attack.is_carried_by, self._scenes))

    def count(self, counter: Counter, precision: str, stamp: Stamp | None, batch_size: int,
              title: str) -> np.ndarray:
        """A counter's count of each image; see `count_people`."""
        return count_people(counter, self._scenes, precision, stamp, batch_size, title)

    def scores(self, scorer: Measure, precision: str, stamp: Stamp | None, batch_size: int,
               drift: bool, title: str) -> np.ndarray:
        """A detector's score of each image, float64 [N]; drift: of the images in another light."""
        scenes = drifted(self._scenes) if drift else self._scenes
        return _measure_scenes(scorer, scenes, precision, stamp, batch_size, title)

    def scenes_to_export(self) -> list[Scene]:
        """The scenes themselves, for `benchmark.export` alone, which writes them as files."""
        return list(self._scenes)

    def errors(self, counter: Counter, precision: str) -> CountErrors:
        """A counter's errors, for training.select = 'test', which chooses by them."""
        return count_errors(counter, self._scenes, precision)


def _measure_scenes(measure: Measure, scenes: list[Scene], precision: str, stamp: Stamp | None,
                    batch_size: int, title: str | None) -> np.ndarray:
    """The value of `measure` for each scene, float64 [N], in order; see `count_people`."""
    keep_buffers()
    process = state()
    batches = list(in_order(scenes, batch_size))[process.process_index :: process.num_processes]
    silent = title is None or not process.is_main_process

    values: list[tuple[int, float]] = []  # each with the index of its scene
    work = partial(_measure_batch, measure, precision, stamp)
    bar = Bar(batches, desc=title, unit="batch", disable=silent)
    for indices, results in measured(work, scenes, bar, batch_size, title or "counting"):
        values.extend(zip(indices, results.tolist()))
    if process.num_processes > 1:
        values = gather_object(values)
    value_of = dict(values)
    return np.array([value_of[index] for index in range(len(scenes))])


def _measure_batch(measure: Measure, precision: str, stamp: Stamp | None,
                   scenes: list[Scene]) -> Awaited:
    with_heads = stamp is not None and takes_heads(stamp)
    images, heads = images_to_count(scenes, state().device, with_heads)
    if stamp is not None:
        # Outside of autocast, as in training.
        images = call_with_heads(stamp, images, heads=heads)
    with torch.inference_mode(), autocast(precision):
        return Awaited(measure(images).double())
