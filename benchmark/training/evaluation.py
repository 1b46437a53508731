"""A counter over images -> counts per image. Nothing else reads the test split."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from attacks.base import Target
from benchmark.data.batches import Batch, in_order
from benchmark.data.datasets.base import Dataset
from benchmark.data.lighting_drift import drifted
from benchmark.data.scene import Scene
from benchmark.data.splits import load_test
from benchmark.training.loop import TrainingFailed
from benchmark.utils.device import autocast, state
from benchmark.utils.memory import keep_buffers, retry_with_smaller_batches
from benchmark.utils.progress import Bar
from models.base import Counter

Stamp = Callable[[Tensor], Tensor]
Measure = Callable[[Tensor], Tensor]  # images [B, 3, H, W] in 0..1 -> a number of each, [B]


def count_people(counter: Counter, scenes: list[Scene], precision: str, stamp: Stamp | None = None,
                 batch_size: int = 8, title: str | None = None) -> np.ndarray:
    """The counter's count for each scene, float64 [N], in the order of the scenes.

    stamp: what is drawn over the images first. batch_size: images of one size counted at once.
    title: of a progress bar; none without. Several processes share the work and all get all counts.
    Where memory runs out, the rest is counted in batches of half the size, which changes no count but for rounding.

    Raises TrainingFailed when memory runs out with one image.
    """
    counter.to(state().device, memory_format=torch.channels_last).eval()
    return measured(counter.count, scenes, precision, stamp, batch_size, title)


def measured(measure: Measure, scenes: list[Scene], precision: str, stamp: Stamp | None, batch_size: int,
             title: str | None) -> np.ndarray:
    """What `measure` makes of each scene, float64 [N], in the order of the scenes; see `count_people`."""
    keep_buffers()
    here, name = state(), title or "counting"
    batches = list(in_order(scenes, batch_size))[here.process_index :: here.num_processes]
    found = []

    def values(indices: list[int], size: int) -> list[float]:
        parts = [indices[place : place + size] for place in range(0, len(indices), size)]
        return [value for part in parts for value in _values(measure, [scenes[i] for i in part], precision, stamp)]

    def failed(words: str) -> TrainingFailed:
        return TrainingFailed(f"{name}: out of memory with one image; lower scale? ({words})")

    for indices in Bar(batches, desc=title, unit="batch", disable=title is None or not here.is_main_process):
        counted, fits = retry_with_smaller_batches(partial(values, indices), min(len(indices), batch_size), name, failed)
        if fits < len(indices):
            batch_size = fits
        found.extend(zip(indices, counted))
    by_place = dict(gather_object(found) if here.num_processes > 1 else found)
    return np.array([by_place[index] for index in range(len(scenes))])


def _values(measure: Measure, scenes: list[Scene], precision: str, stamp: Stamp | None) -> list[float]:
    images = Batch.of(scenes, state().device).images
    if stamp is not None:
        images = stamp(images)  # outside of autocast, as in training
    with torch.inference_mode(), autocast(precision):
        return measure(images).double().cpu().tolist()


class TestSplit:
    """The test images of a dataset. They can be counted; they cannot be handed to anyone."""

    __test__ = False  # pytest: not a test

    def __init__(self, dataset: Dataset, scale: float):
        self._scenes = load_test(dataset, scale)

    def ids(self) -> list[str]:
        """The images' ids, in order."""
        return [scene.id for scene in self._scenes]

    def counts(self) -> list[int]:
        """The true count of each image."""
        return [scene.count for scene in self._scenes]

    def targets(self, target: Target) -> list[int]:
        """The attacker's count of each image."""
        return [target.tau_of(scene.points, scene.size) for scene in self._scenes]

    def count(self, counter: Counter, precision: str, stamp: Stamp | None, batch_size: int, title: str) -> np.ndarray:
        """A counter's count of each image, see `count_people`."""
        return count_people(counter, self._scenes, precision, stamp, batch_size, title)

    def scores(self, scorer: Measure, precision: str, stamp: Stamp | None, batch_size: int, drift: bool,
               title: str) -> np.ndarray:
        """A detector's score of each image, or of each in another light."""
        return measured(scorer, drifted(self._scenes) if drift else self._scenes, precision, stamp, batch_size, title)

    def mean_absolute_error(self, counter: Counter, precision: str) -> float:
        """MAE over the split, for the protocol variant that chooses its checkpoint on it."""
        return mean_absolute_error(counter, self._scenes, precision)


def mean_absolute_error(counter: Counter, scenes: list[Scene], precision: str) -> float:
    """MAE of a counter over scenes, in people: what chooses a checkpoint."""
    truth = np.array([scene.count for scene in scenes])
    return float(np.abs(count_people(counter, scenes, precision) - truth).mean())
