"""Scaffolds: a file to start one's own defense from, and its test."""

import keyword
from importlib.resources import files
from pathlib import Path

from benchmark.registry import names
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically

TEMPLATES = files("benchmark") / "templates"


def write_new(template: str, name: str, folder: Path) -> list[Path]:
    """Write folder/NAME.py from a template and folder/test_NAME.py, and return the two paths.

    template: 'defense' or 'detector'.

    Raises:
        UserError: the name is not that of a module or is registered, or one of the files exists.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"new {name!r}: expected a name of lower-case letters, digits and _, "
                        "for instance my_defense")
    if name in names("defense"):
        raise UserError(f"new {name!r}: a defense of that name is registered; "
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
