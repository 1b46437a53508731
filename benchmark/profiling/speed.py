"""How fast this machine is: every counter's training and counting, and the parts of the work beside the other way to do
them. What was measured is kept in the user's cache folder, for estimates of how long a run will take.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from benchmark.config.cell import Component
from benchmark.data.augmentation import trained_size
from benchmark.data.loading import read_image
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.profiling.probes import HEADS, Counting, Pair, PlainTraining, Training, medians, pairs, peak, timed
from benchmark.registry import find
from benchmark.tables.formats import NONE, Table, markdown
from benchmark.utils.device import resolve_precision
from benchmark.utils.environment import provenance
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.files import write_atomically
from benchmark.utils.progress import Bar

PRECISIONS = ("fp32", "bf16")
SMALLEST = 32  # pixels of a side
What = Literal["train", "count"]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FILE = TypeAdapter(dict[str, dict[str, dict[str, dict[What, Rate]]]])  # of machine, model, precision: pixels per second


@dataclass(frozen=True)
class Part:
    """A part of the work: its median seconds, and those of the other way to do it."""

    what: str
    seconds: float
    other_way: str
    other_seconds: float

    @property
    def ratio(self) -> float:
        """How many times as long the other way takes."""
        return self.other_seconds / self.seconds


@dataclass(frozen=True)
class Speed:
    """A step of a counter's training, or a batch that it counts.

    model: its entry's title. images: of the step or the batch. pixels: of an image, or in training of its crop.
    seconds: the median. flops: of the step or the batch. share: of the machine's peak at this precision.
    ratio: how many times as long fp32 takes; None where that was not measured. plain: how many times as long the
    step of a plain loop takes, see `measuring.PlainTraining`.
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
    plain: float | None

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds

    @property
    def pixels_per_s(self) -> float:
        return self.images_per_s * self.pixels

    @property
    def tflop_per_s(self) -> float:
        return self.flops / self.seconds / 1e12


@dataclass(frozen=True)
class Report:
    """machine: its provenance. size: (H, W) pixels. peaks: FLOP/s of a matrix product, by precision."""

    machine: dict[str, Any]
    size: tuple[int, int]
    peaks: dict[str, float]
    parts: list[Part]
    speeds: list[Speed]

    def text(self) -> str:
        """Two tables in Markdown."""
        parts = [[part.what, _time(part.seconds), part.other_way, _time(part.other_seconds), f"{part.ratio:.1f}"]
                 for part in self.parts]
        speeds = [[one.model, one.what, one.precision, str(one.images), _time(one.seconds), f"{one.images_per_s:.3g}",
                   f"{one.pixels_per_s / 1e6:.3g}", f"{one.tflop_per_s:.3g}", f"{one.share:.0%}",
                   *(NONE if ratio is None else f"{ratio:.2f}" for ratio in (one.ratio, one.plain))]
                  for one in self.speeds]
        peaks = ", ".join(f"{precision} {flops / 1e12:.3g}" for precision, flops in self.peaks.items())
        tables = [
            Table("parts", f"Parts of the work on {_name(self.machine)}, images of {self.size[1]}x{self.size[0]}",
                  pd.DataFrame(parts, columns=["part", "ours", "the other way", "takes", "ratio"]),
                  ["ratio: how many times as long the other way takes. The two take turns; times are medians."]),
            Table("counters", "Counters: a step of training at a counter's own batch and crop, and a batch counted",
                  pd.DataFrame(speeds, columns=["model", "what", "precision", "images", "takes", "images/s", "Mpixel/s",
                                                "TFLOP/s", "of peak", "fp32 takes", "a plain loop takes"]),
                  [f"of peak: the best of many large matrix products here, in TFLOP/s: {peaks}.",
                   "fp32 takes: how many times as long. a plain loop takes: the same step in fp32 and torch's usual "
                   "order of memory, with each image decoded again. All take turns; times are medians."])]
        return "\n".join(map(markdown, tables))

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        parts = [asdict(part) | {"ratio": part.ratio} for part in self.parts]
        derived = ("images_per_s", "pixels_per_s", "tflop_per_s")
        speeds = [asdict(one) | {key: getattr(one, key) for key in derived} for one in self.speeds]
        return asdict(self) | {"parts": parts, "speeds": speeds}


def measure(models: Sequence[Component], precisions: Sequence[str] | None, size: tuple[int, int]) -> Report:
    """Measure this machine, with a bar on stderr.

    precisions: 'fp32' and 'bf16' or one of them; None is fp32, and bf16 where the device runs it natively.
    size: (H, W) pixels of the images that are counted, and from which training cuts its crops.

    Raises:
        UserError: an unknown model, setting or precision, or a size that is too small.
    """
    precisions = list(dict.fromkeys(precisions or ("fp32", resolve_precision("auto"))))
    for precision in precisions:
        if precision not in PRECISIONS:
            raise UserError(f"speed: precision {precision!r}: {did_you_mean(precision, PRECISIONS)}")
    if min(size) < SMALLEST:
        raise UserError(f"speed: size {size[1]}x{size[0]}: expected sides of at least {SMALLEST} pixels")
    for model in models:  # a wrong one is told before anything is measured
        model.resolved
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scene.jpg"
        image, points = draw_scene(size, HEADS, np.random.default_rng(0))
        Image.fromarray(image).save(path, quality=95)
        scene = Scene("scene", read_image(path), points, None)
        work = pairs(scene, path)
        with Bar(total=len(work) + 2 * len(models), unit="part") as bar:
            parts = [_part(pair, bar) for pair in work]
            peaks = {precision: peak(precision) for precision in precisions}
            speeds = [speed for model in models for speed in _speeds(model, peaks, scene, path, bar)]
    return Report(provenance(), size, peaks, parts, speeds)


def _part(pair: Pair, bar: Bar) -> Part:
    bar.set_description(pair.what)
    ours, other = medians([timed(pair.ours), timed(pair.other)])
    bar.update()
    return Part(pair.what, ours, pair.other_way, other)


def _speeds(model: Component, peaks: dict[str, float], scene: Scene, path: Path, bar: Bar) -> list[Speed]:
    """Of one counter, from scratch, at each precision."""
    scratch = {"weights": "scratch"} if "weights" in model.resolved else {}
    counter, recipe = replace(model, given=model.given | scratch).build(), find("model", model.name).recipe
    found = []
    for what, size in (("train", trained_size(scene, recipe)), ("count", scene.size)):
        bar.set_description(f"{model.title} {what}")
        ways = [Training(counter, recipe, scene, precision) if what == "train" else Counting(counter, scene, precision)
                for precision in peaks]
        plain = [PlainTraining(counter, recipe, scene, path)] if what == "train" else []
        taken = dict(zip([*peaks, "plain"], medians([*ways, *plain])))
        for way, precision in zip(ways, peaks):
            seconds = taken[precision]
            found.append(Speed(model.title, what, precision, way.images, math.prod(size), seconds, way.flops,
                               way.flops / seconds / peaks[precision],
                               *(taken[other] / seconds if other in taken else None for other in ("fp32", "plain"))))
        bar.update()
    return found


def write(report: Report) -> Path:
    """Keep a report's speeds; they replace earlier ones of the same machine, model and precision. Returns the file.

    A file that is broken is replaced too: all in it can be measured again.
    """
    kept = _stored_stage()
    models = kept.setdefault(_name(report.machine), {})
    for one in report.speeds:
        models.setdefault(one.model, {}).setdefault(one.precision, {})[one.what] = one.pixels_per_s
    write_atomically(_file(), json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return _file()


def known() -> dict[tuple[str, str, str], float]:
    """Pixels per second of (model's title, precision, 'train' or 'count'), as far as measured on this machine."""
    models = _stored_stage().get(_name(provenance()), {})
    return {(model, precision, what): rate for model, precisions in models.items()
            for precision, rates in precisions.items() for what, rate in rates.items()}


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdbench" / "speed.json"


def _stored_stage() -> dict[str, dict[str, dict[str, dict[What, float]]]]:
    try:
        return FILE.validate_json(_file().read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _name(machine: dict[str, Any]) -> str:
    """What its speeds are kept under."""
    return f"{machine['device_name']}, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.2f} ms"
