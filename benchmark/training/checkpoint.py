"""Checkpoints: the weights and the state of a training in one safetensors file, without pickle."""

import copy
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from benchmark.utils.errors import UserError
from benchmark.utils.signals import unbroken
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

    def copied(self, progress: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and the note of a checkpoint, copied to the CPU's memory.

        They stay as they are while the training goes on.

        progress: the progress of the training.
        """
        tensors = {f"weights/{name}": tensor for name, tensor in self.counter.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                if value is not None:
                    tensors[f"moments/{index}/{name}"] = torch.as_tensor(value)
        note = {"progress": progress, "schedule": _json_values(self.schedule.state_dict()),
                "scaler": self.scaler.state_dict() if self.scaler else None}
        copies = {name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
                  for name, tensor in tensors.items()}
        return copies, copy.deepcopy(note)

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


class CheckpointWriter:
    """The checkpoints of one training, written by a thread while the training goes on.

    At most one is being written at a time. As a context, it ends when the last write has, so that
    no write comes into the folder of a training that has ended or starts over.

    path: None writes none.
    seconds: from the end of a write, or from the start of the training, until the next checkpoint
        is due. With 0, one is due after every epoch, for which the training waits.
    epoch: the epoch that the file holds; 0 if there is no file.
    """

    def __init__(self, path: Path | None, seconds: float, epoch: int):
        self.path = path
        self.seconds = seconds
        self.epoch = epoch
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None
        self._idle_since = time.monotonic()

    def is_due(self) -> bool:
        """Whether a checkpoint should be written now.

        Raises:
            OSError: the last one could not be written.
        """
        if self.path is None:
            return False
        if self.seconds > 0 and self._writing is not None and not self._writing.done():
            return False
        self.wait()
        return time.monotonic() - self._idle_since >= self.seconds

    def write(self, tensors: dict[str, Tensor], note: dict[str, Any], epoch: int) -> None:
        """Begin to write the checkpoint of an epoch, which replaces the one before.

        tensors, note: copies that nobody changes; see `Snapshot.copied`.
        """
        self.wait()
        with unbroken():  # a signal must not come between a thread's start and the note of it
            self._writing = self._thread.submit(self._write, tensors, note, epoch)

    def wait(self) -> None:
        """Wait until the last write has ended. Raises the OSError of one that failed."""
        if self._writing is not None:
            self._writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        with unbroken():  # a signal stops the run when the file is whole
            self._thread.shutdown()
        if error_type is None:
            self.wait()

    def _write(self, tensors: dict[str, Tensor], note: dict[str, Any], epoch: int) -> None:
        write_tensors(self.path, tensors, note)
        self.epoch = epoch
        self._idle_since = time.monotonic()


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
