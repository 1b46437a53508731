"""Tensor files: safetensors with a JSON note, without pickle."""

import json
import os
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmark.utils.errors import UserError
from benchmark.utils.files import whole_file


def write_tensors(path: Path, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
    """Write tensors and a JSON note to one file, as a whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            # Unlike `save`, it makes no second copy, and other threads work meanwhile.
            save_file(plain, temporary, metadata={"note": json.dumps(note)})
        except SafetensorError as error:
            raise _disk_error(error) or error from None
        if temporary.stat().st_mode != mode:  # its files are for their owner alone
            temporary.chmod(mode)


def _disk_error(error: SafetensorError) -> OSError | None:
    """The error of the disk behind one of safetensors, which only has its number in the message."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the note of a safetensors file.

    The note is empty if another program wrote the file.

    Raises:
        UserError: the file is missing or is not a safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            note = _parse_note((file.metadata() or {}).get("note", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights {path}: expected a safetensors file: {error}") from None
    return tensors, note


def _parse_note(text: str) -> dict[str, Any]:
    """The note of a file; empty if the text is no JSON object and so written by another program."""
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}
