"""Weights: initial weights of a counter from a download or a file, and files of other programs.

Files are read as data only: nothing that is pickled in them is run.
"""

import hashlib
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from benchmark.registry import build, find, resolve, settings_of
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

WHOLE = "whole counter"  # the note on initial weights begins so if they are a trained counter's
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys of state dicts in checkpoints


def weights_setting(download: str) -> Any:
    """The type of a counter's setting `weights`: a name, 'scratch', or the path of a file.

    download: the name for the download.
    A path must be that of a file that exists. It becomes a Path; the two words stay text.
    """
    return Annotated[str | Path, _validator(download)]


def _validator(download: str) -> AfterValidator:
    return AfterValidator(partial(_name_or_file, download))


def checked_weights(weights: str | Path, download: str | None) -> str | Path:
    """A setting `weights` in the form of `weights_setting`, for a counter that was built directly.

    download: the name of the download; None allows any, for plugins that do not say.

    Raises:
        UserError: the setting is neither a name nor the path of a file that exists.
    """
    try:
        return _name_or_file(download, weights)
    except ValueError as error:
        raise UserError(f"model.weights = {str(weights)!r}: {error}") from None


def _name_or_file(download: str | None, weights: str | Path) -> str | Path:
    """A setting `weights`: text if it is a name, a Path if it is a file. Raises ValueError."""
    if weights in (download, "scratch"):
        return weights
    if Path(weights).is_file():
        return Path(weights)
    if download is None:
        return weights
    raise ValueError(f"expected {download!r}, 'scratch', or the path of a file that exists")


# Written out, so that `crowdbench show` can read the type without importing this module.
Weights = Annotated[str | Path, _validator("imagenet")]
ClipWeights = Annotated[str | Path, _validator("openai")]


def start_from(counter: nn.Module, weights: str | Path, front: nn.Module, front_name: str,
               pretrained: Callable[[], nn.Module], key_map: dict[str, str],
               pretrained_name: str = "torchvision ImageNet",
               download: str | None = None) -> str:
    """Load the initial weights of a counter that was just built.

    weights: 'scratch' leaves the counter as it is. The path of a file loads a state dict of the
        whole counter or of its front end, from a safetensors file or a .pth file that holds only
        tensors. The name of the download loads the front end from `pretrained()`.
    front, front_name: the front end, and the name of that attribute of the counter.
    key_map: the names in the counter for the first parts of another program's keys. A leading
        'module.' is dropped.
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
    tensors = renamed(read_state_dict(weights), key_map, weights)
    prefix = f"{front_name}."
    behind_front = {key for key in counter.state_dict() if not key.startswith(prefix)}
    if behind_front & tensors.keys():
        load_tensors(counter, tensors, str(weights))
        return f"{WHOLE}: {described(weights)}"
    front_tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    _load_front(front, front_tensors, str(weights))
    return f"front end: {described(weights)}"


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
    counter = None
    if isinstance(weights, Path):  # anything else would start a download
        counter = build("model", name, given)
    if counter is None or not counter.weights_note.startswith(WHOLE):
        raise UserError(f"{where}: model.weights = {str(weights)!r}: "
                        f"expected the file of a whole trained {name}")
    return counter


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a torch file by name, without a checkpoint's wrapper.

    Raises:
        UserError: there is no such file, or it holds anything but tensors.
    """
    return _read_checkpoint(Path(path))[0]


def convert(source: str | Path, out: str | Path,
            model: str | None) -> tuple[dict[str, Tensor], list[Any]]:
    """Write the tensors of a torch file or a safetensors file as safetensors.

    model: the name of a counter. The file must hold a whole one, and the tensors are written under
        the counter's own names. None writes any tensors under the names they have.
    Returns the tensors that were written, and the keys of everything else in the file.

    Raises:
        UserError: `out` exists or is not named *.safetensors, or the file holds something else.
        OSError: `out` cannot be written; the error names it.
    """
    source, out = Path(source), Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"convert: {out}: expected a name that ends in .safetensors")
    if out.exists():
        raise UserError(f"convert: {out} exists; remove it, or give another name")
    tensors, left_out = _read_checkpoint(source)
    if model is None:
        tensors = renamed(tensors, {}, source)
    else:
        tensors = trained(model, {"weights": source}, "convert").state_dict()
    if not tensors:
        raise UserError(f"weights {source}: expected a state dict of tensors, found none")
    try:  # safetensors writes no tensors that share memory, so each is copied
        tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    except RuntimeError as error:  # an expanded view of a few numbers may be larger than the memory
        raise UserError(f"weights {source}: {str(error).splitlines()[0]}") from None
    write_tensors(out, tensors, {})
    return tensors, left_out


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], list[Any]]:
    """The tensors of a file by name, and the keys beside its state dict. Raises UserError."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[0], []
    content, left_out = _load_torch(path), []
    wrappers = []
    if isinstance(content, dict):
        wrappers = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
    if wrappers:
        left_out = [key for key in content if key != wrappers[0]]
        content = content[wrappers[0]]
    if not isinstance(content, dict):
        raise UserError(f"weights {path}: expected a state dict of tensors, "
                        f"found {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not _is_dense(value):
            raise UserError(f"weights {path}: expected a state dict of tensors, "
                            f"found {key!r}: {type(value).__name__}")
    return {key: tensor.detach() for key, tensor in content.items()}, left_out


def _load_torch(path: Path) -> Any:
    """The content of a torch file, if it holds only tensors and plain values. Raises UserError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the error message says enough
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise KeyError, struct.error and others
        reason = str(error).rpartition("WeightsUnpickler error: ")[2] or type(error).__name__
        # The sentences after the first explain how to run what is pickled in the file.
        first_sentence = reason.splitlines()[0].partition(". ")[0]
        raise UserError(f"weights {path}: expected a file of tensors only: "
                        f"{first_sentence}") from None


def _is_dense(value: Any) -> bool:
    """Whether safetensors can hold a value: a dense tensor of real numbers that are in memory."""
    return (isinstance(value, Tensor) and value.layout == torch.strided
            and not (value.is_quantized or value.is_meta or value.is_complex()))


def renamed(tensors: dict[str, Tensor], key_map: dict[str, str],
            source: str | Path) -> dict[str, Tensor]:
    """Another program's tensors under the names of this project. See `start_from` for `key_map`.

    Raises:
        UserError: two tensors get the same name; the message names `source`.
    """
    by_name: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        first, *rest = key.removeprefix("module.").split(".")
        name = ".".join([key_map.get(first, first), *rest])
        if name in by_name:
            raise UserError(f"weights {source}: two tensors are named {name!r}; expected one")
        by_name[name] = tensor
    return by_name


def described(path: Path) -> str:
    """A file as text for the record: its name and the first 12 digits of its SHA-256 hash."""
    return f"{path.name} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _load_front(front: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load a front end from the tensors of a network that may have further layers."""
    front_tensors = {key: tensor for key, tensor in tensors.items() if key in front.state_dict()}
    load_tensors(front, front_tensors, source)


def load_tensors(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load all tensors of a module.

    Raises:
        UserError: a tensor is missing or has the wrong shape; the message names `source`.
    """
    # Files of old versions of torch have no `num_batches_tracked`; torch loads them all the same.
    missing = [key for key in module.state_dict()
               if key not in tensors and not key.endswith("num_batches_tracked")]
    if missing:
        raise UserError(f"weights {source}: no tensor named {missing[0]!r} "
                        f"({len(missing)} missing)")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"weights {source}: {str(error).splitlines()[-1].strip()}") from None
