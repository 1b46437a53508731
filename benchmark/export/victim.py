"""Victim files: the stored weights as they are, and a torch file with the public code's names."""

import shutil
from io import BytesIO
from pathlib import Path

import torch

from benchmark.config.cell import Component
from benchmark.pipeline.counter_files import WEIGHTS
from models.base import Counter

SAFETENSORS, TORCH = "victim.safetensors", "victim.pth"


def write_victim(folder: Path, counter: Counter, stored: Path) -> None:
    """Write a victim as safetensors and as a state dict of torch.

    stored: its folder in the store, whose weights are copied byte for byte.

    Raises:
        OSError: a file cannot be written.
    """
    shutil.copyfile(stored / WEIGHTS, folder / SAFETENSORS)
    tensors = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
               for name, tensor in counter.public_state().items()}
    buffer = BytesIO()  # and not the file, since torch raises no OSError on a full disk
    torch.save(tensors, buffer)
    (folder / TORCH).write_bytes(buffer.getvalue())


def conversion(counter: Counter, model: Component) -> str | None:
    """The command that turns the torch file into a file of this counter again.

    model: the counter's name and settings. None for a counter that is not read from a file.
    """
    if "weights" not in model.resolved:
        return None
    settings = model.changed | counter.public_settings()
    settings.pop("weights", None)
    flags = "".join(f" --set {name}={value}" for name, value in settings.items())
    return f"crowdbench convert {TORCH} again.safetensors --model {model.name}{flags}"
