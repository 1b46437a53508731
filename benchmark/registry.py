"""The registry: finds components by name, one file per component, and checks their settings.

A component is an attack's trigger or target, a defense, a model or a dataset. Its name is that of
its file in the package of its kind. Looking a name up imports that one file; listing names imports
none.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from benchmark.utils.errors import UserError, did_you_mean, unknown_key
from benchmark.utils.plugin_sources import source_hash

PACKAGES = {
    "trigger": "attacks.triggers",
    "target": "attacks.targets",
    "defense": "defenses",
    "model": "models",
    "dataset": "benchmark.data.datasets",
}
_plugins: dict[tuple[str, str], type] = {}


class Settings(BaseModel):
    """Typed settings. Unknown keys, nan and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False,
                              validate_default=True)


def register(cls: type) -> type:
    """Register a component: a class decorator that names the class after its file.

    The version of a plugin is a hash of its file, so that an edited plugin is another component.

    Raises:
        UserError: the class lacks a method, or a plugin has the name of a registered component.
    """
    cls.name = cls.__module__.rpartition(".")[2]
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise UserError(f"{cls.kind} {cls.name}: expected a method {missing[0]!r}")
    if not cls.__module__.startswith(PACKAGES[cls.kind] + "."):
        if cls.name in names(cls.kind):
            raise UserError(f"plugin: there is a {cls.kind} named {cls.name!r} already; "
                            "rename the file")
        cls.version = source_hash(Path(inspect.getfile(cls)))
        _plugins[cls.kind, cls.name] = cls
    return cls


def names(kind: str) -> list[str]:
    """The registered names of a kind, sorted.

    kind: 'trigger', 'target', 'defense', 'model' or 'dataset'.
    """
    in_plugins = {name for plugin_kind, name in _plugins if plugin_kind == kind}
    return sorted(_names_in_package(kind) | in_plugins)


@cache
def _names_in_package(kind: str) -> frozenset[str]:
    """The names of this project's components of a kind: those of the files of its package."""
    package = importlib.import_module(PACKAGES[kind])
    return frozenset(module.name for module in pkgutil.iter_modules(package.__path__)
                     if not module.ispkg and module.name != "base")


def check_name(kind: str, name: str) -> None:
    """Check that a name is registered, without importing anything.

    Raises:
        UserError: the name is not registered; the message suggests the nearest.
    """
    if name not in names(kind):
        raise UserError(f"unknown {kind} {name!r}: {did_you_mean(name, names(kind))}")


def is_plugin(kind: str, name: str) -> bool:
    """Whether a name was registered by a plugin."""
    return (kind, name) in _plugins


def find(kind: str, name: str) -> type:
    """The class registered under a name.

    Raises:
        UserError: the name is not registered; the message suggests the nearest.
    """
    return _plugins[kind, name] if (kind, name) in _plugins else _find_in_package(kind, name)


@cache
def _find_in_package(kind: str, name: str) -> type:
    """The class of a component of this project. Raises as `find` does."""
    check_name(kind, name)
    module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    registered = []
    for value in vars(module).values():
        defined_here = inspect.isclass(value) and value.__module__ == module.__name__
        if defined_here and "name" in vars(value) and getattr(value, "kind", None) == kind:
            registered.append(value)
    if len(registered) != 1:
        raise UserError(f"{module.__file__}: expected one class decorated with @register, "
                        f"found {len(registered)}")
    return registered[0]


@cache
def settings_of(cls: type) -> type[BaseModel]:
    """The pydantic model of a component's settings.

    It is the class itself where that is a pydantic model, and otherwise made from the parameters of
    its __init__ with their annotations and defaults.
    """
    if issubclass(cls, BaseModel):
        return cls
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    return create_model(cls.__name__, __base__=Settings, **fields)


def resolve(kind: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All settings of a component: the given ones, checked, and the others at their defaults.

    Raises:
        UserError: an unknown setting or an invalid value; the message names the component, the key
            and the value.
    """
    model = settings_of(find(kind, name))
    settings = checked(model, given, f"{kind} {name}")
    return {key: getattr(settings, key) for key in model.model_fields}


def build(kind: str, name: str, given: dict[str, Any]) -> Any:
    """Build a component with checked settings. Raises UserError as `resolve` does."""
    return find(kind, name)(**resolve(kind, name, given))


def checked(model: type[BaseModel], given: dict[str, Any], where: str) -> BaseModel:
    """Validate settings and turn pydantic's report into one line.

    where: the subject of the message, for instance 'model csrnet'.

    Raises:
        UserError: with the first error of the report.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            raise unknown_key(where, key, model.model_fields) from None
        raise UserError(f"{where}: {key} = {first['input']!r}: {first['msg']}") from None


def load_plugin(path: str | Path) -> None:
    """Import a user's own file; its registered class becomes a component named after the file.

    Raises:
        UserError: the file is missing, cannot be imported, or registers nothing.
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
        raise UserError(f"plugin {path}: expected a class decorated with @register, found none")
