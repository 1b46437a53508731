"""Commands that show components, the speed of this machine, or a file of weights."""

import argparse
import inspect
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tabulate import tabulate

from benchmark import registry
from benchmark.cli.options import add_command, add_plugin_flag
from benchmark.component_source import class_attribute, component_source
from benchmark.utils.errors import UserError, did_you_mean

LISTS = {"attacks": ("trigger", "target"), "triggers": ("trigger",), "targets": ("target",),
         "defenses": ("defense",), "models": ("model",), "datasets": ("dataset",)}
COLUMN = 12  # width of the names of a model's facts


def add(commands: Any) -> None:
    """Add list, show, speed and convert."""
    command = add_command(commands, "list", _list, "list registered components and presets")
    command.add_argument("what", choices=[*LISTS, "presets"], nargs="?",
                         help="only these (default: everything)")
    add_plugin_flag(command, may_be_empty=True)

    command = add_command(commands, "show", _show,
                          "show a component (what it does, its source and its settings) or a "
                          "preset (its grid, and whether it is frozen)")
    command.add_argument("name", help="its name (see `crowdbench list`)")
    add_plugin_flag(command)

    command = add_command(commands, "speed", _speed,
                          "measure training and inference throughput on this machine; "
                          "the time estimates of --dry-run use it")
    command.add_argument("--model", default="tiny,squeeze", metavar="NAME,...",
                         help="models (default: tiny,squeeze)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="a setting of the models")
    command.add_argument("--precision", metavar="NAME,...",
                         help="fp32, bf16 (default: both where the device runs both natively)")
    command.add_argument("--size", default="1024x768", metavar="WxH",
                         help="image size (default: 1024x768)")
    command.add_argument("--json", action="store_true", help="print JSON")
    add_plugin_flag(command)

    command = add_command(commands, "convert", _convert,
                          "convert a checkpoint to safetensors; nothing in the file is executed")
    command.add_argument("source", metavar="FILE", type=Path,
                         help="a torch, numpy .npz, HDF5 or safetensors file of tensors")
    command.add_argument("out", metavar="OUT.safetensors", type=Path, help="the file to write")
    command.add_argument("--model", metavar="NAME",
                         help="check that the file holds a whole counter, and rename its tensors "
                              "to this model's names")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="a setting of this model, for instance width=32")
    command.add_argument("--key", metavar="NAME",
                         help="the entry of the file that holds the weights, for instance "
                              "model_ema (default: the one that training scripts use)")
    add_plugin_flag(command)


def _list(options: argparse.Namespace) -> int:
    from benchmark.cli.presets import first_sentence
    from benchmark.config.request import preset_names

    rows = [[kind, name, _docs(kind, name)[0].partition("\n")[0]]
            for kind in LISTS.get(options.what, () if options.what else registry.PACKAGES)
            for name in registry.names(kind)]
    if options.what in ("presets", None):
        rows += [["preset", name, first_sentence(name)] for name in preset_names()]
    print(tabulate(rows, tablefmt="plain"))
    return 0


def _show(options: argparse.Namespace) -> int:
    from benchmark.cli.presets import describe
    from benchmark.config.request import preset_names

    kinds = [kind for kind in registry.PACKAGES if options.name in registry.names(kind)]
    presets = preset_names()
    if not kinds and options.name not in presets:
        known = {name for kind in registry.PACKAGES for name in registry.names(kind)}
        raise UserError(f"show {options.name!r}: no such component or preset: "
                        f"{did_you_mean(options.name, known.union(presets))}")
    for kind in kinds:
        module_doc, class_doc = _docs(kind, options.name)
        print(f"{kind} {options.name}\n\n{module_doc}\n\n{class_doc}\n")
        rows = _setting_rows(kind, options.name)
        headers = ["setting", "type", "default"]
        print(tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
              if rows else "no settings")
        if kind == "model":
            print("\n" + _model_facts(options.name))
    if options.name in presets:
        print(describe(options.name))
    return 0


def _docs(kind: str, name: str) -> tuple[str, str]:
    """The docstrings of a component's module and of its class."""
    if not registry.is_plugin(kind, name):
        source = component_source(kind, name)
        return source.module_doc, source.class_doc
    cls = registry.find(kind, name)
    return inspect.getdoc(sys.modules[cls.__module__]) or "", inspect.getdoc(cls) or ""


def _setting_rows(kind: str, name: str) -> list[list[str]]:
    """A component's settings: name, type and default of each."""
    if not registry.is_plugin(kind, name):
        settings = component_source(kind, name).settings
        return [[key, setting.type, setting.default or "required"]
                for key, setting in settings.items()]
    fields = registry.settings_of(registry.find(kind, name)).model_fields
    return [[key, _type_name(field.annotation),
             "required" if field.is_required() else repr(field.default)]
            for key, field in fields.items()]


def _type_name(annotation: Any) -> str:
    """The type of a plugin's setting without the checks on its value: 'int | None'."""
    if isinstance(annotation, type) and not get_args(annotation):
        return "None" if annotation is type(None) else annotation.__name__
    if hasattr(annotation, "__metadata__"):
        return _type_name(annotation.__origin__)
    if get_origin(annotation) is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    return " | ".join(map(_type_name, get_args(annotation)))


def _model_facts(name: str) -> str:
    """A model's paper, number of parameters, stride, initial weights and recipe, a line each."""
    from benchmark.recipe import Recipe

    facts = {key: class_attribute("model", name, key) for key in
             ("paper", "trained_parameters", "frozen_parameters", "stride", "licence", "recipe")}
    weights = next((row[2].strip("'") for row in _setting_rows("model", name)
                    if row[0] == "weights"), None)
    trained, licence = facts["trained_parameters"], facts["licence"]
    parameters = "unknown" if trained is None else f"{trained:,}"
    if facts["frozen_parameters"]:
        parameters += f" trained, {facts['frozen_parameters']:,} frozen"
    recipe = facts["recipe"] if isinstance(facts["recipe"], Recipe) else Recipe(**facts["recipe"])
    settings = ", ".join(f"{key}={value}"
                         for key, value in recipe.model_dump(exclude_none=True).items())
    lines = {"paper": facts["paper"], "parameters": parameters, "stride": facts["stride"],
             "weights": licence if weights in (None, "scratch")
             else f"{weights} by default: {licence}",
             "recipe": textwrap.fill(settings, 108, subsequent_indent=" " * COLUMN,
                                     break_on_hyphens=False)}
    return "\n".join(f"{key:{COLUMN}}{value}" for key, value in lines.items())


def _speed(options: argparse.Namespace) -> int:
    from benchmark.config.cell import Component
    from benchmark.config.request import override
    from benchmark.profiling import speed

    sides = re.fullmatch(r"(\d{1,9})x(\d{1,9})", options.size, re.ASCII)
    if sides is None:
        raise UserError(f"--size {options.size!r}: expected WxH in pixels, for instance 1024x768")
    settings = override({}, options.set)
    models = [Component("model", name, settings) for name in options.model.split(",")]
    precisions = options.precision.split(",") if options.precision else None
    report = speed.measure(models, precisions, (int(sides[2]), int(sides[1])))
    print(json.dumps(report.to_dict()) if options.json else report.text())
    print(f"written for the estimates of --dry-run: {speed.write(report)}", file=sys.stderr)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from benchmark.config.request import override
    from benchmark.weights import convert

    settings = override({}, [text.removeprefix("model.") for text in options.set])
    tensors, notes = convert(options.source, options.out, options.model, options.key, settings)
    for note in notes:
        print(note, file=sys.stderr)
    values = sum(tensor.numel() for tensor in tensors.values())
    print(f"{options.out}: {len(tensors)} tensors, {values:,} values")
    return 0
