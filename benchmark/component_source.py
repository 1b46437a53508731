"""Component sources: docstrings, settings and class attributes, read without an import.

Importing a component imports torch, which takes seconds; `crowdbench list`, `show` and
the check for misspelt settings do without it. Components from plugins are imported anyway and
are not read here.
"""

import ast
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from benchmark.registry import PACKAGES, check_name, find, is_plugin, settings_of

ROOT = Path(__file__).parents[1]
TYPES = {"PositiveInt": "int", "NonNegativeInt": "int", "PositiveFloat": "float",
         "NonNegativeFloat": "float"}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
             ast.Div: operator.truediv, ast.Pow: operator.pow}


@dataclass(frozen=True)
class Setting:
    """A setting as text.

    type: without the bounds of the value. default: None where a value is required.
    """

    type: str
    default: str | None


@dataclass(frozen=True)
class Module:
    """A module of this project as its syntax tree."""

    tree: ast.Module

    @cached_property
    def assignments(self) -> dict[str, ast.expr]:
        """The values of the names that the module assigns at its top level."""
        values = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values[node.targets[0].id] = node.value
        return values

    @cached_property
    def imports(self) -> dict[str, str]:
        """The modules of this project from which the module imports names."""
        modules = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and _path(node.module).is_file():
                modules |= {alias.name: node.module for alias in node.names}
        return modules

    def definition(self, name: str) -> "tuple[Module, ast.ClassDef | ast.expr] | None":
        """The class or value that a name stands for, and its module; None if it is not ours."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return self, node
        if name in self.assignments:
            return self, self.assignments[name]
        return read(self.imports[name]).definition(name) if name in self.imports else None


@cache
def read(module: str) -> Module:
    """The module with a dotted name."""
    return Module(ast.parse(_path(module).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class ComponentSource:
    """The source of a component: its module, and its classes, base classes first."""

    kind: str
    module: Module
    classes: tuple[tuple[Module, ast.ClassDef], ...]

    @property
    def module_doc(self) -> str:
        """The docstring of the file."""
        return ast.get_docstring(self.module.tree) or ""

    @property
    def class_doc(self) -> str:
        """The docstring of the class."""
        return ast.get_docstring(self.classes[-1][1]) or ""

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """The settings by name: fields of the class or, for a model, parameters of __init__."""
        settings: dict[str, Setting] = {}
        for module, node in self.classes:
            if self.kind != "model":
                settings |= _fields(module, node)
            elif initialiser := _method(node, "__init__"):
                settings = _parameters(module, initialiser)
        return settings

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The constant class attributes, and the keyword arguments of those that are calls."""
        attributes: dict[str, Any] = {}
        for module, node in self.classes:
            for name, value in _assigned(node).items():
                if isinstance(value, ast.Call):
                    arguments = {keyword.arg: _evaluate(module, keyword.value)
                                 for keyword in value.keywords}
                    attributes[name] = arguments
                else:
                    attributes[name] = _evaluate(module, value)
        return attributes


@cache
def component_source(kind: str, name: str) -> ComponentSource:
    """The source of a component of this project.

    name: one of `registry.names(kind)`, but not that of a plugin.
    """
    module = read(f"{PACKAGES[kind]}.{name}")
    [node] = [node for node in module.tree.body
              if isinstance(node, ast.ClassDef) and _is_registered(node)]
    return ComponentSource(kind, module, tuple(_with_bases(module, node)))


def setting_names(kind: str, name: str) -> list[str]:
    """The names of a component's settings. Raises UserError if it is not registered."""
    check_name(kind, name)
    if is_plugin(kind, name):
        return list(settings_of(find(kind, name)).model_fields)
    return list(component_source(kind, name).settings)


def class_attribute(kind: str, name: str, attribute: str) -> Any:
    """A class attribute of a registered component; None where its source does not assign it."""
    if is_plugin(kind, name):
        return getattr(find(kind, name), attribute)
    return component_source(kind, name).attributes.get(attribute)


def _path(module: str) -> Path:
    """The file of a module. A package is its __init__.py."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_registered(node: ast.ClassDef) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == "register"
               for decorator in node.decorator_list)


def _with_bases(module: Module, node: ast.ClassDef) -> Iterator[tuple[Module, ast.ClassDef]]:
    for base in node.bases:
        found = module.definition(base.id) if isinstance(base, ast.Name) else None
        if found and isinstance(found[1], ast.ClassDef):
            yield from _with_bases(*found)
    yield module, node


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((item for item in node.body
                 if isinstance(item, ast.FunctionDef) and item.name == name), None)


def _assigned(node: ast.ClassDef) -> dict[str, ast.expr]:
    """The class attributes that are no settings: not annotated, or annotated as ClassVar."""
    values = {}
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            values[item.targets[0].id] = item.value
        elif (isinstance(item, ast.AnnAssign) and _is_class_variable(item)
              and item.value is not None):
            values[item.target.id] = item.value
    return values


def _is_class_variable(item: ast.AnnAssign) -> bool:
    return ast.unparse(item.annotation).startswith("ClassVar")


def _fields(module: Module, node: ast.ClassDef) -> dict[str, Setting]:
    fields = {}
    for item in node.body:
        if (isinstance(item, ast.AnnAssign) and not _is_class_variable(item)
                and not item.target.id.startswith("_")):
            fields[item.target.id] = Setting(_type(module, item.annotation),
                                             _default(module, item.value))
    return fields


def _parameters(module: Module, function: ast.FunctionDef) -> dict[str, Setting]:
    arguments = function.args.args[1:]
    missing: list[ast.expr | None] = [None] * (len(arguments) - len(function.args.defaults))
    defaults = [*missing, *function.args.defaults]
    return {argument.arg: Setting(_type(module, argument.annotation), _default(module, default))
            for argument, default in zip(arguments, defaults)}


def _type(module: Module, node: ast.expr) -> str:
    """An annotation without the checks on the value: 'int | None'."""
    if isinstance(node, ast.BinOp):
        return f"{_type(module, node.left)} | {_type(module, node.right)}"
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        choices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return " | ".join(map(ast.unparse, choices))
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
        return _type(module, node.slice.elts[0])
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        parts = ", ".join(_type(module, part) for part in node.slice.elts)
        return f"{ast.unparse(node.value)}[{parts}]"
    text = ast.unparse(node)
    found = module.definition(text) if isinstance(node, ast.Name) else None
    if found and isinstance(found[1], ast.Subscript | ast.BinOp):
        return _type(*found)
    return TYPES.get(text, text)


def _default(module: Module, node: ast.expr | None) -> str | None:
    """The default of a setting as Python prints it; of `Field(0.1, ge=0)` the first argument."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Field":
        node = node.args[0] if node.args else None
    if node is None:
        return None
    value = _evaluate(module, node)
    return value if isinstance(value, str) and isinstance(node, ast.Call) else repr(value)


def _evaluate(module: Module, node: ast.expr) -> Any:
    """The value of a constant, a product of constants or a name of one; else the source as text."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_evaluate(module, node.left), _evaluate(module, node.right))
    found = module.definition(node.id) if isinstance(node, ast.Name) else None
    if found and isinstance(found[1], ast.expr):
        return _evaluate(*found)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
