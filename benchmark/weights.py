"""Weights: initial weights of a counter from a download or a file, and files of other programs.

Files are read as data only: nothing that is pickled in them is run.
"""

import hashlib
import math
import re
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from benchmark.registry import build, find, resolve, settings_of
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

WHOLE = "whole counter"  # the note on initial weights begins so if they are a trained counter's
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys of state dicts in checkpoints
# Limits of an .npz file.
NPZ_ARRAYS = 10_000
NPZ_BYTES = 4 * 2**30  # of all arrays together, unpacked
NPZ_RATIO = 100  # bytes unpacked for each byte of the file; trained weights are near 1
NPZ_NAME = re.compile(r"[\w./-]{1,200}\.npy", re.ASCII)
NPZ_DTYPES = (np.float16, np.float32, np.float64)


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
        whole counter or of its front end, from a safetensors file, a .pth file that holds only
        tensors, or a numpy .npz file of floating-point arrays. The name of the download loads the
        front end from `pretrained()`.
    front, front_name: the front end, and the name of that attribute of the counter.
    key_map: the names in the counter for the beginnings of another program's keys. A beginning ends
        before a dot. A leading 'module.' is dropped.
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
    """The tensors of a safetensors, torch or numpy .npz file by name.

    A checkpoint's wrapper around its state dict is left out.

    Raises:
        UserError: there is no such file, or it holds anything but tensors.
    """
    return _read_checkpoint(Path(path))[0]


def convert(source: str | Path, out: str | Path,
            model: str | None) -> tuple[dict[str, Tensor], list[Any]]:
    """Write the tensors of a torch file, a numpy .npz file or a safetensors file as safetensors.

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
    if _is_npz(path):
        return _read_npz(path), []
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


def _is_npz(path: Path) -> bool:
    """Whether a file is a zip archive whose first entry is a numpy array, whatever its name."""
    try:
        with path.open("rb") as file:
            header = file.read(30)  # of the first entry; bytes 26 and 27 are the length of its name
            name = file.read(int.from_bytes(header[26:28], "little"))
    except OSError:
        return False  # the other readers say what is wrong
    return header.startswith(b"PK\x03\x04") and name.endswith(b".npy")


def _read_npz(path: Path) -> dict[str, Tensor]:
    """The floating-point arrays of a numpy .npz file by name. Raises UserError.

    Nothing is unpacked before the sizes are checked that the archive declares, and an entry is
    never unpacked beyond its declared size.
    """
    tensors, where = {}, ""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size)
            for entry in entries:
                where = f"{entry.filename!r}: "
                tensors[entry.filename.removesuffix(".npy")] = _read_array(archive, entry)
    except Exception as error:  # a damaged file makes zipfile raise zlib.error, EOFError and others
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise UserError(f"weights {path}: expected a numpy .npz file of floating-point arrays: "
                        f"{where}{reason}") from None
    return tensors


def _check_entries(entries: list[zipfile.ZipInfo], file_size: int) -> None:
    """Check the number, the names and the declared sizes of the entries of an .npz file.

    Raises:
        ValueError: they are not those of a file of weights.
    """
    if len(entries) > NPZ_ARRAYS:
        raise ValueError(f"{len(entries):,} arrays are more than {NPZ_ARRAYS:,}")
    names = set()
    for entry in entries:
        if not NPZ_NAME.fullmatch(entry.filename):
            raise ValueError(f"the entry {entry.filename[:200]!r} is not the name of a tensor "
                             "and .npy")
        if entry.filename in names:
            raise ValueError(f"two entries are named {entry.filename!r}")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{entry.filename!r} is compressed by a method that numpy never uses")
        names.add(entry.filename)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > min(NPZ_BYTES, NPZ_RATIO * file_size):
        raise ValueError(f"its {file_size:,} bytes would unpack to {unpacked:,} bytes; the limits "
                         f"are {NPZ_RATIO} times its size and {NPZ_BYTES:,} bytes")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Tensor:
    """The array of an entry. Raises ValueError, or what zipfile raises for a damaged one."""
    with archive.open(entry) as file, warnings.catch_warnings(action="ignore"):
        read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                       (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        if version not in read_header:
            raise ValueError(f"the version of its format is {version}, expected (1, 0) or (2, 0)")
        shape, _, dtype = read_header[version](file)
        native = dtype.newbyteorder("=")
        if native not in NPZ_DTYPES:
            raise ValueError(f"it holds {str(dtype)[:100]}, expected float16, float32 or float64")
        declared = file.tell() + math.prod(shape) * dtype.itemsize
        if declared != entry.file_size:
            raise ValueError(f"it has {entry.file_size:,} bytes, but its header says {declared:,}")
    with archive.open(entry) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    return torch.from_numpy(array.astype(native, copy=False))


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
        name = key.removeprefix("module.")
        for theirs, ours in key_map.items():
            if f"{name}.".startswith(f"{theirs}."):
                name = ours + name.removeprefix(theirs)
                break
        if name in by_name:
            raise UserError(f"weights {source}: two tensors are named {name!r}; expected one")
        by_name[name] = tensor
    return by_name


def part_for(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a module has a place for."""
    return {key: tensors[key] for key in module.state_dict() if key in tensors}


def described(path: Path) -> str:
    """A file as text for the record: its name and the first 12 digits of its SHA-256 hash."""
    return f"{path.name} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _load_front(front: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load a front end from the tensors of a network that may have further layers."""
    load_tensors(front, part_for(front, tensors), source)


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
