"""The command line; the verbs are in `commands`.

Exit code 0: done; 1: some cell failed and the others finished; 2: the request was wrong, in one line; 130: Ctrl-C;
141: the reader of the output left; 143: SIGTERM.
"""

import argparse
import os
import signal
import sys
from typing import NoReturn

from benchmark import __version__, registry
from benchmark.cli import entry, figure, run, show, store, tables
from benchmark.utils.errors import UserError
from benchmark.utils.signals import listen


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
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
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        sys.stdout = open(os.devnull, "w")
        return 141
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # what could not be printed is not tried again at exit
        return _fail(f"{error.filename or 'file system'}: {error.strerror or error}")
    except KeyboardInterrupt as stop:
        print("stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)


class _Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _fail(line: str) -> int:
    print(f"crowdbench: {' '.join(line.split())}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crowdbench", description="Backdoor attacks and defenses on crowd counters.")
    parser.add_argument("--version", action="version", version=f"crowdbench {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for subject in (show, run, tables, entry, figure, store):
        subject.add(verbs)
    return parser
