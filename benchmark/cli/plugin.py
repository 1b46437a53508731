"""Commands for a component of one's own: write a defense to start from, and check a plugin."""

import argparse
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.cli.options import add_command
from benchmark.utils.errors import UserError, cut


def add(commands: Any) -> None:
    """Add new and check."""
    command = add_command(commands, "new", _new, "write a defense to start from, and its test")
    command.add_argument("what", choices=["defense", "detector"])
    command.add_argument("name", help="the name of the defense and of its file")
    command.add_argument("--out", type=Path, default=Path(),
                         help="the folder to write to (default: this one)")

    command = add_command(commands, "check", _check,
                          "check that a defense of your own keeps the contract: it is run twice on "
                          "a small victim, stored and loaded; exit code 1 if it does not")
    command.add_argument("plugin", nargs="+", metavar="FILE",
                         help="a .py file with a defense, for instance my_defense.py")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="a setting of the defense")


def _new(options: argparse.Namespace) -> int:
    from benchmark.cli.scaffold import write_new

    component, test = write_new(options.what, options.name, options.out)
    print(f"{component}\n{test}")
    print(f"try: crowdbench check {component}; "
          f"crowdbench run quick --defense {options.name} --plugin {component}", file=sys.stderr)
    return 0


def _check(options: argparse.Namespace) -> int:
    from benchmark.config.request import override

    given = override({}, [text.removeprefix("defense.") for text in options.set])
    defenses = list(_defenses(options.plugin))
    for name in defenses:
        registry.resolve("defense", name, given)
    kept = [_verdict(name, given) for name in defenses]
    return 0 if all(kept) else 1


def _defenses(plugins: list[str]) -> Iterator[str]:
    """The names of the defenses in plugins, which are loaded. Raises UserError if one has none."""
    for plugin in plugins:
        kinds = registry.registered_in(plugin)
        names = [name for kind, name in kinds if kind == "defense"]
        if not names:
            others = ", ".join(f"{kind} {name}" for kind, name in kinds)
            raise UserError(f"check {cut(plugin)}: expected a defense, found {others}; only "
                            "defenses have a check of their own")
        yield from names


def _verdict(name: str, given: dict[str, Any]) -> bool:
    """Check one defense, print a line, and return whether it keeps the contract."""
    from benchmark.testing import BrokenContract, check_defense

    try:
        check_defense(name, given)
    except BrokenContract as error:
        problem = str(error)
    except (Exception, SystemExit) as error:  # a defense may raise anything
        problem = f"defense {name}: {type(error).__name__}: {error} ({_place(name, error)})"
    else:
        print(f"ok: defense {name}: it keeps the contract")
        return True
    print(f"wrong: {' '.join(problem.split())}")
    return False


def _place(name: str, error: BaseException) -> str:
    """The file and the line of the plugin that led to an error."""
    file = registry.source_file("defense", name)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    return f"{file.name}, line {lines[-1]}" if lines else "in the benchmark, called with its result"
