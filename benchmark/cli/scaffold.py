"""Scaffolds: a file to start a component of one's own from, and its test."""

import keyword
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from benchmark.registry import names
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically

TEMPLATES = files("benchmark") / "templates"


@dataclass(frozen=True)
class Scaffold:
    """A template of `crowdbench new`, and the flags of a run with what is made from it.

    kinds: the kinds of its components. flags: those with which a run takes them. grid: the frozen
    grid whose entries they are; GRID-quick is its rehearsal on a laptop. for_entry: the flags that
    only an entry needs.
    """

    kinds: tuple[str, ...]
    flags: str
    grid: str = "attacks"
    for_entry: str = ""


KINDS = {
    "defense": Scaffold(("defense",), "--defense {0}", "standard", " --controls"),
    "detector": Scaffold(("defense",), "--defense {0}", "standard", " --controls"),
    "trigger": Scaffold(("trigger",), "--attack multiply --set attack.trigger={0}"),
    "target": Scaffold(("target",), "--attack {0}"),
    "attack": Scaffold(("trigger", "target"), "--attack {0} --set attack.trigger={0}"),
}


def write_new(template: str, name: str, folder: Path) -> list[Path]:
    """Write folder/NAME.py from a template and folder/test_NAME.py, and return the two paths.

    template: one of `KINDS`.

    Raises:
        UserError: the name is not that of a module or is registered, or one of the files exists.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"new {name!r}: expected a name of lower-case letters, digits and _, "
                        f"for instance my_{template}")
    for kind in KINDS[template].kinds:
        if name in names(kind):
            raise UserError(f"new {name!r}: a {kind} of that name is registered; "
                            "expected another name")
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
    """The commands that check a new component, compare it on a laptop, and run it for an entry."""
    scaffold, path = KINDS[template], shlex.quote(str(component))
    flags = f"{scaffold.flags.format(name)} --plugin {path}"
    return (f"check it:       crowdbench check {path}\n"
            f"on a laptop:    crowdbench run {scaffold.grid}-quick {flags}\n"
            f"for an entry:   crowdbench run {scaffold.grid} {flags}{scaffold.for_entry}")
