"""Where a counter's weights come from: a download, a file, or nowhere. Files are data: no pickle is run."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from benchmark.registry import build, find, resolve, settings_of
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

WHOLE = "whole counter"  # how the note of weights begins that leave nothing to train
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put a state dict


def weights_setting(download: str) -> Any:
    """The type of a counter's setting `weights`: the word for its download, 'scratch', or the path of a file.

    A path that exists becomes a Path; the two words stay text.
    """
    def check(weights: str | Path) -> str | Path:
        if weights in (download, "scratch"):
            return weights
        if not Path(weights).is_file():
            raise ValueError(f"expected {download!r}, 'scratch', or the path of a file that exists")
        return Path(weights)

    return Annotated[str | Path, AfterValidator(check)]


Weights, ClipWeights = weights_setting("imagenet"), weights_setting("openai")


def start_from(counter: nn.Module, weights: str | Path, front: nn.Module, front_name: str,
               pretrained: Callable[[], nn.Module], key_map: dict[str, str],
               pretrained_name: str = "torchvision ImageNet") -> str:
    """Give a fresh counter its initial weights; returns one line for the record that says which.

    weights: as `weights_setting` gives it. 'scratch' leaves the counter as it is; a Path is a state dict (safetensors,
    or a .pth that holds tensors only) of the whole counter or of its front end; any other word loads `pretrained()`,
    which the record calls `pretrained_name`, into the front end.
    key_map: what the first part of another code's key is called here; a leading 'module.' does not count.

    Raises:
        UserError: the download failed, the file is not a state dict, or its keys or shapes are not this counter's.
    """
    if weights == "scratch":
        return "from scratch"
    if not isinstance(weights, Path):
        try:
            _load_front(front, pretrained().state_dict(), pretrained_name)
        except (URLError, OSError) as error:
            raise UserError(f"model.weights = {weights!r}: the download failed ({error}); expected a network, "
                            "model.weights=PATH or model.weights=scratch") from None
        return f"front end: {pretrained_name}"
    found = renamed(read_state_dict(weights), key_map, weights)
    prefix = f"{front_name}."
    if any(key in counter.state_dict() and not key.startswith(prefix) for key in found):
        load_tensors(counter, found, str(weights))
        return f"{WHOLE}: {described(weights)}"
    inner = {key.removeprefix(prefix): tensor for key, tensor in found.items()}
    _load_front(front, inner, str(weights))
    return f"front end: {described(weights)}"


def trained(name: str, given: dict[str, Any], where: str) -> nn.Module:
    """A counter as somebody trained it: its setting `weights` is the file of a whole one.

    where: the first word of the errors.

    Raises:
        UserError: the counter has no setting `weights`, or that is not the file of a whole counter.
    """
    if "weights" not in settings_of(find("model", name)).model_fields:
        raise UserError(f"{where}: model {name!r} reads no file; expected a counter with the setting weights")
    weights = resolve("model", name, given)["weights"]
    counter = build("model", name, given) if isinstance(weights, Path) else None  # no download to refuse it
    if counter is None or not counter.weights_note.startswith(WHOLE):
        raise UserError(f"{where}: model.weights = {str(weights)!r}: expected the file of a whole trained {name}")
    return counter


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch file, by name; a training script's wrapper is undone.

    Raises:
        UserError: no such file, or it holds anything but tensors.
    """
    return _unwrapped(path)[0]


def convert(source: Path, out: Path, model: str | None) -> tuple[dict[str, Tensor], list[Any]]:
    """Write the tensors of a torch or safetensors file as safetensors.

    model: a counter; the file must hold a whole one, and its tensors get the names that they have here.
    Returns what was written, and the names of what the file holds beside it.

    Raises:
        UserError: `out` is there already or not named *.safetensors, or the file holds something else.
        OSError: naming `out`, where it cannot be written.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"convert: {out}: expected a name that ends in .safetensors")
    if out.exists():
        raise UserError(f"convert: {out} exists; remove it, or give another name")
    found, left_out = _unwrapped(source)
    tensors = trained(model, {"weights": source}, "convert").state_dict() if model else renamed(found, {}, source)
    if not tensors:
        raise UserError(f"weights {source}: expected a state dict of tensors, found none")
    try:
        tensors = {key: tensor.clone() for key, tensor in tensors.items()}  # safetensors refuses shared memory
    except RuntimeError as error:  # a view of a few numbers may pose as more than memory holds
        raise UserError(f"weights {source}: {str(error).splitlines()[0]}") from None
    write_tensors(out, tensors, {})
    return tensors, left_out


def _unwrapped(path: Path) -> tuple[dict[str, Tensor], list[Any]]:
    """The tensors of a file by name, and the names of what its wrapper holds beside them. Raises UserError."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[0], []
    loaded, left_out = _load_torch(path), []
    wrapper = next((key for key in WRAPPERS if isinstance(loaded, dict) and isinstance(loaded.get(key), dict)), None)
    if wrapper:
        left_out = [key for key in loaded if key != wrapper]
        loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise UserError(f"weights {path}: expected a state dict of tensors, found {type(loaded).__name__}")
    for key, value in loaded.items():
        if not isinstance(key, str) or not _is_dense(value):
            raise UserError(f"weights {path}: expected a state dict of tensors, found {key!r}: {type(value).__name__}")
    return {key: tensor.detach() for key, tensor in loaded.items()}, left_out


def _load_torch(path: Path) -> Any:
    """What a torch file holds, tensors and plain values only. Raises UserError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the refusal says it
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a damaged file torch raises KeyError, IndexError, struct.error and more
        reason = str(error).rpartition("WeightsUnpickler error: ")[2] or type(error).__name__
        first = reason.splitlines()[0].partition(". ")[0]  # the rest tells how to run it all the same
        raise UserError(f"weights {path}: expected a file of tensors only: {first}") from None


def _is_dense(value: Any) -> bool:
    """Whether it is a tensor of real numbers that are all there, as safetensors can hold it."""
    return (isinstance(value, Tensor) and value.layout == torch.strided
            and not (value.is_quantized or value.is_meta or value.is_complex()))


def renamed(tensors: dict[str, Tensor], key_map: dict[str, str], source: Path) -> dict[str, Tensor]:
    """Another code's tensors by our names; see `start_from`. Raises UserError where two get the same name."""
    named: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        first, *rest = key.removeprefix("module.").split(".")
        name = ".".join([key_map.get(first, first), *rest])
        if name in named:
            raise UserError(f"weights {source}: two tensors are named {name!r}; expected one")
        named[name] = tensor
    return named


def described(path: Path) -> str:
    """A file for the record: its name and the first digits of its hash."""
    return f"{path.name} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _load_front(front: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load a front end from a network that may go on behind it."""
    load_tensors(front, {key: tensor for key, tensor in tensors.items() if key in front.state_dict()}, source)


def load_tensors(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load all of a module's tensors. Raises UserError naming `source` where one is missing or does not fit."""
    missing = [key for key in module.state_dict() if key not in tensors and not key.endswith("num_batches_tracked")]
    if missing:
        raise UserError(f"weights {source}: no tensor named {missing[0]!r} ({len(missing)} missing)")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"weights {source}: {str(error).splitlines()[-1].strip()}") from None
