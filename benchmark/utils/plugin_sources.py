"""Plugin sources: the file of a plugin and the local modules that it imports, as one hash."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

OURS = ("attacks", "benchmark", "defenses", "models")


def source_hash(path: Path) -> str:
    """12 hex digits of a hash of a plugin's file and of the local modules that it imports.

    Local modules are those that are neither installed nor part of Python or of this project; their
    own imports count, too. Without such modules it is the hash of the file alone.
    """
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in _sources(path)]
    if len(digests) == 1:
        return digests[0][:12]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


def _sources(path: Path) -> list[Path]:
    """The file, and the files of the local modules that it imports, each once, in a fixed order."""
    files, waiting = [path.resolve()], [path]
    while waiting:
        for module in sorted(set(_imported(waiting.pop()))):
            file = _local_file(module)
            if file is not None and file not in files:
                files.append(file)
                waiting.append(file)
    return [files[0], *sorted(files[1:])]


def _imported(path: Path) -> Iterator[str]:
    """The dotted names of the modules that a file imports, also inside functions.

    `from a import b` gives both a and a.b, because b may be a module.
    """
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _local_file(module: str) -> Path | None:
    """The file of a local module; None for any other module and for what is no module."""
    parts = module.split(".")
    if parts[0] in OURS or parts[0] in sys.stdlib_module_names:
        return None
    origin, path = None, None
    for end in range(1, len(parts) + 1):  # nothing is imported, as importlib.util.find_spec would
        spec = PathFinder.find_spec(".".join(parts[:end]), path)
        if spec is None or (end < len(parts) and spec.submodule_search_locations is None):
            return None
        origin, path = spec.origin, spec.submodule_search_locations
    if not origin or not origin.endswith(".py"):
        return None
    file = Path(origin).resolve()
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return None if installed & {*file.parents} else file
