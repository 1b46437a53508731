"""Checkpoints: the weights and the state of a training in one safetensors file, without pickle."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from models.base import Counter


@dataclass
class Snapshot:
    """The state that a training resumes from: its weights, best weights and optimizer state.

    optimizer, schedule: torch's own, without Accelerate's wrappers.
    scaler: scales the gradients of fp16 training; None for other precisions.
    best: the weights of the best epoch so far, by name; empty where there are none.
    """

    counter: "Counter"
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: "torch.amp.GradScaler | None"
    best: dict[str, Tensor] = field(default_factory=dict)

    def keep_best(self) -> None:
        """Remember the present weights as the best ones."""
        weights = self.counter.state_dict()
        self.best = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def restore_best(self) -> None:
        """Put the best weights back into the counter, if there are any."""
        if self.best:
            self.counter.load_state_dict(self.best)

    def save(self, path: Path, progress: dict[str, Any]) -> None:
        """Write the snapshot and the progress of its training, as a whole file or not at all."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.counter.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                if value is not None:
                    tensors[f"moments/{index}/{name}"] = torch.as_tensor(value)
        note = {"progress": progress, "schedule": _json_values(self.schedule.state_dict()),
                "scaler": self.scaler.state_dict() if self.scaler else None}
        write_tensors(path, tensors, note)

    def load(self, path: Path) -> dict[str, Any]:
        """Restore a saved snapshot; returns the progress of its training.

        Raises:
            UserError: the file is no checkpoint, or it is damaged.
        """
        try:
            tensors, note = read_tensors(path)
        except UserError:
            tensors, note = {}, {}
        if not note.keys() >= {"progress", "schedule", "scaler"}:
            raise UserError(f"{path}: not a checkpoint or damaged; expected the checkpoint of a "
                            "training. Remove the file, and the training starts over")
        self.counter.load_state_dict(_with_prefix("weights/", tensors))
        self.best = _with_prefix("best/", tensors)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _with_prefix("moments/", tensors).items():
            index, _, key = name.partition("/")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.schedule.load_state_dict(note["schedule"])
        for group, learning_rate in zip(groups, note["schedule"]["_last_lr"]):
            group["lr"] = learning_rate
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if self.scaler and note["scaler"]:
            self.scaler.load_state_dict(note["scaler"])
        return note["progress"]


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, under the rest of their names."""
    return {name.removeprefix(prefix): tensor
            for name, tensor in tensors.items() if name.startswith(prefix)}


def _json_values(state: dict[str, Any]) -> dict[str, Any]:
    """The values of a schedule's state that JSON can hold.

    The others are functions, which the schedule's constructor makes again.
    """
    return {key: value for key, value in state.items() if _is_json_value(value)}


def _is_json_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json_value(element) for element in value)
    return isinstance(value, int | float | str | None)
