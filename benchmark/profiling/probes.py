"""What is measured, in seconds that can be compared: ways to do the same take turns in one run, so that a busy machine
slows all alike.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from attacks.base import STAMP_BATCH, Attack
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.data.density import adaptive_sigmas, density_maps
from benchmark.data.loading import read_image
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.registry import build
from benchmark.training.evaluation import count_people
from benchmark.training.loop import fit
from benchmark.utils.device import DTYPES, device
from models.base import Counter

ENOUGH = 2.0  # seconds that each way is measured for, or once where it takes longer
HEADS, SIGMA, STRIDE, SCALE = 500, 15.0, 8, 0.25
Way = Callable[[], float]  # does something once and says how many seconds it took


def now() -> float:
    """The time in seconds, when the device has done all that it was given."""
    if device().type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed(function: Callable[[], Any]) -> Way:
    """A function as a way; it is called once before, to warm up."""
    def way() -> float:
        began = now()
        function()
        return now() - began

    function()
    return way


def interleave(ways: Sequence[Way]) -> list[list[float]]:
    """The seconds of each way, of every time that it was taken. They take turns, until each has had its time."""
    rounds, began = [], time.perf_counter()
    while not rounds or time.perf_counter() - began < ENOUGH * len(ways):
        rounds.append([way() for way in ways])
    return [list(seconds) for seconds in zip(*rounds)]


def medians(ways: Sequence[Way]) -> list[float]:
    """The median seconds of each way, taken in turns."""
    return [statistics.median(seconds) for seconds in interleave(ways)]


def peak(precision: str) -> float:
    """FLOP/s of large square matrix products, the best of many: what the device can do at a precision."""
    where, kept = device(), torch.get_float32_matmul_precision()
    dtype, sides = DTYPES.get(precision, torch.float32), (1024, 2048) if where.type == "cpu" else (4096, 8192)
    if where.type == "cuda" and torch.backends.cudnn.allow_tf32:  # convolutions in fp32 use it, so the products do too
        torch.set_float32_matmul_precision("high")
    try:
        matrices = [torch.rand(side, side, device=where, dtype=dtype) for side in sides]
        seconds = interleave([timed(partial(torch.matmul, matrix, matrix)) for matrix in matrices])
        return max(2 * side**3 / min(taken) for side, taken in zip(sides, seconds))
    finally:
        torch.set_float32_matmul_precision(kept)


class Training:
    """A way: a step of a counter's own training, the augmentation and the optimizer's part included.

    images: of a step. flops: of a step, known when the way was taken once.
    """

    def __init__(self, counter: Counter, recipe: Recipe, scene: Scene, precision: str):
        self.counter, self.flops = counter, 0
        self.images = recipe.batch_size * recipe.accumulate
        self.steps = 1 if device().type == "cpu" else 8  # a GPU is given the next step while it does the last
        self.scenes = [scene] * (self.images * (1 + self.steps))
        # The weights hardly move: at its own rate a counter may diverge on one scene that is seen again and again.
        self.recipe = recipe.model_copy(update={"epochs": 1, "precision": precision, "lr": 1e-12})

    def __call__(self) -> float:
        """The first step warms up and is counted; the seconds are those of the others."""
        number, marks, counted = count(1), [], FlopCounterMode(display=False)

        def mark() -> None:
            step = next(number)
            if step == 1:
                first.close()
                self.flops = counted.get_total_flops()
            if step in (1, 1 + self.steps):
                marks.append(now())

        with redirect_stderr(StringIO()), ExitStack() as first:  # no bar for each call
            first.enter_context(counted)
            fit(self.counter, self.scenes, self.recipe, 0, "speed", after_step=mark)
        return (marks[1] - marks[0]) / self.steps


class PlainTraining:
    """A way: the step of a loop as it is usually written. Each image is decoded again, all is fp32 and in torch's usual
    order of memory. Augmentation, loss and optimizer are the counter's own.
    """

    def __init__(self, counter: Counter, recipe: Recipe, scene: Scene, path: Path):
        self.counter = counter.copy().to(device(), memory_format=torch.contiguous_format).train()
        self.counter.prepare([scene])
        self.recipe, self.scene, self.path = recipe, scene, path
        self.optimizer = torch.optim.Adam(self.counter.parameters(), lr=1e-12)

    def __call__(self) -> float:
        began, number = now(), self.recipe.batch_size
        for _ in range(self.recipe.accumulate):
            scenes = [replace(self.scene, image=read_image(self.path)) for _ in range(number)]
            views = [augment(scene, self.recipe, np.random.default_rng(place)) for place, scene in enumerate(scenes)]
            batch = Batch.of(views, device())
            self.counter.loss(replace(batch, images=batch.images.contiguous())).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return now() - began


class Counting:
    """A way: a batch of images is counted as evaluation does it.

    images: of a batch. flops: of a batch.
    """

    def __init__(self, counter: Counter, scene: Scene, precision: str):
        self.images = 1 if device().type == "cpu" else 8  # more at once are not faster on a CPU
        with FlopCounterMode(display=False) as counted:
            self._count(counter, scene, precision)
        self.flops = counted.get_total_flops()
        self._way = timed(lambda: self._count(counter, scene, precision))

    def _count(self, counter: Counter, scene: Scene, precision: str) -> None:
        count_people(counter, [scene] * self.images, precision, batch_size=self.images)

    def __call__(self) -> float:
        return self._way()


@dataclass(frozen=True)
class Pair:
    """A part of the work as it is done here, and in the obvious other way; both give the same up to rounding."""

    what: str
    ours: Callable[[], Any]
    other_way: str
    other: Callable[[], Any]


def pairs(scene: Scene, path: Path) -> list[Pair]:
    """The parts of the work. scene: any, as it was read from a file of its size at `path`."""
    return [*_densities(scene.size), *_readings(scene, path), _stamping(scene)]


def _densities(size: tuple[int, int]) -> list[Pair]:
    heads = np.random.default_rng(0).uniform(0, size[::-1], (HEADS, 2)).astype(np.float32)
    points, near = torch.from_numpy(heads).to(device()), adaptive_sigmas(heads, size)

    def ours(sigmas: np.ndarray) -> Tensor:
        return density_maps([points], [torch.from_numpy(sigmas).to(device())], size, STRIDE)[0, 0]

    def in_blocks(density: np.ndarray) -> Tensor:
        rows, columns = (np.arange(0, side, STRIDE) for side in size)
        return torch.from_numpy(np.add.reduceat(np.add.reduceat(density, rows, 0), columns, 1)).to(device())

    def one_filter() -> Tensor:
        dots = np.zeros(size, np.float32)
        np.add.at(dots, tuple(heads.astype(int).T[::-1]), 1)
        return in_blocks(gaussian_filter(dots, SIGMA))

    def filter_per_head() -> Tensor:
        density = np.zeros(size, np.float32)
        for (x, y), sigma in zip(heads.astype(int), near):
            reach = int(4 * sigma + 0.5)  # the filter's own
            top, left = max(y - reach, 0), max(x - reach, 0)
            window = density[top : y + reach + 1, left : x + reach + 1]
            dot = np.zeros_like(window)
            dot[y - top, x - left] = 1
            window += gaussian_filter(dot, sigma)
        return in_blocks(density)

    title = f"density map, {HEADS} heads"
    return [Pair(f"{title}, sigma {SIGMA:.0f}", lambda: ours(np.full(HEADS, SIGMA, np.float32)),
                 "one Gaussian filter of all dots, summed over blocks", one_filter),
            Pair(f"{title}, geometry-adaptive", lambda: ours(near),
                 "a Gaussian filter per head in its own window, summed over blocks", filter_per_head)]


def _readings(scene: Scene, path: Path) -> list[Pair]:
    height, width = (max(1, round(side * SCALE)) for side in scene.size)

    def whole() -> np.ndarray:
        with Image.open(path) as image:
            return np.array(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))

    def batch(image: np.ndarray) -> Tensor:
        return Batch.of([replace(scene, image=image)], device()).images

    return [Pair(f"decode a JPEG at scale {SCALE}", lambda: read_image(path, SCALE), "decode all of it, then resize",
                 whole),
            Pair("an image for a batch, from memory", lambda: batch(scene.image), "decode it again each epoch",
                 lambda: batch(read_image(path)))]


def _stamping(scene: Scene) -> Pair:
    """The picture is what a trigger leaves of a black image at alpha 1."""
    trigger = build("trigger", "blended", {})
    attack, scenes = Attack(trigger, build("target", "add", {}), 0.1), [scene] * STAMP_BATCH
    opaque = build("trigger", "blended", {"alpha": 1}).stamp(torch.zeros(1, 3, *scene.size))[0]
    picture = Image.fromarray((opaque * 255).round().byte().permute(1, 2, 0).contiguous().numpy())

    def blended(scene: Scene) -> Scene:
        return replace(scene, image=np.array(Image.blend(Image.fromarray(scene.image), picture, trigger.alpha)))

    return Pair(f"stamp a batch of {STAMP_BATCH}", lambda: attack.stamp(Batch.of(scenes, device()).images),
                "PIL's blend, image by image", lambda: Batch.of([blended(one) for one in scenes], device()).images)
