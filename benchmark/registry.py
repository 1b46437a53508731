"""Name -> class, by walking a package: one file, one entry, and the file's name is the entry's name.

Looking a name up imports that one file. Listing names imports none.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from benchmark.utils.errors import UserError, did_you_mean

PACKAGES = {
    "trigger": "attacks.triggers",
    "target": "attacks.targets",
    "defense": "defenses",
    "model": "models",
    "dataset": "benchmark.data.datasets",
}
_plugins: dict[tuple[str, str], type] = {}


class Settings(BaseModel):
    """Typed settings. Unknown keys, nan and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def register(cls: type) -> type:
    """Class decorator: give the class its registry name, which is the name of its file.

    Raises:
        UserError: a plugin's entry has the name of one that exists, or lacks a method.
    """
    cls.name = cls.__module__.rpartition(".")[2]
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise UserError(f"{cls.kind} {cls.name}: expected a method {missing[0]!r}")
    if not cls.__module__.startswith(PACKAGES[cls.kind] + "."):
        if cls.name in names(cls.kind):
            raise UserError(f"plugin: there is a {cls.kind} named {cls.name!r} already; rename the file")
        cls.version = hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()[:12]  # edited: another entry
        _plugins[cls.kind, cls.name] = cls
    return cls


def names(kind: str) -> list[str]:
    """The registered names of a kind ('trigger', 'target', 'defense', 'model' or 'dataset'), sorted."""
    package = importlib.import_module(PACKAGES[kind])
    inside = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg} - {"base"}
    return sorted(inside | {name for plugin_kind, name in _plugins if plugin_kind == kind})


def find(kind: str, name: str) -> type:
    """The class registered under a name.

    Raises:
        UserError: no such entry; the message suggests the nearest.
    """
    return _plugins[kind, name] if (kind, name) in _plugins else _inside(kind, name)


@cache
def _inside(kind: str, name: str) -> type:
    """An entry of this project. Raises as `find` does."""
    if name not in names(kind):
        raise UserError(f"unknown {kind} {name!r}: {did_you_mean(name, names(kind))}")
    module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    entries = [value for value in vars(module).values() if inspect.isclass(value) and "name" in vars(value)
               and getattr(value, "kind", None) == kind and value.__module__ == module.__name__]
    if len(entries) != 1:
        raise UserError(f"{module.__file__}: expected one class decorated with @register, found {len(entries)}")
    return entries[0]


@cache
def settings_of(cls: type) -> type[BaseModel]:
    """The pydantic model of an entry's settings: the entry itself, or one made from its __init__'s annotations."""
    if issubclass(cls, BaseModel):
        return cls
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    fields: dict[str, Any] = {p.name: (p.annotation, ... if p.default is p.empty else p.default) for p in parameters}
    return create_model(cls.__name__, __base__=Settings, **fields)


def resolve(kind: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All settings of an entry, the given ones checked and the others at their defaults.

    Raises:
        UserError: an unknown setting or a value that does not fit; the message names the entry, the key and the value.
    """
    model = settings_of(find(kind, name))
    settings = checked(model, given, f"{kind} {name}")
    return {key: getattr(settings, key) for key in model.model_fields}


def build(kind: str, name: str, given: dict[str, Any]) -> Any:
    """An entry, made with checked settings. Raises UserError as `resolve` does."""
    return find(kind, name)(**resolve(kind, name, given))


def checked(model: type[BaseModel], given: dict[str, Any], where: str) -> BaseModel:
    """Validate settings; turn pydantic's report into one line.

    Raises:
        UserError: with the first thing that is wrong.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            raise UserError(f"{where}: unknown key {key!r}: {did_you_mean(key, model.model_fields)}") from None
        raise UserError(f"{where}: {key} = {first['input']!r}: {first['msg']}") from None


def load_plugin(path: str | Path) -> None:
    """Import a user's own file, whose registered class becomes an entry named after the file.

    Raises:
        UserError: the file is missing, does not import, or registers nothing.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"plugin {path}: expected an existing .py file")
    before = len(_plugins)
    spec = importlib.util.spec_from_file_location(f"plugins.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"plugin {path}: {type(error).__name__}: {error}") from error
    if len(_plugins) == before:
        raise UserError(f"plugin {path}: registers nothing; decorate your class with @register")
