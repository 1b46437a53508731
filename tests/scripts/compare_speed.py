"""Speed comparisons: parts of the work and training steps against the obvious other way.

    python tests/scripts/compare_speed.py --model csrnet,squeeze,tiny --size 1024x768

The two ways take turns in one run, so that other work on the machine slows both alike. The script
prints median times as two tables in Markdown; docs/performance.md holds earlier results.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from attacks.base import STAMP_BATCH, Attack
from benchmark.config.cell import Component
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.data.density import adaptive_sigmas, density_maps
from benchmark.data.loading import read_image
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.profiling.probes import TrainingProbe, medians, now, timed
from benchmark.profiling.speed import format_time, machine_name
from benchmark.recipe import Recipe
from benchmark.registry import build, find
from benchmark.tables.formats import Table, markdown
from benchmark.utils.device import device, resolve_precision
from benchmark.utils.environment import provenance
from models.base import Counter

HEADS = 500
SIGMA = 15.0  # pixels
STRIDE = 8  # pixels
SCALE = 0.25  # of a decoded image


@dataclass(frozen=True)
class Comparison:
    """A part of the work done in our way and in another; both give the same up to rounding."""

    part: str
    ours: Callable[[], Any]
    other_way: str
    other: Callable[[], Any]


def comparisons(scene: Scene, path: Path) -> list[Comparison]:
    """All comparisons. path: the file from which the scene was read."""
    return [*density_comparisons(scene.size), *decoding_comparisons(scene, path),
            stamping_comparison(scene)]


def density_comparisons(size: tuple[int, int]) -> list[Comparison]:
    """Density maps of random heads against Gaussian filters of a map of pixels."""
    heads = np.random.default_rng(0).uniform(0, size[::-1], (HEADS, 2)).astype(np.float32)
    points = torch.from_numpy(heads).to(device())
    adaptive = adaptive_sigmas(heads, size)
    fixed = np.full(HEADS, SIGMA, np.float32)

    def ours(sigmas: np.ndarray) -> Tensor:
        return density_maps([points], [torch.from_numpy(sigmas).to(device())], size, STRIDE)[0, 0]

    def sum_over_blocks(density: np.ndarray) -> Tensor:
        rows, columns = (np.arange(0, side, STRIDE) for side in size)
        blocks = np.add.reduceat(np.add.reduceat(density, rows, 0), columns, 1)
        return torch.from_numpy(blocks).to(device())

    def one_filter() -> Tensor:
        dots = np.zeros(size, np.float32)
        np.add.at(dots, tuple(heads.astype(int).T[::-1]), 1)
        return sum_over_blocks(gaussian_filter(dots, SIGMA))

    def filter_per_head() -> Tensor:
        density = np.zeros(size, np.float32)
        for (x, y), sigma in zip(heads.astype(int), adaptive):
            reach = int(4 * sigma + 0.5)  # that of scipy's filter
            top, left = max(y - reach, 0), max(x - reach, 0)
            window = density[top : y + reach + 1, left : x + reach + 1]
            dot = np.zeros_like(window)
            dot[y - top, x - left] = 1
            window += gaussian_filter(dot, sigma)
        return sum_over_blocks(density)

    part = f"density map, {HEADS} heads"
    return [Comparison(f"{part}, sigma {SIGMA:.0f}", lambda: ours(fixed),
                       "one Gaussian filter of all dots, summed over blocks", one_filter),
            Comparison(f"{part}, geometry-adaptive", lambda: ours(adaptive),
                       "a Gaussian filter per head in its own window, summed over blocks",
                       filter_per_head)]


def decoding_comparisons(scene: Scene, path: Path) -> list[Comparison]:
    """Decoding at a scale and keeping images in memory, against decoding all of them each time."""
    height, width = (max(1, round(side * SCALE)) for side in scene.size)

    def decode_then_resize() -> np.ndarray:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        return np.array(resized)

    def batch_of(image: np.ndarray) -> Tensor:
        return Batch.of([replace(scene, image=image)], device()).images

    return [Comparison(f"decode a JPEG at scale {SCALE}", lambda: read_image(path, SCALE),
                       "decode all of it, then resize", decode_then_resize),
            Comparison("an image for a batch, from memory", lambda: batch_of(scene.image),
                       "decode it again each epoch", lambda: batch_of(read_image(path)))]


def stamping_comparison(scene: Scene) -> Comparison:
    """Stamping a batch with the blended trigger against PIL's blend."""
    trigger = build("trigger", "blended", {})
    attack = Attack(trigger, build("target", "add", {}), 0.1)
    scenes = [scene] * STAMP_BATCH
    # At alpha 1 a black image becomes the picture of the trigger.
    opaque = build("trigger", "blended", {"alpha": 1}).stamp(torch.zeros(1, 3, *scene.size))[0]
    pixels = (opaque * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels)

    def blended(scene: Scene) -> Scene:
        image = Image.blend(Image.fromarray(scene.image), picture, trigger.alpha)
        return replace(scene, image=np.array(image))

    return Comparison(f"stamp a batch of {STAMP_BATCH}",
                      lambda: attack.stamp(Batch.of(scenes, device()).images),
                      "PIL's blend, image by image",
                      lambda: Batch.of([blended(scene) for scene in scenes], device()).images)


class PlainTrainingProbe:
    """A probe of the training step of a loop as it is usually written.

    Each image is decoded again, everything is fp32, and tensors have torch's usual order of memory.
    Augmentation, loss and optimizer are those of the counter.
    """

    def __init__(self, counter: Counter, recipe: Recipe, scene: Scene, path: Path):
        copy = counter.copy()
        self.counter = copy.to(device(), memory_format=torch.contiguous_format).train()
        self.counter.prepare([scene])
        self.recipe = recipe
        self.scene = scene
        self.path = path
        self.optimizer = torch.optim.Adam(self.counter.parameters(), lr=1e-12)

    def __call__(self) -> float:
        start = now()
        for _ in range(self.recipe.accumulate):
            views = []
            for index in range(self.recipe.batch_size):
                scene = replace(self.scene, image=read_image(self.path))
                views.append(augment(scene, self.recipe, np.random.default_rng(index)))
            batch = Batch.of(views, device())
            batch = replace(batch, images=batch.images.contiguous())
            self.counter.loss(batch).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return now() - start


def compare_parts(scene: Scene, path: Path) -> list[list[str]]:
    """The rows of the table of parts."""
    rows = []
    for comparison in comparisons(scene, path):
        ours, other = medians([timed(comparison.ours), timed(comparison.other)])
        rows.append([comparison.part, format_time(ours), comparison.other_way, format_time(other),
                     f"{other / ours:.1f}"])
    return rows


def compare_training(names: Sequence[str], scene: Scene, path: Path) -> list[list[str]]:
    """The rows of the table of training steps, by counters built from scratch."""
    rows = []
    precision = resolve_precision("auto")
    for name in names:
        resolved = Component("model", name, {}).resolved
        counter = build("model", name, {"weights": "scratch"} if "weights" in resolved else {})
        recipe = find("model", name).recipe
        probe = TrainingProbe(counter, recipe, scene, precision)
        ours, other = medians([probe, PlainTrainingProbe(counter, recipe, scene, path)])
        rows.append([name, precision, str(probe.images), format_time(ours), format_time(other),
                     f"{other / ours:.2f}"])
    return rows


def write_scene(size: tuple[int, int], path: Path) -> Scene:
    """Draw a scene, write it as a JPEG, and return it as it is read from there."""
    image, points = draw_scene(size, HEADS, np.random.default_rng(0))
    Image.fromarray(image).save(path, quality=95)
    return Scene("scene", read_image(path), points, None)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny,squeeze", metavar="NAME,...", help="counters")
    parser.add_argument("--size", default="1024x768", metavar="WxH", help="size of an image")
    options = parser.parse_args(arguments)
    width, height = map(int, options.size.split("x"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scene.jpg"
        scene = write_scene((height, width), path)
        parts = compare_parts(scene, path)
        steps = compare_training(options.model.split(","), scene, path)
    where = f"on {machine_name(provenance())}, images of {options.size}"
    columns = ["part", "ours", "the other way", "takes", "ratio"]
    print(markdown(Table("parts", f"Parts of the work {where}",
                         pd.DataFrame(parts, columns=columns),
                         ["ratio: the time of the other way divided by ours."])))
    columns = ["model", "precision", "images", "a step takes", "a plain loop takes", "ratio"]
    print(markdown(Table("steps", f"Training steps {where}", pd.DataFrame(steps, columns=columns),
                         ["a plain loop: the same step in fp32 and torch's usual order of memory, "
                          "with each image decoded again."])))


if __name__ == "__main__":
    main()
