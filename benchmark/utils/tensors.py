"""Tensors on disk: safetensors with a JSON note. No pickle."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmark.utils.errors import UserError
from benchmark.utils.files import whole_file


def write_tensors(path: Path, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
    """Write tensors and a JSON note as one file, whole or not at all."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        temporary.write_bytes(save(plain, metadata={"note": json.dumps(note)}))  # a full disk is then an OSError


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote; a safetensors file of another program has an empty note.

    Raises:
        UserError: the file is missing or is not safetensors.
    """
    try:
        with safe_open(path, "pt") as file:
            note = _parsed((file.metadata() or {}).get("note", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, note
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights {path}: expected a safetensors file: {error}") from None


def _parsed(note: str) -> dict[str, Any]:
    """A note as `write_tensors` writes it; another program's, which may be any text, is as good as none."""
    try:
        parsed = json.loads(note)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
