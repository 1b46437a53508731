"""Commands for a component of one's own: write one to start from, and check a plugin."""

import argparse
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.cli.options import add_command
from benchmark.utils.errors import UserError, cut, unknown_key

Component = tuple[str, str]  # its kind and name
CHECKED = ("defense", "trigger", "target")  # the kinds of components whose contract is checked


def add(commands: Any) -> None:
    """Add new and check."""
    from benchmark.cli.scaffold import KINDS

    command = add_command(commands, "new", _new,
                          "write a defense, a detector or an attack to start from, and its test")
    command.add_argument("what", choices=list(KINDS),
                         help="a detector looks for triggered images, an inspector for backdoored "
                              "counters; an attack is a trigger and a target in one file")
    command.add_argument("name", help="the name of the component and of its file")
    command.add_argument("--out", type=Path, default=Path(),
                         help="the folder to write to (default: this one)")

    command = add_command(commands, "check", _check,
                          "check that a defense, trigger or target of your own keeps the contract, "
                          "on small images and counters; exit code 1 if it does not")
    command.add_argument("plugin", nargs="+", metavar="FILE",
                         help="a .py file with a defense, trigger or target, for instance "
                              "my_defense.py")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="a setting of the defense, of the trigger or of the target")


def _new(options: argparse.Namespace) -> int:
    from benchmark.cli.scaffold import next_steps, write_new

    component, test = write_new(options.what, options.name, options.out)
    print(f"{component}\n{test}")
    print(next_steps(options.what, options.name, component), file=sys.stderr)
    return 0


def _check(options: argparse.Namespace) -> int:
    components = list(_components(options.plugin))
    given = _given(components, options.set)
    for component in components:
        registry.resolve(*component, given[component])
    kept = [_verdict(*component, given[component]) for component in components]
    return 0 if all(kept) else 1


def _components(plugins: list[str]) -> Iterator[Component]:
    """The kind and the name of what is checked in plugins, which are loaded.

    Raises:
        UserError: a plugin has nothing that is checked.
    """
    for plugin in plugins:
        found = registry.registered_in(plugin)
        checked = [component for component in found if component[0] in CHECKED]
        if not checked:
            others = ", ".join(f"{kind} {name}" for kind, name in found)
            raise UserError(f"check {cut(plugin)}: expected a defense, trigger or target, found "
                            f"{others}; only these have a check of their own")
        yield from checked


def _given(components: list[Component],
           assignments: list[str]) -> dict[Component, dict[str, Any]]:
    """The settings of each component. Where there are several, each gets those that it has."""
    from benchmark.config.request import override

    texts = [text.removeprefix("defense.").removeprefix("attack.") for text in assignments]
    given = override({}, texts)
    if len(components) == 1:
        return {components[0]: given}
    fields = {component: {*registry.settings_of(registry.find(*component)).model_fields}
              for component in components}
    for key in given.keys() - set().union(*fields.values()):
        raise unknown_key("check", key, set().union(*fields.values()))
    return {component: {key: value for key, value in given.items() if key in fields[component]}
            for component in components}


def _verdict(kind: str, name: str, given: dict[str, Any]) -> bool:
    """Check one component, print a line, and return whether it keeps the contract."""
    from benchmark import testing

    check = {"defense": testing.check_defense, "trigger": testing.check_trigger,
             "target": testing.check_target}[kind]
    try:
        check(name, given)
    except testing.BrokenContract as error:
        problem = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a component may raise anything
        problem = f"{kind} {name}: {type(error).__name__}: {error} ({_place(kind, name, error)})"
    else:
        print(f"ok: {kind} {name}: it keeps the contract")
        return True
    print(f"wrong: {' '.join(problem.split())}")
    return False


def _place(kind: str, name: str, error: BaseException) -> str:
    """The file and the line of the plugin that led to an error."""
    file = registry.source_file(kind, name)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    return f"{file.name}, line {lines[-1]}" if lines else "in the benchmark, called with its result"
