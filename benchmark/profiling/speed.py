"""Speed of this machine: the throughput of counters in training and in counting.

Results are stored in the user's cache folder, where the time estimates of --dry-run read them.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config.cell import Component
from benchmark.data.augmentation import trained_size
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.profiling.probes import CountingProbe, TrainingProbe, medians, peak
from benchmark.profiling.stored_rates import What, machine_name, store_rates
from benchmark.registry import find
from benchmark.utils.device import resolve_precision
from benchmark.utils.environment import provenance
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.progress import Bar

PRECISIONS = ("fp32", "bf16")
SMALLEST, LARGEST = 32, 8192  # sides of an image in pixels
HEADS = 500  # of the scene that is measured


@dataclass(frozen=True)
class Speed:
    """The measured time of a counter's training step, or of a batch that it counts.

    model: title of the model with its settings.
    what: 'train' or 'count'.
    images: number of images of the step or the batch.
    pixels: pixels of an image; in training, of its crop.
    seconds: median time of the step or the batch.
    flops: FLOPs of the step or the batch.
    share: share of the machine's peak at this precision.
    ratio: the time in fp32 divided by this time; None where fp32 was not measured.
    """

    model: str
    what: What
    precision: str
    images: int
    pixels: int
    seconds: float
    flops: int
    share: float
    ratio: float | None

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds

    @property
    def pixels_per_s(self) -> float:
        return self.images_per_s * self.pixels

    @property
    def tflop_per_s(self) -> float:
        return self.flops / self.seconds / 1e12

    def row(self) -> list[str]:
        """The row of the report's table."""
        return [self.model, self.what, self.precision, str(self.images), format_time(self.seconds),
                f"{self.images_per_s:.3g}", f"{self.pixels_per_s / 1e6:.3g}",
                f"{self.tflop_per_s:.3g}", f"{self.share:.0%}",
                "/" if self.ratio is None else f"{self.ratio:.2f}"]


@dataclass(frozen=True)
class SpeedReport:
    """The speeds of a machine.

    machine: its provenance.
    size: (H, W) of the images in pixels.
    peaks: FLOP/s of a matrix product, by precision.
    """

    machine: dict[str, Any]
    size: tuple[int, int]
    peaks: dict[str, float]
    speeds: list[Speed]

    def text(self) -> str:
        """The report as a table in Markdown."""
        columns = ["model", "what", "precision", "images", "takes", "images/s", "Mpixel/s",
                   "TFLOP/s", "of peak", "fp32 takes"]
        import pandas as pd  # not at the top: the estimates of --dry-run need no table

        from benchmark.tables.formats import Table, markdown

        frame = pd.DataFrame([speed.row() for speed in self.speeds], columns=columns)
        peaks = ", ".join(f"{precision} {flops / 1e12:.3g}"
                          for precision, flops in self.peaks.items())
        notes = ["train: a training step with the counter's own batch and crop. "
                 "count: a batch of images.",
                 f"of peak: share of the fastest large matrix product here, in TFLOP/s: {peaks}.",
                 "fp32 takes: the time in fp32 divided by the time in this precision. "
                 "The precisions take turns; times are medians."]
        title = (f"Counters on {machine_name(self.machine)}, "
                 f"images of {self.size[1]}x{self.size[0]}")
        return markdown(Table("counters", title, frame, notes))

    def to_dict(self) -> dict[str, Any]:
        """The report with derived numbers, ready for JSON."""
        derived = ("images_per_s", "pixels_per_s", "tflop_per_s")
        speeds = [asdict(speed) | {key: getattr(speed, key) for key in derived}
                  for speed in self.speeds]
        return asdict(self) | {"speeds": speeds}


def measure(models: Sequence[Component], precisions: Sequence[str] | None,
            size: tuple[int, int]) -> SpeedReport:
    """Measure the speed of this machine, with a progress bar on stderr.

    precisions: 'fp32', 'bf16' or both. None is fp32, and bf16 where the device runs it natively.
    size: (H, W) in pixels of the images that are counted, and from which training cuts its crops.

    Raises:
        UserError: an unknown model, setting or precision, or a size that is too small or too large.
            Nothing has been measured then.
    """
    precisions = list(dict.fromkeys(precisions or ("fp32", resolve_precision("auto"))))
    for precision in precisions:
        if precision not in PRECISIONS:
            hint = did_you_mean(precision, PRECISIONS)
            raise UserError(f"speed: unknown precision {precision!r}: {hint}")
    if min(size) < SMALLEST or max(size) > LARGEST:
        raise UserError(f"speed: size {size[1]}x{size[0]}: "
                        f"expected sides of {SMALLEST} to {LARGEST} pixels")
    for model in models:
        model.resolved
    image, points = draw_scene(size, HEADS, np.random.default_rng(0))
    scene = Scene("scene", image, points, None)
    speeds: list[Speed] = []
    with Bar(total=2 * len(models), unit="part") as bar:
        peaks = {precision: peak(precision) for precision in precisions}
        for model in models:
            speeds += _measure_counter(model, peaks, scene, bar)
    return SpeedReport(provenance(), size, peaks, speeds)


def _measure_counter(model: Component, peaks: dict[str, float], scene: Scene,
                     bar: Bar) -> list[Speed]:
    """The speeds of one counter, built from scratch, at each precision."""
    scratch = {"weights": "scratch"} if "weights" in model.resolved else {}
    counter = replace(model, given=model.given | scratch).build()
    recipe = find("model", model.name).recipe
    speeds = []
    for what, size in (("train", trained_size(scene, recipe)), ("count", scene.size)):
        bar.set_description(f"{model.title} {what}")
        if what == "train":
            probes = [TrainingProbe(counter, recipe, scene, precision) for precision in peaks]
        else:
            probes = [CountingProbe(counter, scene, precision) for precision in peaks]
        times = dict(zip(peaks, medians(probes)))
        for probe, (precision, seconds) in zip(probes, times.items()):
            share = probe.flops / seconds / peaks[precision]
            ratio = times["fp32"] / seconds if "fp32" in times else None
            speeds.append(Speed(model.title, what, precision, probe.images, math.prod(size),
                                seconds, probe.flops, share, ratio))
        bar.update()
    return speeds


def write(report: SpeedReport) -> Path:
    """Store the speeds of a report for the estimates of --dry-run and return the file."""
    rates = {(speed.model, speed.precision, speed.what): speed.pixels_per_s
             for speed in report.speeds}
    return store_rates(report.machine, rates)


def format_time(seconds: float) -> str:
    """A time in seconds or milliseconds.

    >>> format_time(2), format_time(0.0123)
    ('2.00 s', '12.30 ms')
    """
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.2f} ms"
