"""Where a counter's initial weights come from: a download, a file, or nowhere. Files are data: no pickle is run."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.error import URLError

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from benchmark.checkpoint import read_tensors
from benchmark.errors import UserError


def _existing(weights: str | Path) -> str | Path:
    if weights in ("imagenet", "scratch"):
        return weights
    if not Path(weights).is_file():
        raise ValueError("expected 'imagenet', 'scratch', or the path of a file that exists")
    return Path(weights)


Weights = Annotated[str | Path, AfterValidator(_existing)]  # the type of a counter's setting `weights`


def start_from(counter: nn.Module, weights: str | Path, front: nn.Module, front_name: str,
               pretrained: Callable[[], nn.Module], key_map: dict[str, str]) -> str:
    """Give a fresh counter its initial weights; returns one line for the record that says which.

    weights: 'scratch' leaves it as it is; 'imagenet' loads `pretrained()` into the front end; anything else is the path
    of a state dict (safetensors, or a .pth that holds tensors only) of the whole counter or of its front end.
    key_map: what the first part of another code's key is called here; a leading 'module.' does not count.

    Raises:
        UserError: the download failed, the file is not a state dict, or its keys or shapes are not this counter's.
    """
    if weights == "scratch":
        return "from scratch"
    if weights == "imagenet":
        try:
            _load_front(front, pretrained().state_dict(), "torchvision's ImageNet weights")
        except (URLError, OSError) as error:
            raise UserError(f"model.weights = 'imagenet': the download failed ({error}); expected a network, "
                            "model.weights=PATH or model.weights=scratch") from None
        return "front end: torchvision ImageNet"
    path = Path(weights)
    found = {_renamed(key, key_map): tensor for key, tensor in read_state_dict(path).items()}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    prefix = f"{front_name}."
    if any(key in counter.state_dict() and not key.startswith(prefix) for key in found):
        _load(counter, found, str(path))
        return f"whole counter: {path.name} sha256 {digest}"
    inner = {key.removeprefix(prefix): tensor for key, tensor in found.items()}
    _load_front(front, inner, str(path))
    return f"front end: {path.name} sha256 {digest}"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch file, by name; a 'state_dict' wrapper is undone.

    Raises:
        UserError: no such file, or it holds anything but tensors.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a damaged file torch raises KeyError, IndexError, struct.error and more
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"weights {path}: expected 'imagenet', 'scratch', or a file of tensors only: {first}") from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"weights {path}: expected a state dict of tensors")
    return loaded


def _renamed(key: str, key_map: dict[str, str]) -> str:
    first, *rest = key.removeprefix("module.").split(".")
    return ".".join([key_map.get(first, first), *rest])


def _load_front(front: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load a front end from a network that may go on behind it."""
    _load(front, {key: tensor for key, tensor in tensors.items() if key in front.state_dict()}, source)


def _load(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    missing = [key for key in module.state_dict() if key not in tensors]
    if missing:
        raise UserError(f"weights {source}: no tensor named {missing[0]!r} ({len(missing)} missing)")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"weights {source}: {str(error).splitlines()[-1].strip()}") from None
