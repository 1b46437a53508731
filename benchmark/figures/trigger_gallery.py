"""A page with a picture of every trigger."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmark import registry
from benchmark.data.scene_generator import draw_scene
from benchmark.metrics.image_quality import psnr, ssim
from benchmark.utils.errors import UserError
from benchmark.utils.files import whole_file, write_atomically

SCENE = (128, 192)  # pixels: three of them with all their colours are a small file, with noise too
TRIGGERS = """# Triggers

Every trigger at its defaults on one drawn scene: the clean image, the stamped one, and 4 times their difference, where
grey is no change. PSNR and SSIM are of this scene. Made by `crowdbench figure triggers`.
"""


def write_triggers(page: Path) -> None:
    """Write a Markdown page of all triggers at their defaults, and a picture of each to PAGE/NAME.png beside it.

    Raises:
        UserError: the page does not end in .md.
        OSError: a file cannot be written.
    """
    if page.suffix != ".md":
        raise UserError(f"figure triggers: --out {page}: expected a file that ends in .md")
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    scene, _ = draw_scene(SCENE, 80, np.random.default_rng(229))
    parts = [TRIGGERS]
    for name in registry.names("trigger"):
        stamped = _stamped(name, scene)
        difference = (128 + 4 * (stamped.astype(int) - scene)).clip(0, 255).astype(np.uint8)
        gap = np.full((len(scene), 4, 3), 255, np.uint8)
        with whole_file(folder / f"{name}.png") as temporary:
            Image.fromarray(np.hstack([scene, gap, stamped, gap, difference])).save(temporary, "PNG", optimize=True)
        parts.append(_section(name, f"{folder.name}/{name}.png", psnr(scene, stamped), ssim(scene, stamped)))
    write_atomically(page, "\n".join(parts))


def _stamped(name: str, scene: np.ndarray) -> np.ndarray:
    """A scene, uint8 [H, W, 3], with a trigger at its defaults."""
    images = torch.from_numpy(scene).permute(2, 0, 1)[None] / 255
    stamped = registry.build("trigger", name, {}).stamp(images).clamp(0, 1)[0]
    return (stamped * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _section(name: str, picture: str, ratio: float, similarity: float) -> str:
    """What a trigger is by the first line of its file, how visible, its settings and its picture."""
    source = inspect.getdoc(sys.modules[registry.find("trigger", name).__module__]) or ""
    line = re.sub(r"([\\`*_<&[~$])", r"\\\1", source.partition("\n")[0])  # no formatting in an equation
    settings = [f"{key} {value}" for key, value in registry.resolve("trigger", name, {}).items() if value is not None]
    told = f"PSNR {ratio:.1f} dB, SSIM {similarity:.3f}. Settings: {', '.join(settings) or 'none'}."
    if registry.find("trigger", name).optimises:
        told += " An attack optimises the pattern first; here it is not."
    return f"## {name}\n\n{line}\n\n{told}\n\n![{name}: clean, stamped, difference]({picture})\n"
