"""Verbs that look: at what is registered, at data, at this machine, at somebody's weights."""

import argparse
import ast
import inspect
import json
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tabulate import tabulate

from benchmark import registry
from benchmark.cli.options import group, plugin, verb
from benchmark.utils.errors import UserError, did_you_mean

LISTS = {"attacks": ("trigger", "target"), "triggers": ("trigger",), "targets": ("target",), "defenses": ("defense",),
         "models": ("model",), "datasets": ("dataset",)}


def add(verbs: Any) -> None:
    """list, show, data check, speed, convert."""
    command = verb(verbs, "list", _list, "list what is registered, and the presets")
    command.add_argument("what", choices=[*LISTS, "presets"])
    plugin(command)

    command = verb(verbs, "show", _show, "show an entry: what it is, its source and its settings")
    command.add_argument("name")
    plugin(command)

    command = verb(group(verbs, "data", "look at a dataset"), "check", _data_check,
                   "count images and people, and find what is broken, missing or equal")
    command.add_argument("name", help="a dataset (see `crowdbench list datasets`)")
    command.add_argument("--root", help="the folder that holds it (default: the environment variable CROWD_DATA)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the dataset")
    command.add_argument("--json", action="store_true", help="print JSON")
    plugin(command)

    command = verb(verbs, "speed", _speed, "measure this machine: counters in training and counting, and parts of "
                   "the work beside the other way to do them; estimates of --dry-run use it")
    command.add_argument("--model", default="tiny,squeeze", metavar="NAME,...", help="counters (default: tiny,squeeze)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the counters")
    command.add_argument("--precision", metavar="NAME,...", help="fp32, bf16 (default: both where both run natively)")
    command.add_argument("--size", default="1024x768", metavar="WxH", help="of an image (default: 1024x768)")
    command.add_argument("--json", action="store_true", help="print JSON")
    plugin(command)

    command = verb(verbs, "convert", _convert, "turn somebody's weights into safetensors; nothing in the file is run")
    command.add_argument("source", metavar="FILE", type=Path, help="a torch file of tensors, or a safetensors file")
    command.add_argument("out", metavar="OUT.safetensors", type=Path, help="the file to write")
    command.add_argument("--model", metavar="NAME", help="check that it is a whole counter, and name its tensors so")
    plugin(command)


def _list(options: argparse.Namespace) -> int:
    if options.what == "presets":
        from benchmark.config import grid

        rows = [[name, grid.PRESETS.joinpath(f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")]
                for name in grid.preset_names()]
    else:
        rows = [[kind, name, _headline(kind, name)] for kind in LISTS[options.what] for name in registry.names(kind)]
    print(tabulate(rows, tablefmt="plain"))
    return 0


def _headline(kind: str, name: str) -> str:
    """The first line of an entry's file, read without importing it; a plugin's from the class itself."""
    path = Path(registry.__file__).parents[1].joinpath(*registry.PACKAGES[kind].split("."), f"{name}.py")
    if path.is_file():
        return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    return (inspect.getdoc(registry.find(kind, name)) or "").partition("\n")[0]


def _show(options: argparse.Namespace) -> int:
    kinds = [kind for kind in registry.PACKAGES if options.name in registry.names(kind)]
    if not kinds:
        everything = {name for kind in registry.PACKAGES for name in registry.names(kind)}
        raise UserError(f"show {options.name!r}: no such entry: {did_you_mean(options.name, everything)}")
    for kind in kinds:
        cls = registry.find(kind, options.name)
        module = sys.modules[cls.__module__]
        print(f"{kind} {options.name}\n\n{inspect.getdoc(module) or ''}\n\n{inspect.getdoc(cls) or ''}\n")
        fields = registry.settings_of(cls).model_fields
        rows = [[name, _type_name(field.annotation), "required" if field.is_required() else repr(field.default)]
                for name, field in fields.items()]
        print(tabulate(rows, headers=["setting", "type", "default"], tablefmt="simple") if rows else "no settings")
        if kind == "model":
            _show_counter(cls)
    return 0


def _type_name(annotation: Any) -> str:
    """A setting's type without the checks on its value: 'int | None'."""
    if isinstance(annotation, type) and not get_args(annotation):
        return "None" if annotation is type(None) else annotation.__name__
    if hasattr(annotation, "__metadata__"):
        return _type_name(annotation.__origin__)
    if get_origin(annotation) is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    return " | ".join(map(_type_name, get_args(annotation)))


def _show_counter(cls: Any) -> None:
    settings = registry.settings_of(cls).model_fields
    counter = cls(**({"weights": "scratch"} if "weights" in settings else {}))
    trained = f"{sum(parameter.numel() for parameter in counter.parameters()):,}"
    frozen = f" trained, {counter.frozen:,} frozen" if counter.frozen else ""
    recipe = ", ".join(f"{key}={value}" for key, value in cls.recipe.model_dump(exclude_none=True).items())
    weights = f"{settings['weights'].default} by default: {cls.licence}" if "weights" in settings else cls.licence
    lines = {"paper": cls.paper, "parameters": trained + frozen, "stride": cls.stride, "weights": weights,
             "recipe": textwrap.fill(recipe, 108, subsequent_indent=" " * 12, break_on_hyphens=False)}
    print("\n" + "\n".join(f"{name:12}{value}" for name, value in lines.items()))


def _data_check(options: argparse.Namespace) -> int:
    from benchmark.config import grid
    from benchmark.data.check import check

    given = grid.override({}, options.set) | ({"root": options.root} if options.root else {})
    report = check(registry.build("dataset", options.name, given))
    print(json.dumps(report.to_dict()) if options.json else report.text())
    return 0 if report.ok else 1


def _speed(options: argparse.Namespace) -> int:
    from benchmark.config import cell, grid
    from benchmark.profiling import speed

    width, _, height = options.size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size {options.size!r}: expected WxH in pixels, for instance 1024x768")
    settings = grid.override({}, options.set)
    models = [cell.Component("model", name, settings) for name in options.model.split(",")]
    report = speed.measure(models, options.precision and options.precision.split(","), (int(height), int(width)))
    print(json.dumps(report.to_dict()) if options.json else report.text())
    print(f"kept for estimates: {speed.write(report)}", file=sys.stderr)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from benchmark.weights import convert

    tensors, left_out = convert(options.source, options.out, options.model)
    if left_out:
        print(f"left out: {', '.join(map(repr, left_out))}", file=sys.stderr)
    print(f"{options.out}: {len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} values")
    return 0
