"""The figure of triggers: one image stamped with every trigger, as a paper shows them."""

import math

from benchmark import registry
from benchmark.figures.style import COLUMN, STYLE, Picture, plain
from benchmark.figures.trigger_gallery import gallery_scene, stamp
from benchmark.metrics.image_quality import psnr

ACROSS = 4  # images in a line
LINE = 0.32  # inches: the height of a name and its PSNR
GAP = 0.08  # inches between images


def draw_trigger_panel() -> Picture:
    """The scene of the page of triggers, and its copy with each trigger at its default settings.

    The name and the PSNR in dB stand below each image.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    scene, heads = gallery_scene()
    names = registry.names("trigger")
    images = {"clean": scene} | {name: stamp(name, scene, heads) for name in names}
    across = min(ACROSS, len(images))
    rows = math.ceil(len(images) / across)
    width = 2 * COLUMN / across - GAP
    height = width * scene.shape[0] / scene.shape[1]
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure((2 * COLUMN, rows * (height + LINE)))
        panels = figure.subplots(rows, across, squeeze=False, gridspec_kw={
            "left": 0.005, "right": 0.995, "top": 0.995, "bottom": LINE / (rows * (height + LINE)),
            "wspace": GAP / width, "hspace": LINE / height}).flat
        for (name, image), axes in zip(images.items(), panels):
            below = "" if name == "clean" else f"\n{psnr(scene, image):.1f} dB"
            axes.imshow(image, interpolation="nearest")
            axes.text(0.5, -0.03, plain(name) + below, transform=axes.transAxes, ha="center",
                      va="top", linespacing=1.1)
            axes.set_axis_off()
        for axes in panels:  # the places that are left empty
            axes.set_axis_off()
    optimised = [name for name in names if registry.find("trigger", name).optimises]
    before = (f" An attack optimises the pattern of {', '.join(optimised)} first; here it is shown "
              "before that." if optimised else "")
    return Picture(figure, (
        f"Triggers: one drawn scene of {scene.shape[1]} x {scene.shape[0]} pixels with "
        f"{len(heads)} visible heads, and its copy with each of {len(names)} triggers at its "
        "default settings. Below each name: the PSNR of the copy, where more is less visible."
        f"{before} No counter and no seed of a training is involved."))
