"""Speed probes: the seconds that a training step or a batch of counted images takes.

Probes whose times are compared are run in turns, so that other work on the machine slows all of
them alike.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr
from functools import partial
from io import StringIO
from itertools import count
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.training.evaluation import count_people
from benchmark.training.loop import fit
from benchmark.utils.device import DTYPES, device
from models.base import Counter

ENOUGH = 2.0  # seconds for which each probe is run; a probe that takes longer is run once
Probe = Callable[[], float]  # does something once and returns the seconds that it took


def now() -> float:
    """The time in seconds, after the device has finished all its work."""
    if device().type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed(function: Callable[[], Any]) -> Probe:
    """A probe of a function. The function is called once beforehand, to warm up."""
    def probe() -> float:
        start = now()
        function()
        return now() - start

    function()
    return probe


def interleave(probes: Sequence[Probe]) -> list[list[float]]:
    """The seconds of each run of each probe. The probes take turns for `ENOUGH` seconds each."""
    rounds = []
    start = time.perf_counter()
    while not rounds or time.perf_counter() - start < ENOUGH * len(probes):
        rounds.append([probe() for probe in probes])
    return [list(seconds) for seconds in zip(*rounds)]


def medians(probes: Sequence[Probe]) -> list[float]:
    """The median seconds of each probe. The probes take turns."""
    return [statistics.median(seconds) for seconds in interleave(probes)]


def peak(precision: str) -> float:
    """The peak of the device at a precision, in FLOP/s: the best of many large matrix products."""
    on_cpu = device().type == "cpu"
    sides = (1024, 2048) if on_cpu else (4096, 8192)
    dtype = DTYPES.get(precision, torch.float32)
    setting = torch.get_float32_matmul_precision()
    # Convolutions in fp32 use TF32 where cuDNN may, so the matrix products use it too.
    if device().type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        matrices = [torch.rand(side, side, device=device(), dtype=dtype) for side in sides]
        probes = [timed(partial(torch.matmul, matrix, matrix)) for matrix in matrices]
        return max(2 * side**3 / min(seconds)
                   for side, seconds in zip(sides, interleave(probes)))
    finally:
        torch.set_float32_matmul_precision(setting)


class TrainingProbe:
    """A probe of a training step as the counter trains, with the augmentation and the optimizer.

    images: number of images of a step.
    flops: FLOPs of a step; known after the first run.
    """

    def __init__(self, counter: Counter, recipe: Recipe, scene: Scene, precision: str):
        self.counter = counter
        self.flops = 0
        self.images = recipe.batch_size * recipe.accumulate
        self.steps = 1 if device().type == "cpu" else 8  # a GPU gets the next step during the last
        self.scenes = [scene] * (self.images * (1 + self.steps))
        # At its own learning rate a counter may diverge on one scene that is repeated. At this one
        # its weights hardly change.
        update = {"epochs": 1, "precision": precision, "lr": 1e-12}
        self.recipe = recipe.model_copy(update=update)

    def __call__(self) -> float:
        """The mean seconds of a step. A step before these warms up, and its FLOPs are counted."""
        step_numbers = count(1)
        times: list[float] = []
        flop_counter = FlopCounterMode(display=False)

        def after_step() -> None:
            step = next(step_numbers)
            if step == 1:
                first_step.close()
                self.flops = flop_counter.get_total_flops()
            if step in (1, 1 + self.steps):
                times.append(now())

        with redirect_stderr(StringIO()), ExitStack() as first_step:  # hides the progress bar
            first_step.enter_context(flop_counter)
            fit(self.counter, self.scenes, self.recipe, 0, "speed", after_step=after_step)
        return (times[1] - times[0]) / self.steps


class CountingProbe:
    """A probe of counting a batch of images as evaluation counts them.

    images: number of images of a batch.
    flops: FLOPs of a batch.
    """

    def __init__(self, counter: Counter, scene: Scene, precision: str):
        self.images = 1 if device().type == "cpu" else 8  # a CPU counts larger batches no faster
        count_batch = partial(count_people, counter, [scene] * self.images, precision,
                              batch_size=self.images)
        with FlopCounterMode(display=False) as flop_counter:
            count_batch()
        self.flops = flop_counter.get_total_flops()
        self._probe = timed(count_batch)

    def __call__(self) -> float:
        return self._probe()
