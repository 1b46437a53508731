"""The command line. Each module of this package adds the commands of one subject.

Exit codes: 0 for success; 1 where some cell failed and the others finished; 2 for a wrong
request, told in one line; 130 after Ctrl-C; 141 where the reader of the output has closed it;
143 after SIGTERM.
"""

import argparse
import os
import signal
import sys
from typing import NoReturn

from benchmark import registry
from benchmark.cli import entry, figure, run, show, store, tables
from benchmark.utils.errors import UserError
from benchmark.utils.signals import listen
from benchmark.version import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    listen()
    try:
        options = _parser().parse_args(arguments)
        for plugin in getattr(options, "plugin", None) or []:
            registry.load_plugin(plugin)
        code = options.function(options)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader, `head` for instance, needs no more
        sys.stdout = open(os.devnull, "w")
        return 141
    except OSError as error:
        # Python would try at exit to print what could not be printed.
        sys.stdout = open(os.devnull, "w")
        return _fail(f"{error.filename or 'file system'}: {error.strerror or error}")
    except KeyboardInterrupt as stop:
        print("stopped: finished stages are kept, and the same command goes on from there",
              file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _fail(line: str) -> int:
    print(f"crowdbench: {' '.join(line.split())}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crowdbench",
                     description="Backdoor attacks and defenses on crowd counters.")
    parser.add_argument("--version", action="version", version=f"crowdbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (show, run, tables, entry, figure, store):
        module.add(commands)
    return parser
