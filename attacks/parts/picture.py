"""Pictures: an image file that a trigger shows, resized to the image that is stamped."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.image_files import opened
from benchmark.utils.errors import UserError
from benchmark.utils.hashing import remembered_sha256


def read_picture(path: Path) -> np.ndarray:
    """Return an image file as uint8 [H, W, 3].

    Raises:
        ValueError: the file is not an image that can be read.
    """
    try:
        with opened(path) as image:
            return np.asarray(image.convert("RGB"))
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a readable image ({reason})") from None


def resized(path: Path, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return a picture in 0..1, resized to (H, W), [1, 3, H, W]."""
    return _resized(path, remembered_sha256(path), size, device)


@lru_cache(maxsize=8)  # not more: Part A has images of hundreds of sizes
def _resized(path: Path, sha256: str, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return a picture as `resized` does. sha256: of its file, so that a changed one is read."""
    pixels = torch.from_numpy(read_picture(path).copy()).to(device)
    picture = pixels.permute(2, 0, 1)[None].float() / 255
    fitted = F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
    return fitted.clamp(0, 1)


def _checked(path: Path | None) -> Path | None:
    """Return the path of a picture, which can be read. Raises ValueError."""
    if path is not None:
        read_picture(path)
    return path


# The setting of a picture: its path. None is the picture that lies beside the trigger.
Picture = Annotated[Path | None, AfterValidator(_checked)]
