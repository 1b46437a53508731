"""Checkpoints: the state dict in a file of any known format, and what stands beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.utils.errors import UserError, quoted, unknown_key
from benchmark.utils.tensors import read_tensors
from benchmark.weights.file_kinds import kind_of
from benchmark.weights.hdf5 import read_hdf5
from benchmark.weights.names import INNER, OUTER, listed
from benchmark.weights.npz import read_npz
from benchmark.weights.torch_file import WAY_OUT, check_size, read_torch

# Entries that hold a state dict, the first of them in a file before the others.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "net_state_dict",
            "model_state", "module", "generator", "params", "weights")
# Entries with a running average of the weights. They are taken where there is no other.
AVERAGES = ("model_ema", "ema", "state_dict_ema", "ema_state_dict", "model_ema_state_dict",
            "ema_model", "ema_model_state_dict", "model_state_dict_ema", "params_ema", "shadow")
# First parts of names beside those of OUTER and INNER that are not the network's.
BESIDE = (*AVERAGES, "criterion", "loss", "loss_fn", "loss_function", "n_averaged", "initted",
          "step")
PROFILES = ("total_ops", "total_params")  # last parts of names that the profiler thop leaves
DEEPEST = 6  # entries within each other
NUMPY = {"_reconstruct": "a numpy array", "scalar": "a numpy number"}  # functions of its pickles


@dataclass(frozen=True)
class Checkpoint:
    """The state dict in a file, and what was left.

    left_out: the entries and names beside the state dict, in the order of the file.
    taken: the entry that holds it, 'net.model'; '' for a file that is a state dict.
    others: entries beside it that hold tensors, too.
    """

    tensors: dict[str, Tensor]
    left_out: list[Any]
    taken: str = ""
    others: tuple[str, ...] = ()

    @property
    def choice(self) -> str:
        """Which of several entries was taken, for the line that describes the file; '' for one."""
        return f", {self.taken!r} and not {listed(self.others)}" if self.others else ""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors, torch, numpy .npz or HDF5 file by name.

    A checkpoint's wrapper around its state dict is left out.

    Raises:
        UserError: there is no such file, or it holds no state dict.
    """
    return read_checkpoint(Path(path)).tensors


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """The state dict in a file, and what is beside it.

    key: the entry that holds it, 'model_ema' or 'net.model'; None takes the one that scripts use.

    Raises:
        UserError: there is no such file, or it holds no state dict, or several that may be meant.
    """
    kind = kind_of(path)
    readers = {"npz": read_npz, "hdf5": read_hdf5,
               "safetensors": lambda path: read_tensors(path)[0]}
    content, classes = read_torch(path) if kind == "torch" else (readers[kind](path), [])
    if not isinstance(content, dict):
        raise UserError(f"weights {path}: expected a state dict of tensors, "
                        f"found {type(content).__name__}; {WAY_OUT}")
    found = _Search(path).state_dict(content, key)
    if not found.tensors:
        raise _nothing(path, content, classes)
    check_size(path, found.tensors)
    return found


def _nothing(path: Path, content: dict[Any, Any], classes: list[str]) -> UserError:
    """The error for a file without tensors, with its entries."""
    kinds = {key: NUMPY.get(type(value).__name__, type(value).__name__)
             for key, value in list(content.items())[:5]}
    entries = ", ".join(f"{quoted(key)}: {kind}" for key, kind in kinds.items())
    has = f"; the file has {entries}" if entries else ""
    if {*kinds.values()} & {*NUMPY.values()}:
        has += "; numpy's arrays are read from an .npz file, which numpy.savez writes"
    objects = (f"; expected a file of tensors only, not objects of {listed(classes)}; {WAY_OUT}"
               if classes else "")
    return UserError(f"weights {path}: expected a state dict of tensors, found none{has}{objects}")


@dataclass(frozen=True)
class _Search:
    """The search for the state dict in the content of a file."""

    path: Path

    def state_dict(self, content: dict[Any, Any], key: str | None) -> Checkpoint:
        """The state dict in an entry, or in the one that scripts use. Raises UserError."""
        taken, left_out, others = [], [], []
        if key is not None:
            taken, content = [key], self._entry(content, key)
        for _ in range(DEEPEST):
            known: dict[int, bool] = {}
            holders = [name for name, value in content.items()
                       if isinstance(name, str) and _holds(value, _is_weight, known)]
            name = self._chosen(content, holders)
            if name is None:
                break
            prefix = "".join(f"{part}." for part in taken)
            left_out += [f"{prefix}{other}" if prefix else other
                         for other in content if other != name]
            others += [f"{prefix}{other}" for other in holders if other != name]
            taken.append(name)
            content = content[name]
        tensors, beside = self._tensors(content)
        return Checkpoint(tensors, left_out + beside, ".".join(taken), tuple(others))

    def _chosen(self, content: dict[Any, Any], holders: list[str]) -> str | None:
        """The entry to go into; None if the content is itself the state dict.

        holders: the entries that hold weights. Raises UserError where several may be meant.
        """
        for name in (*WRAPPERS, *AVERAGES):
            if _holds(content.get(name), lambda value: isinstance(value, Tensor), {}):
                return name
        if any(map(_is_weight, content.values())) or not holders:
            return None
        if len(holders) > 1:
            raise UserError(f"weights {self.path}: several entries hold tensors: "
                            f"{listed(holders)}; expected one; `crowdbench convert {self.path} "
                            "OUT.safetensors --key NAME` takes the one that you name")
        return holders[0]

    def _entry(self, content: dict[Any, Any], key: str) -> dict[Any, Any]:
        """The entry with a name, or with one of each level joined by dots. Raises UserError."""
        if isinstance(content.get(key), dict):
            return content[key]
        for part in key.split("."):
            where = f"weights {self.path}: --key"
            if part not in content:
                raise unknown_key(where, part, map(str, list(content)[:20]))
            content = content[part]
            if not isinstance(content, dict):
                raise UserError(f"{where} {quoted(key)}: expected an entry with a state dict, "
                                f"found {type(content).__name__}")
        return content

    def _tensors(self, content: dict[Any, Any]) -> tuple[dict[str, Tensor], list[Any]]:
        """The network's tensors in a state dict, and the keys of all else. Raises UserError."""
        tensors = {key: value.detach() for key, value in content.items()
                   if isinstance(value, Tensor)}
        for key, value in tensors.items():
            if not isinstance(key, str) or not _is_dense(value):
                raise UserError(f"weights {self.path}: expected a state dict of tensors, found "
                                f"{quoted(key)}: {type(value).__name__}; names must be text, "
                                "and tensors dense, real and not quantised")
        kept = {key: tensors[key] for key in _networks_own(tensors)}
        return kept, [key for key in content if key not in kept]


def _networks_own(names: dict[str, Tensor]) -> list[str]:
    """The names that are the network's own: not a loss's, an average's or a profiler's."""
    own = [name for name in names if name.rpartition(".")[2] not in PROFILES]
    first_parts = {name.partition(".")[0] for name in own}
    wrapped = first_parts & {*OUTER, *INNER}
    if not wrapped or not first_parts <= wrapped | set(BESIDE):
        return own
    return [name for name in own if name.partition(".")[0] in wrapped]


def _holds(value: Any, is_wanted: Callable[[Any], bool], known: dict[int, bool],
           depth: int = DEEPEST) -> bool:
    """Whether a value is a dictionary of text keys that holds a wanted value, at any depth.

    known: answers for dictionaries by their `id`; a file may hold one at very many places.
    """
    if not isinstance(value, dict) or not depth:
        return False
    if id(value) not in known:
        known[id(value)] = False  # it may hold itself
        by_name = [inner for key, inner in value.items() if isinstance(key, str)]
        known[id(value)] = any(map(is_wanted, by_name)) or any(
            _holds(inner, is_wanted, known, depth - 1) for inner in by_name)
    return known[id(value)]


def _is_weight(value: Any) -> bool:
    """Whether a value may be the weight of a layer: not a single number, and no random state."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0


def _is_dense(tensor: Tensor) -> bool:
    """Whether safetensors can hold a tensor: dense, of real numbers that are in memory."""
    return (tensor.layout == torch.strided
            and not (tensor.is_quantized or tensor.is_meta or tensor.is_complex()))
