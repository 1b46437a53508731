"""Plugin sources: the file of a plugin and the local modules that it imports, as one hash."""

import ast
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from benchmark.utils.hashing import file_sha256
from benchmark.utils.packages import OURS, ROOT

IMPORT_BESIDE = "import_beside"  # see benchmark.utils.plugin_imports


def source_hash(path: Path) -> str:
    """12 hex digits of a hash of a plugin's file and of the local modules that it imports.

    Local modules are those that are neither installed nor part of Python or of this project; their
    own imports count, too. Without such modules it is the hash of the file alone.
    """
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in _sources(path)]
    if len(digests) == 1:
        return digests[0][:12]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


def module_hashes(path: Path) -> dict[Path, str]:
    """The hash of each local module that a plugin imports; see `source_hash`."""
    return {file: file_sha256(file) for file in _sources(path)[1:]}


def imported_beside(path: Path) -> set[str]:
    """The dotted names of the modules that a file imports by `import_beside(__file__, "name")`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and _called(node) == IMPORT_BESIDE and len(node.args) == 2:
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                names.add(name.value)
    return names


def hidden_by_ours(path: Path) -> dict[str, Path]:
    """The modules of ours that a plugin imports, where it might have meant another one beside it.

    It might have if the other one has the name of this module, and of what is imported from it.
    """
    imported, folder = set(_imported(path)), path.resolve().parent
    hidden = {}
    for module in sorted(imported):
        beside = module_file(folder, module)
        if module.partition(".")[0] not in OURS or not beside or _is_ours(beside):
            continue
        names = [name.rpartition(".")[2] for name in imported if name.startswith(f"{module}.")]
        text = beside.read_text(encoding="utf-8", errors="replace")
        meant = any(re.search(rf"\b{re.escape(name)}\b", text) for name in names) or not names
        if module_file(ROOT, module) and "." in module and meant:
            hidden[module] = beside
    return hidden


def module_file(folder: Path, module: str) -> Path | None:
    """The file of a module that lies in a folder; of a package its __init__.py. None if none is."""
    place = folder.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return None


def _sources(path: Path) -> list[Path]:
    """The file, and the files of the local modules that it imports, each once, in a fixed order."""
    plugin = path.resolve()
    files, waiting = [plugin], [plugin]
    while waiting:
        for file in sorted(set(_local_files(waiting.pop(), plugin.parent))):
            if file not in files:
                files.append(file)
                waiting.append(file)
    return [files[0], *sorted(files[1:])]


def _local_files(file: Path, folder: Path) -> Iterator[Path]:
    """The files of the local modules that a file imports. folder: that of the plugin."""
    inside = file.is_relative_to(folder) and file.relative_to(folder).parts[0] in OURS
    for module in _imported(file):
        if module.partition(".")[0] not in OURS:
            if found := _local_file(module):
                yield found
            continue
        for name in _with_parents(module):
            # Ours come first, but not for a file of a package that has the name of one of ours.
            if inside or not module_file(ROOT, name):
                yield from _beside(folder, name)
    for module in imported_beside(file):
        for name in _with_parents(module):
            yield from _beside(folder, name)
    yield from _imported_relatively(file)


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


def _imported_relatively(path: Path) -> Iterator[Path]:
    """The files that a file imports by `from .a import b` or `from . import a`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = f"{node.module}." if node.module else ""
            names = [node.module] if node.module else []
            names += [f"{start}{alias.name}" for alias in node.names]
            for name in names:
                for part in _with_parents(name):
                    yield from _beside(path.parents[node.level - 1], part)


def _beside(folder: Path, module: str) -> Iterator[Path]:
    """The file of a module in a folder, unless it is none or ours."""
    file = module_file(folder, module)
    if file and not _is_ours(file):
        yield file.resolve()


def _with_parents(module: str) -> list[str]:
    """'a.b.c' as a, a.b and a.b.c."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _called(node: ast.Call) -> str:
    """The name of a called function without its module."""
    return ast.unparse(node.func).rpartition(".")[2]


def _is_ours(file: Path) -> bool:
    return any(file.resolve().is_relative_to(ROOT / name) for name in OURS)


def _local_file(module: str) -> Path | None:
    """The file of a local module; None for any other module and for what is no module."""
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names:
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
