"""The command line. Each module of this package adds the commands of one subject.

Exit codes: 0 for success; 1 where some cell failed and the others finished; 2 for a wrong
request, told in one line; 130 after Ctrl-C; 141 where the reader of the output has closed it;
143 after SIGTERM.
"""

import argparse
import io
import os
import signal
import sys
from typing import Any, NoReturn

from benchmark import registry
from benchmark.cli import (data, entry, export, figure, plugin, publication, run, show, store,
                           tables, zoo)
from benchmark.utils.errors import LONGEST, UserError, cut, printable, with_short_words
from benchmark.utils.packages import check_not_hidden
from benchmark.utils.signals import listen
from benchmark.utils.storage_errors import describe_error
from benchmark.version import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    _replace_closed_streams()
    listen()
    _escape_what_cannot_be_encoded()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        check_not_hidden()
        parser = _parser()
        if not arguments:
            parser.print_help()
            return 0
        _refuse_empty(arguments)
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}"
                         f"{_setting_hint(options, unknown[0])}")
        _load_plugins(options)
        code = options.function(options)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(str(error), arguments)
    except BrokenPipeError:  # the reader, `head` for instance, needs no more
        sys.stdout = open(os.devnull, "w")
        return 141
    except OSError as error:
        # Python would try at exit to print what could not be printed.
        sys.stdout = open(os.devnull, "w")
        return _fail(describe_error(error), arguments)
    except KeyboardInterrupt as stop:
        print("stopped: finished stages are kept, and the same command goes on from there",
              file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)


def _replace_closed_streams() -> None:
    """Discard what is written to a stream that is closed, as by `>&-`.

    Python has None in the place of such a stream, and `print` then writes to standard output.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _escape_what_cannot_be_encoded() -> None:
    """Escape the characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, and takes no abbreviations of flags.

    What an abbreviation stands for would change with the next flag that begins like it.
    """

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or the version; argparse itself would pass over the error of a full disk."""
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an argument without any text, which would count as this folder or as not given.

    Raises:
        UserError: it names the flag before it.
    """
    for before, argument in zip(["", *arguments], arguments):
        flag, equals, value = argument.partition("=")
        if not argument or equals and not value and flag.startswith("--"):
            name = flag or (before if before.startswith("--") else "an argument")
            raise UserError(f"{name}: '' is empty; expected a value")


def _setting_hint(options: argparse.Namespace, argument: str) -> str:
    """A hint for an unknown flag that names a setting: the flag that changes it. Else empty."""
    key = argument.partition("=")[0].removeprefix("--")
    if not argument.startswith("--") or not hasattr(options, "set"):
        return ""
    from benchmark.config.cell import ExperimentSettings
    from benchmark.config.request import DEFAULTS

    known = key.partition(".")[0] in {*DEFAULTS, *ExperimentSettings.model_fields}
    return f"; a setting is changed by --set {key}=VALUE" if known else ""


def _load_plugins(options: argparse.Namespace) -> None:
    for path in getattr(options, "plugin", None) or []:
        try:
            registry.load_plugin(path)
        except registry.NoComponent as error:
            if not getattr(options, "plugins_may_be_empty", False):
                raise
            print(f"crowdbench: {error}", file=sys.stderr)


def _fail(line: str, arguments: list[str]) -> int:
    """Print why a request is wrong, in one line in which no argument is repeated in full length."""
    given = [*arguments, *(argument.partition("=")[2] for argument in arguments)]
    for text in (*given, *(repr(text)[1:-1] for text in given)):
        if len(text) > LONGEST:
            line = line.replace(text, cut(text))
    line = printable(with_short_words(" ".join(line.split())))
    print(f"crowdbench: {line}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crowdbench",
                     description="Backdoor attacks and defenses on crowd counters.",
                     epilog="Begin with `crowdbench list`, which lists all components and presets, "
                            "`crowdbench show NAME`, and `crowdbench run quick`.")
    parser.add_argument("--version", action="version", version=f"crowdbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (show, data, run, plugin, tables, entry, figure, export, store, zoo, publication):
        module.add(commands)
    return parser
