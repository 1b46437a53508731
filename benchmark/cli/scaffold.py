"""Scaffolds: a file to start a component of one's own from, and its test."""

import keyword
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

from benchmark.registry import names
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.packages import OURS

TEMPLATES = files("benchmark") / "templates"


@dataclass(frozen=True)
class Scaffold:
    """A template of `crowdbench new`, and the flags of a run with what is made from it.

    kinds: the kinds of its components. flags: those with which a run takes them. grids: the preset
    of each run that compares them with others, with further flags if any, by its purpose.
    """

    kinds: tuple[str, ...]
    flags: str
    grids: Mapping[str, str]


ATTACKS = {"on a laptop": "attacks-quick", "for an entry": "attacks"}
KINDS = {
    "defense": Scaffold(("defense",), "--defense {0}",
                        {"on a laptop": "standard-quick", "for an entry": "standard --controls"}),
    # Detectors have no rank, and so there are no entries of them.
    "detector": Scaffold(("defense",), "--defense {0}",
                         {"on a laptop": "standard-quick", "on a GPU": "standard"}),
    "inspector": Scaffold(("defense",), "--defense {0}",
                          {"on a laptop": "detection", "held out": "detection-held-out"}),
    "trigger": Scaffold(("trigger",), "--attack multiply --set attack.trigger={0}", ATTACKS),
    "target": Scaffold(("target",), "--attack {0}", ATTACKS),
    "attack": Scaffold(("trigger", "target"), "--attack {0} --set attack.trigger={0}", ATTACKS),
}


def write_new(template: str, name: str, folder: Path) -> list[Path]:
    """Write folder/NAME.py from a template and folder/test_NAME.py, and return the two paths.

    template: one of `KINDS`.

    Raises:
        UserError: the name is not that of a module, is registered, or is that of another module
            that Python imports, or one of the files exists.
    """
    if (not name.isidentifier() or keyword.iskeyword(name) or name != name.lower()
            or name.startswith("_")):
        raise UserError(f"new {name!r}: expected a name of lower-case letters, digits and _, "
                        f"for instance my_{template}")
    for kind in KINDS[template].kinds:
        if name in names(kind):
            raise UserError(f"new {name!r}: a {kind} of that name is registered; "
                            "expected another name")
    # A file base.py is no component in the package of its kind.
    if name in {"base", *OURS, *sys.stdlib_module_names, *packages_distributions()}:
        raise UserError(f"new {name!r}: Python or this project has a module of that name, which "
                        "the file would hide or be hidden by; expected another name")
    paths = {folder / f"{name}.py": f"{template}.txt", folder / f"test_{name}.py": "test.txt"}
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: the file exists already; expected another name, or a folder "
                            "(--out) without it")
    folder.mkdir(parents=True, exist_ok=True)
    class_name = name.title().replace("_", "")
    for path, source in paths.items():
        text = TEMPLATES.joinpath(source).read_text()
        write_atomically(path, text.replace("NAME", name).replace("CLASS", class_name))
    return list(paths)


def next_steps(template: str, name: str, component: Path) -> str:
    """The commands that check a new component and compare it with others, a line each."""
    scaffold, path = KINDS[template], shlex.quote(str(component))
    flags = f"{scaffold.flags.format(name)} --plugin {path}"
    lines = {"check it": f"crowdbench check {path}"}
    for title, grid in scaffold.grids.items():
        preset, _, more = grid.partition(" ")
        lines[title] = f"crowdbench run {preset} {flags} {more}".rstrip()
    return "\n".join(f"{title + ':':15} {command}" for title, command in lines.items())
