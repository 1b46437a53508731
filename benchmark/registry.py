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
from datetime import date
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from benchmark.utils.errors import UserError, did_you_mean, quoted, shown, unknown_key
from benchmark.utils.plugin_imports import collision_notes, import_hint, make_importable
from benchmark.utils.plugin_sources import module_hashes, source_hash

PACKAGES = {
    "trigger": "attacks.triggers",
    "target": "attacks.targets",
    "defense": "defenses",
    "model": "models",
    "dataset": "benchmark.data.datasets",
}
MOST_BITS = 63  # of a whole number in the settings, besides its sign: JSON has 64
LONGEST_NAME = 50  # characters of a number that may be a name
# The keys of components in a request, as the beginning of a setting's key.
KEYS = {"dataset": "data.", "model": "model.", "defense": "defense.", "trigger": "attack.",
        "target": "attack.", "attack": "attack.", "training": "training."}
# Types of pydantic's errors where a text was expected.
TEXT_EXPECTED = ("path_type", "string_type")
_plugins: dict[tuple[str, str], type] = {}
_files: dict[tuple[str, str], Path] = {}  # of the plugins
_modules: dict[Path, str] = {}  # that plugins import, with the hash of each when it was imported


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
        file = Path(inspect.getfile(cls)).resolve()
        cls.version = source_hash(file)
        _plugins[cls.kind, cls.name], _files[cls.kind, cls.name] = cls, file
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
    ours = package.__path__[:1]  # those of plugins come after it
    return frozenset(module.name for module in pkgutil.iter_modules(ours)
                     if not module.ispkg and module.name != "base")


def check_name(kind: str, name: str) -> None:
    """Check that a name is registered, without importing anything.

    Raises:
        UserError: the name is not registered; the message suggests the nearest.
    """
    if name not in names(kind):
        raise UserError(f"unknown {kind} {quoted(name)}: {did_you_mean(name, names(kind))}")


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
        settings = model.model_validate(given)
    except ValidationError as error:
        raise _setting_error(model, where, error.errors()) from None
    for key, value in settings:
        if isinstance(value, int) and value.bit_length() > MOST_BITS:  # JSON holds no larger one
            raise UserError(f"{where}: {key} = {quoted(value)}: expected at most {MOST_BITS} bits")
        if isinstance(given.get(key), bool) and not isinstance(value, bool):  # as pydantic reads it
            raise UserError(f"{where}: {key} = {given[key]}: expected a number or a text, and not "
                            "yes or no")
    return settings


def _setting_error(model: type[BaseModel], where: str, errors: list[Any]) -> UserError:
    """The first of pydantic's errors in one line. where: the subject of the message."""
    first = errors[0]
    if not first["loc"]:  # of settings that do not fit each other, which the reason names
        return UserError(f"{where}: {first['msg'].removeprefix('Value error, ')}")
    key, value = str(first["loc"][0]), first["input"]
    if first["type"] == "extra_forbidden":
        return unknown_key(where, key, model.model_fields)
    reason = first["msg"].removeprefix("Value error, ")
    if isinstance(value, str):
        reason = reason.replace(value, shown(value))
    text_expected = any(error["type"] in TEXT_EXPECTED for error in errors)
    hint = quoting_hint(KEYS.get(where.split()[0], "") + key, value) if text_expected else ""
    return UserError(f"{where}: {key} = {quoted(value)}: {reason}{hint}")


def quoting_hint(key: str, value: Any) -> str:
    """Advice to quote a name that YAML reads as something else, for the end of a message.

    key: the key with that of its component, for instance 'data.root'.
    """
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int | float | date) and len(quoted(value)) <= LONGEST_NAME:
        text = str(value)
    elif isinstance(value, dict):
        text = "..."
    else:
        return ""
    in_file = f"{key.rpartition('.')[2]}: \"{text}\""
    return ("; a name that reads as a number, a date, yes, no or a mapping is given in quotes, "
            f"for instance {in_file} in a file or --set '{key}=\"{text}\"'")


class NoComponent(UserError):
    """A plugin that can be imported and registers nothing."""


def load_plugin(path: str | Path) -> None:
    """Import a user's own file; its registered class becomes a component named after the file.

    The file may import modules that lie beside it; see `benchmark.utils.plugin_imports`. If it was
    loaded before, what it registers now takes the place of what it registered then.

    Raises:
        UserError: the file is missing, cannot be imported, imports a module that has changed since
            Python read it, or registers nothing (NoComponent). What was registered before stays.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"plugin {shown(path)}: expected an existing .py file")
    before = {key: _plugins.pop(key) for key in registered_in(path)}
    try:
        _import_file(path)
        _check_modules(path)
        for note in collision_notes(path):
            print(note, file=sys.stderr)
        if not registered_in(path):
            raise NoComponent(f"plugin {shown(path)}: expected a class decorated with @register, "
                              "found none")
    except BaseException:
        for key in registered_in(path):
            del _plugins[key]
        _plugins.update(before)
        raise


class _FromSource(SourceFileLoader):
    """Reads a file itself: its bytecode may be of what it was earlier in the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_file(path: Path) -> None:
    """Import a plugin, whose classes are registered thereby. Raises UserError."""
    make_importable(path)
    name, file = f"plugins.{path.stem}", str(path.resolve())  # as tracebacks name it
    spec = importlib.util.spec_from_file_location(name, file, loader=_FromSource(name, file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a file may be a script that ends the process
        raise UserError(f"plugin {shown(path)}: {type(error).__name__}: {error}"
                        f"{import_hint(path, error)}") from error


def _check_modules(path: Path) -> None:
    """Check that the modules that a plugin imports are as they were when Python read them.

    Python reads a module once, so that a plugin which is loaded again would run the old module
    under the version of the new one. Raises UserError.
    """
    for file, sha256 in module_hashes(path).items():
        if _modules.setdefault(file, sha256) != sha256:
            raise UserError(f"plugin {shown(path)}: {shown(file)} has changed since a plugin "
                            "imported it; expected a new Python process, which reads it again")


def registered_in(path: str | Path) -> list[tuple[str, str]]:
    """The kind and the name of each component that a plugin has registered."""
    return [key for key in _plugins if source_file(*key) == Path(path).resolve()]


def source_file(kind: str, name: str) -> Path:
    """The file of a registered component."""
    # Two plugins in two folders may have one name, and Python knows one module of it.
    if is_plugin(kind, name) and (kind, name) in _files:
        return _files[kind, name]
    return Path(inspect.getfile(find(kind, name))).resolve()
