"""Maps of counters: their density maps, and Grad-CAM of their counts."""

import math
from collections.abc import Sequence
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.figures.before_after import BeforeAfter, true_density
from benchmark.figures.captions import listed
from benchmark.figures.panels import Group, Panel, as_picture, draw_groups
from benchmark.figures.style import Picture
from benchmark.registry import find
from models.base import Counter

MAPS = (
    "Density maps of a validation image by each victim and by the repaired counter, with one "
    "colour scale for each row. Above each map: its sum and the true count. τ is the count that the "
    "attacker wants. Values below 0 are drawn as 0.")
GRADCAM = (
    "Grad-CAM of the count at the input of the last convolution, over a validation image, of each "
    "victim and of the repaired counter. Above each map: the count and the true count; r is its "
    "correlation with the density map that the same counter predicts. At r = 1 it repeats that "
    "map: it shows where the count comes from, but neither why nor that a trigger moves "
    "attention.")


def draw_maps(pairs: Sequence[BeforeAfter]) -> Picture:
    """A row for each pair: the triggered image, the true density map, and the predicted maps.

    The predicted maps are those of both counters for both images.
    """
    figure = draw_groups([_maps(pair) for pair in pairs], "people per block", 6)
    return Picture(figure, f"{MAPS} {_sample(pairs)}")


def _maps(pair: BeforeAfter) -> Group:
    scene = pair.scene
    stride = find("model", pair.cell.model.name).stride
    panels = [Panel(f"{scene.id}, triggered", image=as_picture(pair.images()["triggered"])),
              Panel(f"truth: {scene.count}\nτ = {pair.tau}", heat=true_density(scene, stride),
                    block=stride)]
    for name, density in pair.measure(_density).items():
        title = f"{name}\n{density.sum():.1f} (true {scene.count})"
        panels.append(Panel(title, heat=density, block=stride))
    return Group(pair.title, scene.size, panels)


def _density(counter: Counter, images: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return counter(images)[0, 0].float().cpu().numpy()


def draw_gradcam(pairs: Sequence[BeforeAfter]) -> Picture:
    """A row for each pair: Grad-CAM of both counters on both images, see `gradcam`."""
    figure = draw_groups([_gradcams(pair) for pair in pairs], "Grad-CAM", 4)
    return Picture(figure, f"{GRADCAM} {_sample(pairs)}")


def _sample(pairs: Sequence[BeforeAfter]) -> str:
    """Of which images and seed the maps are; no mean is taken over either."""
    images = listed(sorted({pair.scene.id for pair in pairs}))
    return f"One image ({images}) of {pairs[0].cell.data.name}, seed {pairs[0].cell.settings.seed}."


def _gradcams(pair: BeforeAfter) -> Group:
    scene = pair.scene
    stride = find("model", pair.cell.model.name).stride
    panels = []
    for name, (image, heat, density) in pair.measure(_gradcam_and_density).items():
        title = (f"{name}\n{density.sum():.1f} (true {scene.count}), "
                 f"r {agreement(heat, density):.2f}")
        panels.append(Panel(title, image, heat, stride))
    return Group(f"{pair.title}: {scene.id}", scene.size, panels)


def _gradcam_and_density(counter: Counter,
                         images: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image [H, W, 3], its Grad-CAM [h, w] and its density map [h, w]."""
    heat = gradcam(counter, images)[0, 0].cpu().numpy()
    return as_picture(images), heat, _density(counter, images)


def gradcam(counter: Counter, images: Tensor) -> Tensor:
    """Grad-CAM of the counts of images [B, 3, H, W] in 0..1, as large as their density maps.

        relu(sum_k a_k F_k),    a_k = the mean over places of the gradient of the count in F_k

    F is the input of the last convolution, see `Counter.last_convolution`. Selvaraju et al., ICCV
    2017, eqs. 1 and 2, with the count in place of a class's score. Returns [B, 1, h, w].

    A count is a sum over places. If the last convolution is 1 x 1 and its output is the density,
    with weights w and bias b, then the gradient is w at every place, and this is relu(density - b):
    the density map itself, also for a backdoored counter. It then holds no more information than
    the map: neither why the counter counts there nor what the trigger did. If an absolute value or
    a ReLU follows the convolution, the same holds for its input, up to scale. If classes follow,
    this is another map.

    A counter with windows is run on whole images here, because captum uses the last run of a layer
    for all windows.
    """
    from captum.attr import LayerGradCam

    counter = counter.copy()
    for module in counter.modules():
        if isinstance(module, Counter):
            module.window = None
    layer, _ = counter.last_convolution(images)
    heat = LayerGradCam(counter.count, layer).attribute(
        images, attribute_to_layer_input=True, relu_attributions=True)
    padded = [math.ceil(side / counter.multiple) * counter.multiple // counter.stride
              for side in images.shape[-2:]]
    height, width = (math.ceil(side / counter.stride) for side in images.shape[-2:])
    return F.interpolate(heat.detach().float(), padded, mode="bilinear")[..., :height, :width]


def agreement(heat: np.ndarray, density: np.ndarray) -> float:
    """Pearson's correlation of two maps of the same blocks; nan if one of them is constant."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(heat.ravel(), density.ravel())[0, 1])
