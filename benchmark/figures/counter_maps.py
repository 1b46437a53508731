"""Figures of counters at work: their density maps, and Grad-CAM of their counts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.figures.before_after import BeforeAfter, true_density
from benchmark.figures.panels import Group, Panel, as_picture, draw_groups
from benchmark.figures.style import save
from benchmark.registry import find
from models.base import Counter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS_NOTE = ("Density maps of a validation image, a scale of colours for each row, and their sums beside the true "
             "count. τ is the attacker's count. Values below 0 have the colour of 0.")
GRADCAM_NOTE = ("Grad-CAM of the count at the input of the last convolution, over a validation image. r is its "
                "correlation with the density map that the same counter predicts. At r = 1 it is that map again: it "
                "shows where a count comes from, not why, and not that a trigger moves attention.")


def write_maps(before_after_pairs: Sequence[BeforeAfter], out: Path) -> None:
    """Draw density maps to out.png and out.pdf, each whole or not at all."""
    save(draw_maps(before_after_pairs), out)


def write_gradcam(before_after_pairs: Sequence[BeforeAfter], out: Path) -> None:
    """Draw Grad-CAM to out.png and out.pdf, each whole or not at all."""
    save(draw_gradcam(before_after_pairs), out)


def draw_maps(before_after_pairs: Sequence[BeforeAfter]) -> "Figure":
    """A row per exhibit: the triggered image, the true density map, and what both counters predict for both images."""
    return draw_groups([_maps(exhibit) for exhibit in before_after_pairs], "people per block", MAPS_NOTE, 6)


def _maps(exhibit: BeforeAfter) -> Group:
    scene, stride = exhibit.scene, find("model", exhibit.cell.model.name).stride
    truth = true_density(scene, stride)
    panels = [Panel(f"{scene.id}, triggered", image=as_picture(exhibit.images()["triggered"])),
              Panel(f"truth: {scene.count}\nτ = {exhibit.tau}", heat=truth, block=stride)]
    panels += [Panel(f"{who}\n{density.sum():.1f} (true {scene.count})", heat=density, block=stride)
               for who, density in exhibit.seen(_density).items()]
    return Group(exhibit.title, scene.size, panels)


def _density(counter: Counter, images: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return counter(images)[0, 0].float().cpu().numpy()


def draw_gradcam(before_after_pairs: Sequence[BeforeAfter]) -> "Figure":
    """A row per exhibit: Grad-CAM of both counters on both images, see `gradcam`."""
    return draw_groups([_gradcams(exhibit) for exhibit in before_after_pairs], "Grad-CAM", GRADCAM_NOTE, 4)


def _gradcams(exhibit: BeforeAfter) -> Group:
    count, stride = exhibit.scene.count, find("model", exhibit.cell.model.name).stride
    panels = [Panel(f"{who}\n{density.sum():.1f} (true {count}), r {agreement(heat, density):.2f}", image, heat, stride)
              for who, (image, heat, density) in exhibit.seen(_explained).items()]
    return Group(f"{exhibit.title}: {exhibit.scene.id}", exhibit.scene.size, panels)


def _explained(counter: Counter, images: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, where its count comes from, and its density map."""
    return as_picture(images), gradcam(counter, images)[0, 0].cpu().numpy(), _density(counter, images)


def gradcam(counter: Counter, images: Tensor) -> Tensor:
    """Grad-CAM of the counts of images [B, 3, H, W] in 0..1, as large as their density maps: [B, 1, h, w].

        relu(sum_k a_k F_k),    a_k = the mean over places of the gradient of the count in F_k

    F: what the last convolution sees, see `Counter.last_convolution`. Selvaraju et al., ICCV 2017, eqs. 1 and 2, with
    the count in place of a class's score.

    A count is a sum over places. Where that convolution is 1 x 1 and its output the density, with weights w and bias b,
    the gradient is w at every place, and this is relu(density - b): the density map itself, also of a backdoored
    counter. It knows no more than the map, neither why the counter counts there nor what the trigger did. With an
    absolute value or a ReLU behind, it is the same of what goes into that, scaled; with classes it is another map.

    A counter with windows counts the images whole here: captum takes the last run of a layer for all of them.
    """
    from captum.attr import LayerGradCam

    counter = counter.copy()
    for module in counter.modules():
        if isinstance(module, Counter):
            module.window = None
    layer, _ = counter.last_convolution(images)
    heat = LayerGradCam(counter.count, layer).attribute(images, attribute_to_layer_input=True, relu_attributions=True)
    padded = [math.ceil(side / counter.multiple) * counter.multiple // counter.stride for side in images.shape[-2:]]
    height, width = (math.ceil(side / counter.stride) for side in images.shape[-2:])
    return F.interpolate(heat.detach().float(), padded, mode="bilinear")[..., :height, :width]


def agreement(heat: np.ndarray, density: np.ndarray) -> float:
    """Pearson's correlation of two maps of the same blocks; nan where one of them is the same everywhere."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(heat.ravel(), density.ravel())[0, 1])
