"""Conversion: a file of another program is written as safetensors."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from benchmark.utils.errors import UserError
from benchmark.utils.tensors import write_tensors
from benchmark.weights.checkpoint import Checkpoint, read_checkpoint
from benchmark.weights.names import listed, renamed
from benchmark.weights.start import trained


def convert(source: str | Path, out: str | Path, model: str | None,
            key: str | None = None,
            settings: dict[str, Any] | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Write the tensors of a torch, numpy .npz, HDF5 or safetensors file as safetensors.

    model: the name of a counter. The file must hold a whole one, and the tensors are written under
        the counter's own names. None writes any tensors under the names they have, without the
        prefixes of wrappers.
    key: the entry of a checkpoint that holds the tensors, for instance 'model_ema'; None takes the
        one that training scripts use.
    settings: settings of the counter, for instance its width.
    Returns the tensors that were written, and lines that say what was taken and left out.

    Raises:
        UserError: `out` exists or is not named *.safetensors, `settings` name other weights, or
            the file holds something else.
        OSError: `out` cannot be written; the error names it.
    """
    source, out = Path(source), Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"convert: {out}: expected a name that ends in .safetensors")
    if out.exists():
        raise UserError(f"convert: {out} exists; remove it, or give another name")
    if "weights" in (settings or {}):
        raise UserError(f"convert: --set weights: the weights are those of {source}; leave it out")
    if settings and model is None:
        raise UserError("convert: --set changes a setting of a counter; expected --model NAME, too")
    found = read_checkpoint(source, key)
    if model is None:
        tensors = renamed(found.tensors, {}, source)
    elif key is None:
        given = {**(settings or {}), "weights": source}
        tensors = trained(model, given, "convert").state_dict()
    else:
        tensors = _whole_counter(model, settings or {}, source, found)
    try:  # safetensors writes no tensors that share memory, so each is copied
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    except RuntimeError as error:  # the tensors may be larger than the memory
        raise UserError(f"weights {source}: {str(error).splitlines()[0]}") from None
    write_tensors(out, tensors, {})
    return tensors, _notes(found, tensors)


def _whole_counter(model: str, settings: dict[str, Any], source: Path,
                   found: Checkpoint) -> dict[str, Tensor]:
    """The tensors of an entry under the names of a counter, which reads them from a file of theirs.

    Raises:
        UserError: they are not those of a whole counter.
    """
    with TemporaryDirectory() as folder:
        entry = Path(folder) / f"{source.name}.safetensors"
        tensors = {name: tensor.clone() for name, tensor in found.tensors.items()}
        write_tensors(entry, tensors, {})
        try:
            return trained(model, {**settings, "weights": entry}, "convert").state_dict()
        except UserError as error:
            named = f"{source} (entry {found.taken})"
            raise UserError(str(error).replace(str(entry), named)) from None


def _notes(found: Checkpoint, tensors: dict[str, Tensor]) -> list[str]:
    """Lines that say which entry was taken of several, what was not, and what cannot be weights."""
    notes = []
    if found.others:
        notes.append(f"taken: {found.taken!r} and not {listed(found.others)}; "
                     "--key NAME takes another")
    if found.left_out:
        notes.append(f"left out: {listed(found.left_out)}")
    endless = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if endless:
        notes.append(f"nan or infinity in {listed(endless)}: a counter with these weights counts "
                     "no people")
    return notes
