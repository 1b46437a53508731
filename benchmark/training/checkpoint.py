"""Weights and training state on disk: safetensors, one file, written to a temporary name and renamed. No pickle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from models.base import Counter


class Snapshot:
    """All that a training needs to go on: the weights, the best weights so far, and the state of what moves them."""

    def __init__(self, counter: "Counter", optimizer: torch.optim.Optimizer,
                 schedule: torch.optim.lr_scheduler.LRScheduler, scaler: "torch.amp.GradScaler | None"):
        self.counter, self.optimizer, self.schedule, self.scaler = counter, optimizer, schedule, scaler
        self.best: dict[str, Tensor] = {}

    def keep_best(self) -> None:
        """Remember the weights as they are now."""
        self.best = {name: tensor.detach().clone() for name, tensor in self.counter.state_dict().items()}

    def restore_best(self) -> None:
        """Put back the remembered weights, if any."""
        if self.best:
            self.counter.load_state_dict(self.best)

    def save(self, path: Path, progress: dict[str, Any]) -> None:
        """Write the snapshot and how far the training is."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"weights/{name}": tensor for name, tensor in self.counter.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"moments/{index}/{name}": torch.as_tensor(value)
                    for index, values in moments.items() for name, value in values.items() if value is not None}
        note = {"progress": progress, "schedule": _plain(self.schedule.state_dict()),
                "scaler": self.scaler.state_dict() if self.scaler else None}
        write_tensors(path, tensors, note)

    def load(self, path: Path) -> dict[str, Any]:
        """Put a saved snapshot back; returns how far its training was.

        Raises:
            UserError: the file is no snapshot, or is damaged.
        """
        try:
            tensors, note = read_tensors(path)
        except UserError:
            tensors, note = {}, {}
        if not note.keys() >= {"progress", "schedule", "scaler"}:
            raise UserError(f"{path}: expected the checkpoint of a training; remove it, and the training starts over")
        self.counter.load_state_dict(_under("weights/", tensors))
        self.best = _under("best/", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("moments/", tensors).items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.schedule.load_state_dict(note["schedule"])
        for group, lr in zip(groups, note["schedule"]["_last_lr"]):
            group["lr"] = lr
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.scaler and note["scaler"]:
            self.scaler.load_state_dict(note["scaler"])
        return note["progress"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state as JSON can hold it; what is left out, functions, its constructor makes again."""
    def is_plain(value: Any) -> bool:
        return all(map(is_plain, value)) if isinstance(value, list) else isinstance(value, int | float | str | None)

    return {key: value for key, value in state.items() if is_plain(value)}
