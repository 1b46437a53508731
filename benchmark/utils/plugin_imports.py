"""Imports of plugins: what lies beside a plugin, also packages that are named like ours.

A plugin imports our modules (`from models.base import Counter`) and its own ones. Where both have
a module of one name, ours comes first; `import_beside` imports the other one.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from benchmark.utils.errors import UserError, quoted, shown
from benchmark.utils.packages import OURS, ROOT
from benchmark.utils.plugin_sources import hidden_by_ours, imported_beside, module_file

# The modules of packages that are named like ours, by the folder that holds these packages.
_beside: dict[Path, dict[str, ModuleType]] = {}


def make_importable(plugin: Path) -> None:
    """Let a plugin import the modules beside it. What is installed, and ours, comes first."""
    folder = plugin.resolve().parent
    for name in OURS:
        package = importlib.import_module(name)  # ours, before the folder is looked into
        beside = folder / name
        if beside.is_dir() and beside != ROOT / name and str(beside) not in package.__path__:
            package.__path__.append(str(beside))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def collision_notes(plugin: Path) -> list[str]:
    """A line for each module of ours that a plugin imports and might have meant another by."""
    return [f"plugin {shown(plugin)}: {module} is that of CrowdBackdoorBench, not "
            f"{shown(file)}; import_beside(__file__, {module!r}) imports the latter"
            for module, file in hidden_by_ours(plugin).items()]


def import_hint(plugin: Path, error: BaseException) -> str:
    """Advice to use `import_beside` after a failed import; '' where it would not help."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if package not in OURS or not (plugin.resolve().parent / package).is_dir():
        return ""
    return (f"; {package!r} is a package of CrowdBackdoorBench, and import_beside(__file__, "
            f"'{package}...') imports from the folder of this name beside the plugin")


def import_beside(plugin: str | Path, module: str) -> ModuleType:
    """A module that lies beside a plugin, though its package is named like one of ours.

    `net = import_beside(__file__, "models.net")` in a plugin imports models/net.py of the plugin's
    folder. The module and all that it imports are kept under private names, so that `models` stays
    ours everywhere else. The version of the plugin covers their files.

    Raises:
        UserError: there is no such module beside the plugin, or its name is not written in the
            call, where the version of the plugin would not cover it.
    """
    file = Path(plugin).resolve()
    if module_file(file.parent, module) is None:
        place = file.parent.joinpath(*module.split("."))
        raise UserError(f"import_beside {quoted(module)}: expected a file {place}.py or a folder "
                        f"{place} with an __init__.py")
    if module not in imported_beside(file):
        raise UserError(f"import_beside {quoted(module)}: expected the name as text in the call, "
                        f"import_beside(__file__, {quoted(module)}), in {file}")
    with _packages_of(file.parent):
        return importlib.import_module(module)


@contextmanager
def _packages_of(folder: Path) -> Iterator[None]:
    """Let names such as `models` stand for the packages of a folder, where it has such packages."""
    names = [name for name in OURS if (folder / name).is_dir()]
    ours = _take(names)
    sys.modules.update(_beside.get(folder, {}))
    for name in names:
        if not (folder / name / "__init__.py").is_file():  # Python would prefer ours to it
            sys.modules.setdefault(name, _folder_as_package(folder / name))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _beside[folder] = _take(names)
        sys.modules.update(ours)


def _folder_as_package(folder: Path) -> ModuleType:
    package = ModuleType(folder.name)
    package.__path__ = [str(folder)]
    return package


def _take(packages: Iterable[str]) -> dict[str, ModuleType]:
    """Remove packages and all their modules from the imported ones, and return them by name."""
    taken = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in taken}
