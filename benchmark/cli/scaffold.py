"""A file to start a defense of one's own from, and its test."""

import keyword
from importlib.resources import files
from pathlib import Path

from benchmark.registry import names
from benchmark.utils.errors import UserError

TEMPLATES = files("benchmark") / "templates"


def write_new(template: str, name: str, folder: Path) -> list[Path]:
    """Write folder/NAME.py from a template ('defense' or 'detector') and folder/test_NAME.py; returns their paths.

    Raises:
        UserError: the name cannot be that of a module or is taken, or one of the files is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"new {name!r}: expected a name of lower-case letters, digits and _, for instance my_defense")
    if name in names("defense"):
        raise UserError(f"new {name!r}: there is a defense of that name; expected another")
    paths = {folder / f"{name}.py": f"{template}.txt", folder / f"test_{name}.py": "test.txt"}
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: is there already; expected a name or a folder (--out) without it")
    folder.mkdir(parents=True, exist_ok=True)
    for path, source in paths.items():
        text = TEMPLATES.joinpath(source).read_text()
        path.write_text(text.replace("NAME", name).replace("CLASS", name.title().replace("_", "")))
    return list(paths)
