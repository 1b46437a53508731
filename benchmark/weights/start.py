"""Initial weights: a counter that was just built is loaded from a download or a file."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import URLError

from torch import Tensor, nn

from benchmark.registry import build, find, resolve, settings_of
from benchmark.utils.errors import UserError, quoted
from benchmark.utils.hashing import PinnedFile, remembered_sha256, with_hash
from benchmark.weights.checkpoint import read_checkpoint, read_state_dict
from benchmark.weights.names import KeyMap, beside_each_other, part_for, renamed
from benchmark.weights.published import locate
from benchmark.weights.setting import checked_weights

WHOLE = "whole counter"  # the note on initial weights begins so if they are a trained counter's


def start_from(counter: nn.Module, weights: str | Path, front: nn.Module, front_name: str,
               pretrained: Callable[[], nn.Module], key_map: KeyMap,
               pretrained_name: str = "torchvision ImageNet",
               download: str | None = None) -> str:
    """Load the initial weights of a counter that was just built.

    weights: 'scratch' leaves the counter as it is. The path of a file loads a state dict of the
        whole counter or of its front end, from a safetensors, torch, numpy .npz or HDF5 file. The
        name of the download loads the front end from `pretrained()`.
    front, front_name: the front end, and the name of that attribute of the counter.
    key_map: the names in the counter for the beginnings of another program's keys. A beginning ends
        before a dot. None stands for a tensor that the counter does without. The prefixes of
        wrappers are dropped before; see `names`.
    pretrained_name: the name of the pretrained weights in the record.
    download: the name of the download. None, for older plugins: any text that is not the path of
        a file.
    Returns one line for the record that says where the weights came from.

    Raises:
        UserError: the setting is neither a name nor the path of a file, the download failed, the
            file is not a state dict, or its keys or shapes are not those of this counter.
    """
    weights = checked_weights(weights, download)
    if weights == "scratch":
        return "from scratch"
    if not isinstance(weights, Path):
        try:
            _load_front(front, pretrained().state_dict(), pretrained_name)
        except (URLError, OSError) as error:
            raise UserError(f"model.weights = {weights!r}: the download failed ({error}); expected "
                            "a network, model.weights=PATH or model.weights=scratch") from None
        return f"front end: {pretrained_name}"
    found = read_checkpoint(weights)
    own_names = [*counter.state_dict(), *front.state_dict()]
    tensors = renamed(found.tensors, key_map, weights, own_names)
    prefix = f"{front_name}."
    behind_front = {key for key in counter.state_dict() if not key.startswith(prefix)}
    if behind_front & tensors.keys() or not tensors.keys() & {*own_names}:
        load_tensors(counter, tensors, str(weights))
        return f"{WHOLE}: {described(weights)}{found.choice}"
    front_tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    _load_front(front, front_tensors, str(weights))
    return f"front end: {described(weights)}{found.choice}"


def start_whole(counter: nn.Module, weights: str | Path, key_map: KeyMap,
                added: Mapping[str, Tensor] = MappingProxyType({})) -> str:
    """Load the initial weights of a counter without a pretrained part: 'scratch' or a whole file.

    key_map: see `start_from`. added: tensors that files of another program do not hold.
    Returns and raises what `start_from` does.
    """
    weights = checked_weights(weights, "scratch")
    if not isinstance(weights, Path):
        return "from scratch"
    found = read_checkpoint(weights)
    tensors = renamed(found.tensors, key_map, weights, counter.state_dict())
    load_tensors(counter, {**added, **tensors}, str(weights), tensors)
    return f"{WHOLE}: {described(weights)}{found.choice}"


def trained(name: str, given: dict[str, Any], where: str) -> nn.Module:
    """A counter that somebody else trained: its setting `weights` is the file of a whole counter.

    where: the first word of the error messages.

    Raises:
        UserError: the counter has no setting `weights`, or that is not the file of a whole counter.
    """
    if "weights" not in settings_of(find("model", name)).model_fields:
        raise UserError(f"{where}: model {name!r} has no setting weights; "
                        "expected a counter that can be loaded from a file")
    weights = resolve("model", name, given)["weights"]
    if isinstance(weights, PinnedFile):
        weights = locate(weights)
    if not isinstance(weights, Path):  # anything else would start a download
        raise UserError(f"{where}: model.weights = {quoted(str(weights))}: "
                        f"expected the file of a whole trained {name}")
    counter = build("model", name, given)
    if not counter.weights_note.startswith(WHOLE):
        names = beside_each_other(read_state_dict(weights), counter.state_dict())
        raise UserError(f"{where}: model.weights = {str(weights)!r}: "
                        f"expected the file of a whole trained {name}; {names}")
    return counter


def described(path: Path) -> str:
    """A file as text for the record: its name and the first 12 digits of its SHA-256 hash."""
    return with_hash(path.name, remembered_sha256(path))


def load_tensors(module: nn.Module, tensors: dict[str, Tensor], source: str,
                 in_file: Iterable[str] | None = None) -> None:
    """Load all tensors of a module.

    in_file: the names of all tensors in the file, for the messages; by default those of `tensors`.

    Raises:
        UserError: a tensor is missing, has the wrong shape, or has no place in the module; the
            message names `source`, and shows names of the file beside the expected ones.
    """
    own = module.state_dict()
    # Files of old versions of torch have no `num_batches_tracked`; torch loads them all the same.
    missing = [key for key in own
               if key not in tensors and not key.endswith("num_batches_tracked")]
    unknown = [key for key in tensors if key not in own]
    names = beside_each_other(tensors if in_file is None else in_file, own)
    if missing:
        raise UserError(f"weights {source}: no tensor named {missing[0]!r} "
                        f"({len(missing)} missing); {names}")
    if unknown:
        raise UserError(f"weights {source}: no place for a tensor named {quoted(unknown[0])} "
                        f"({len(unknown)} too many); {names}")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"weights {source}: {str(error).splitlines()[-1].strip()}") from None


def _load_front(front: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load a front end from the tensors of a network that may have further layers."""
    load_tensors(front, part_for(front, tensors), source, tensors)
