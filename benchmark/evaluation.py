"""A counter over images -> counts per image. Nothing else reads the test split."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from attacks.base import Target
from benchmark.data.batches import Batch, in_order
from benchmark.data.datasets.base import Dataset
from benchmark.data.scene import Scene
from benchmark.data.splits import load_test
from benchmark.device import autocast, state
from models.base import Counter

Stamp = Callable[[Tensor], Tensor]


def count_people(counter: Counter, scenes: list[Scene], precision: str, stamp: Stamp | None = None,
                 batch_size: int = 8, title: str | None = None) -> np.ndarray:
    """The counter's count for each scene, float64 [N], in the order of the scenes.

    stamp: what is drawn over the images first. batch_size: images of one size counted at once.
    title: of a progress bar; none without. Several processes share the work and all get all counts.
    """
    here = state()
    counter.to(here.device, memory_format=torch.channels_last).eval()
    batches = list(in_order(scenes, batch_size))[here.process_index :: here.num_processes]
    counted = []
    for indices in tqdm(batches, desc=title, unit="batch", disable=title is None or not here.is_main_process):
        images = Batch.of([scenes[i] for i in indices], here.device).images
        if stamp is not None:
            images = stamp(images)  # outside of autocast, as in training
        with torch.inference_mode(), autocast(precision):
            counts = counter.count(images)
        counted.extend(zip(indices, counts.double().cpu().tolist()))
    counts = dict(gather_object(counted) if here.num_processes > 1 else counted)
    return np.array([counts[index] for index in range(len(scenes))])


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

    def mean_absolute_error(self, counter: Counter, precision: str) -> float:
        """MAE over the split, for the protocol variant that chooses its checkpoint on it."""
        return mean_absolute_error(counter, self._scenes, precision)


def mean_absolute_error(counter: Counter, scenes: list[Scene], precision: str) -> float:
    """MAE of a counter over scenes, in people: what chooses a checkpoint."""
    truth = np.array([scene.count for scene in scenes])
    return float(np.abs(count_people(counter, scenes, precision) - truth).mean())
