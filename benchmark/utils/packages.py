"""Packages: ours have short names, which the folders of other projects have, too.

Python looks for a package in the current folder first (`python -m benchmark`, `python -m pytest`)
and in PYTHONPATH. A folder `models` that lies there hides ours. `crowdbench` as a command looks in
neither the current folder nor that of a plugin.
"""

import os
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from benchmark.utils.errors import UserError, shown

OURS = ("attacks", "benchmark", "defenses", "models")
ROOT = Path(__file__).resolve().parents[2]
WAYS = ("go to another folder, or use `crowdbench` instead of `python -m benchmark` "
        "(`torchrun --no-python crowdbench ...`, `accelerate launch --no_python crowdbench ...`) "
        "and `crowdbench check FILE` instead of pytest")


def check_not_hidden() -> None:
    """Check that the names of our packages lead to ours.

    Raises:
        UserError: another folder or file comes first; the message names it, and what to do.
    """
    for name in OURS:
        spec = find_spec(name)
        place = spec and _place(spec)
        if not place or place.resolve() == ROOT / name:
            continue
        folder = place.parent
        raise UserError(f"{shown(place)} hides the package {name!r} of CrowdBackdoorBench; "
                        f"{_way_out(folder)}")


def import_ours() -> None:
    """Import our packages, before a folder is searched that could hide them.

    It is run by each worker of Ray when it starts: Ray lets workers search the folder in which the
    command was given.
    """
    for name in OURS:
        import_module(name)


def _place(spec: ModuleSpec) -> Path | None:
    """The folder of a package, or the file of a module."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _way_out(folder: Path) -> str:
    """Advice that keeps Python from looking in a folder, for the end of a message."""
    path = os.environ.get("PYTHONPATH", "")  # an empty entry is the current folder
    entries = path.split(os.pathsep) if path else []
    listed = [Path(entry or ".").resolve() for entry in entries]
    if folder.resolve() in listed:
        return f"expected a PYTHONPATH without {shown(folder)}"
    return WAYS
