"""The page of triggers: a picture, the equation and the visibility of every trigger."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from attacks.parts.heads import call_with_heads
from benchmark import registry
from benchmark.data.scene_generator import draw_scene
from benchmark.metrics.image_quality import psnr, ssim
from benchmark.utils.errors import UserError
from benchmark.utils.files import whole_file, write_atomically

SCENE = (128, 192)  # pixels: three such scenes make a small file, even with noise
TRIGGERS = """# Triggers

Every trigger with its default settings on one drawn scene: the clean image, the stamped image, and
4 times their difference, in which grey means no change. PSNR and SSIM are those of this scene.
Made by `crowdbench figure triggers`.
"""


def write_triggers(page: Path) -> None:
    """Write a Markdown page of all triggers with their default settings.

    The picture of each trigger is written to PAGE/NAME.png, in a folder next to the page.

    Raises:
        UserError: the page does not end in .md.
        OSError: a file cannot be written.
    """
    if page.suffix != ".md":
        raise UserError(f"figure triggers: --out {page}: expected a file that ends in .md")
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    scene, heads = gallery_scene()
    gap = np.full((len(scene), 4, 3), 255, np.uint8)
    sections = [TRIGGERS]
    for name in registry.names("trigger"):
        stamped = stamp(name, scene, heads)
        difference = (128 + 4 * (stamped.astype(int) - scene)).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(np.hstack([scene, gap, stamped, gap, difference]))
        with whole_file(folder / f"{name}.png") as temporary:
            picture.save(temporary, "PNG", optimize=True)
        visibility = f"PSNR {psnr(scene, stamped):.1f} dB, SSIM {ssim(scene, stamped):.3f}."
        sections.append(_section(name, f"{folder.name}/{name}.png", visibility))
    write_atomically(page, "\n".join(sections))


def gallery_scene() -> tuple[np.ndarray, np.ndarray]:
    """The drawn scene of the page, and its heads. See `draw_scene`."""
    return draw_scene(SCENE, 80, np.random.default_rng(229))


def stamp(name: str, scene: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """A scene, uint8 [H, W, 3], stamped with a trigger that has its default settings.

    heads: those of the scene, [N, 2] as (x, y).
    """
    images = torch.from_numpy(scene).permute(2, 0, 1)[None] / 255
    trigger = registry.build("trigger", name, {})
    stamped = call_with_heads(trigger.stamp, images, heads=[torch.tensor(heads)])
    return (stamped.clamp(0, 1)[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _section(name: str, picture: str, visibility: str) -> str:
    """A trigger's section: the first line of its file, its visibility, settings and picture."""
    trigger = registry.find("trigger", name)
    source = inspect.getdoc(sys.modules[trigger.__module__]) or ""
    equation = re.sub(r"([\\`*_<&[~$])", r"\\\1", source.partition("\n")[0])  # no Markdown in it
    resolved = registry.resolve("trigger", name, {})
    settings = [f"{key} {value}" for key, value in resolved.items() if value is not None]
    notes = f"{visibility} Settings: {', '.join(settings) or 'none'}."
    if trigger.optimises:
        notes += " An attack optimises this pattern first; the picture shows it before that."
    image = f"![{name}: clean, stamped, difference]({picture})"
    return f"## {name}\n\n{equation}\n\n{notes}\n\n{image}\n"
