"""A counter over images -> counts per image. Nothing else reads the test split."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from benchmark.data.batches import Batch, in_order
from benchmark.data.scene import Scene
from benchmark.device import autocast, device
from models.base import Counter

Stamp = Callable[[Tensor], Tensor]


@torch.inference_mode()
def count_people(counter: Counter, scenes: list[Scene], precision: str, stamp: Stamp | None = None,
                 batch_size: int = 8, title: str | None = None) -> np.ndarray:
    """The counter's count for each scene, float64 [N], in the order of the scenes.

    stamp: what is drawn over the images first. batch_size: images of one size counted at once.
    title: of a progress bar; none without. Several processes share the work and all get all counts.
    """
    state = PartialState()
    counter.to(state.device, memory_format=torch.channels_last).eval()
    batches = list(in_order(scenes, batch_size))[state.process_index :: state.num_processes]
    counted = []
    for indices in tqdm(batches, desc=title, unit="batch", disable=title is None or not state.is_main_process):
        images = Batch.of([scenes[i] for i in indices], device()).images
        with autocast(precision):
            counts = counter.count(images if stamp is None else stamp(images))
        counted.extend(zip(indices, counts.double().cpu().tolist()))
    counts = dict(gather_object(counted) if state.num_processes > 1 else counted)
    return np.array([counts[index] for index in range(len(scenes))])


def mean_absolute_error(counter: Counter, scenes: list[Scene], precision: str) -> float:
    """MAE of a counter over scenes, in people: what chooses a checkpoint."""
    truth = np.array([scene.count for scene in scenes])
    return float(np.abs(count_people(counter, scenes, precision) - truth).mean())
