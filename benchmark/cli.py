"""The command line: verbs -> functions, nothing else.

Exit code 0: done; 1: some cell failed and the others finished; 2: the request was wrong, in one line; 130: Ctrl-C;
141: the reader of the output left; 143: SIGTERM.
"""

import argparse
import ast
import inspect
import json
import os
import signal
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from tabulate import tabulate

from benchmark import __version__, registry
from benchmark.errors import UserError, did_you_mean
from benchmark.stopping import listen

LISTS = {"attacks": ("trigger", "target"), "triggers": ("trigger",), "targets": ("target",), "defenses": ("defense",),
         "models": ("model",), "datasets": ("dataset",)}
STORE = Path("runs/store")
SHORTCUTS = {"model": "model", "weights": "model.weights", "attack": "attack", "defense": "defense", "data": "data"}


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

    def verb(name: str, function: Any, text: str, within: Any = verbs) -> argparse.ArgumentParser:
        command = within.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        return command

    command = verb("list", _list, "list what is registered, and the presets")
    command.add_argument("what", choices=[*LISTS, "presets"])
    _plugin(command)

    command = verb("show", _show, "show an entry: what it is, its source and its settings")
    command.add_argument("name")
    _plugin(command)

    command = verb("run", _run, "run a grid of cells and print its tables")
    command.add_argument("source", help="a preset (see `crowdbench list presets`) or a YAML file")
    for flag, key in SHORTCUTS.items():
        command.add_argument(f"--{flag}", metavar="VALUE", help=f"short for --set {key}=VALUE; --set goes on top")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="override a setting; values separated by commas make an axis of the grid")
    command.add_argument("--out", type=Path, help="folder for records and tables (default: runs/SOURCE)")
    command.add_argument("--store", type=Path, default=STORE, help=f"folder of trained counters (default: {STORE})")
    command.add_argument("--dry-run", action="store_true", help="print what would be done, how long it will take and "
                         "how much disk it needs, and do nothing")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")
    command.add_argument("--retry-failed", action="store_true", help="run only the cells that failed before, again")
    command.add_argument("--shard", metavar="I/N", type=_share, default=(1, 1),
                         help="run only share I of N, for job arrays; cells of one victim are of one share")
    command.add_argument("--executor", choices=["here", "ray"], default="here",
                         help="make stages in this process (default), or on a Ray cluster")
    command.add_argument("--address", help="of a running Ray cluster, 'auto' for this machine's (default: start one)")
    command.add_argument("--cpus", type=float, default=1, help="processors that a stage on Ray asks for (default: 1)")
    command.add_argument("--gpus", type=float, help="GPUs that a stage on Ray asks for; 0.5 lets two share one "
                         "(default: 1 where there are any)")
    _plugin(command)

    command = verb("leaderboard", _leaderboard, "print and write the tables of records")
    command.add_argument("--out", type=Path, help="folder to write the tables and a page, leaderboard.html, to")
    _records(command)

    command = verb("compare", _compare, "print what one defense does better and worse than every other, and the odds")
    command.add_argument("defense", help="a defense that the records hold")
    _records(command)

    command = verb("reproduce", _reproduce, "run the cells of records again from nothing, and compare the counts")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="where the data lies, or a file that a record only names")
    command.add_argument("--out", type=Path, default=Path("runs/reproduce"),
                         help="folder of the new records and their store (default: runs/reproduce)")
    _records(command)
    _plugin(command)

    command = verb("new", _new, "write a defense of your own to start from, and its test")
    command.add_argument("what", choices=["defense", "detector"])
    command.add_argument("name", help="of the defense and of its file")
    command.add_argument("--out", type=Path, default=Path(), help="folder to write to (default: this one)")

    command = verb("ablation", _ablation, "print and write tables and curves of two settings that vary over records")
    for flag, setting in (("rows", "poison_rate"), ("columns", "alpha")):
        command.add_argument(f"--{flag}", default=setting, metavar="SETTING", help=f"one setting (default: {setting})")
    command.add_argument("--out", type=Path, help="folder to write to (default: ablation, beside the first records)")
    _records(command)

    figure = verbs.add_parser("figure", help="draw a page of pictures").add_subparsers(required=True, metavar="FIGURE")
    command = verb("triggers", _figure_triggers, "every trigger on a drawn scene, with its equation and PSNR", figure)
    command.add_argument("--out", type=Path, default=Path("docs/triggers.md"),
                         help="the page to write; pictures lie beside it (default: docs/triggers.md)")
    _plugin(command)

    command = verb("defenses", _figure_defenses, "flip rate over accuracy: a letter per defense, a panel per attack",
                   figure)
    command.add_argument("--out", type=Path, default=Path("defenses"),
                         help="where to write, without the .png and .pdf that are added (default: defenses)")
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")

    for name, text in (("kde", "densities of r = count / truth before and after a defense, as in the paper"),
                       ("scatter", "counts over true counts before and after a defense")):
        command = verb(name, _figure_of_counts, text, figure)
        command.set_defaults(kind=name)
        command.add_argument("--defense", default="fine_tune", help="a defense (default: fine_tune, the paper's)")
        command.add_argument("--out", type=Path, help="where to write, without the .png and .pdf that are added "
                             f"(default: {name}-DEFENSE)")
        command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")

    audits = verbs.add_parser("audit", help="recompute what others published").add_subparsers(required=True,
                                                                                             metavar="WHAT")
    command = verb("paper", _audit_paper, "the paper's tables against each other and its text, with the arithmetic",
                   audits)
    command.add_argument("--json", action="store_true", help="print JSON")

    data = verbs.add_parser("data", help="look at a dataset").add_subparsers(required=True, metavar="COMMAND")
    command = verb("check", _data_check, "count images and people, and find what is broken, missing or equal", data)
    command.add_argument("name", help="a dataset (see `crowdbench list datasets`)")
    command.add_argument("--root", help="the folder that holds it (default: the environment variable CROWD_DATA)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the dataset")
    command.add_argument("--json", action="store_true", help="print JSON")

    store = verbs.add_parser("store", help="look after trained counters").add_subparsers(required=True,
                                                                                         metavar="COMMAND")
    for command in (verb("list", _store_list, "list what is there, finished or not", store),
                    verified := verb("verify", _store_verify, "find what is not as it was written", store),
                    cleared := verb("gc", _store_gc, "take away what failed and stopped runs left, with their "
                                    "checkpoints, and with --keep what no record needs", store)):
        command.add_argument("--store", type=Path, default=STORE, help=f"the folder (default: {STORE})")
        command.add_argument("--json", action="store_true", help="print JSON")
    verified.add_argument("--remove", action="store_true", help="take damaged stages away; a run makes them again")
    cleared.add_argument("--keep", nargs="+", type=Path, metavar="RECORDS",
                         help="record files or folders: finished stages that none of them needs go too")
    cleared.add_argument("--dry-run", action="store_true", help="print what would go, and take nothing away")

    command = verb("speed", _speed, "measure this machine: counters in training and counting, and parts of the work "
                   "beside the other way to do them; estimates of --dry-run use it")
    command.add_argument("--model", default="tiny,squeeze", metavar="NAME,...", help="counters (default: tiny,squeeze)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the counters")
    command.add_argument("--precision", metavar="NAME,...", help="fp32, bf16 (default: both where both run natively)")
    command.add_argument("--size", default="1024x768", metavar="WxH", help="of an image (default: 1024x768)")
    command.add_argument("--json", action="store_true", help="print JSON")
    _plugin(command)

    command = verb("convert", _convert, "turn somebody's weights into safetensors; nothing in the file is run")
    command.add_argument("source", metavar="FILE", type=Path, help="a torch file of tensors, or a safetensors file")
    command.add_argument("out", metavar="OUT.safetensors", type=Path, help="the file to write")
    command.add_argument("--model", metavar="NAME", help="check that it is a whole counter, and name its tensors so")
    _plugin(command)
    return parser


def _plugin(command: argparse.ArgumentParser) -> None:
    command.add_argument("--plugin", action="append", metavar="FILE", help="a .py file of your own with an entry")


def _records(command: argparse.ArgumentParser) -> None:
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _list(options: argparse.Namespace) -> int:
    if options.what == "presets":
        from benchmark import config

        rows = [[name, config.PRESETS.joinpath(f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")]
                for name in config.preset_names()]
    else:
        rows = [[kind, name, _headline(kind, name)] for kind in LISTS[options.what] for name in registry.names(kind)]
    print(tabulate(rows, tablefmt="plain"))
    return 0


def _headline(kind: str, name: str) -> str:
    """The first line of an entry's file, read without importing it; a plugin's from the class itself."""
    path = Path(__file__).parents[1].joinpath(*registry.PACKAGES[kind].split("."), f"{name}.py")
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


def _run(options: argparse.Namespace) -> int:
    from benchmark import config, grid, planning
    from benchmark.device import state
    from benchmark.leaderboard import beside, show, write
    from benchmark.stages import Bench
    from benchmark.store import Store

    given = {key: getattr(options, flag) for flag, key in SHORTCUTS.items()}
    shortcuts = [f"{key}={value}" for key, value in given.items() if value is not None]
    request = config.override(config.load(options.source), shortcuts + options.set)
    cells = config.cells(request)
    bench, out = Bench(Store(options.store)), options.out or Path("runs") / Path(options.source).stem
    if options.shard != (1, 1):
        cells = grid.shard(cells, bench, *options.shard)
    if options.dry_run:
        plan = planning.plan(cells, bench, out)
        print(json.dumps(plan.to_dict()) if options.json else plan.text())
        return 0
    outcome = grid.run(cells, bench, out, _executor(options), options.retry_failed)
    if outcome.records and state().is_main_process:
        earlier = _pairs([out / "records"])
        others = beside(outcome.records, [record for _, record in earlier])
        records = outcome.records + others
        write(records, out)
        print(_as_json(records) if options.json else show(records))
        if others and not options.json:
            _print_differences(outcome.records, records)
        paths = {id(record): path for path, record in [*earlier, *zip(outcome.paths, outcome.records)]}
        _write_page(records, paths, out)
        print(f"records: {out / 'records'}  tables: {out / 'tables'}  page: {out / 'leaderboard.html'}", file=sys.stderr)
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _share(text: str) -> tuple[int, int]:
    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 1 to N, for instance 3/8")
    return int(number), int(shards)


def _executor(options: argparse.Namespace) -> Any:
    from benchmark.cluster import on_ray
    from benchmark.executors import here

    if options.executor == "ray":
        return partial(on_ray, address=options.address, cpus=options.cpus, gpus=options.gpus,
                       plugins=[Path(plugin) for plugin in options.plugin or []])
    for flag in ("address", "gpus"):
        if getattr(options, flag) is not None:
            raise UserError(f"--{flag}: expected only with --executor ray")
    return here


def _leaderboard(options: argparse.Namespace) -> int:
    from benchmark.leaderboard import show, write

    pairs = _pairs(options.records)
    records = [record for _, record in pairs]
    if options.out:
        write(records, options.out)
        _write_page(records, {id(record): path for path, record in pairs}, options.out)
    print(_as_json(records) if options.json else show(records))
    return 0


def _write_page(records: list[Any], paths: dict[int, Path], out: Path) -> None:
    from benchmark.leaderboard.cells import scenarios
    from benchmark.leaderboard.page import write_page

    write_page(scenarios(records), paths, out / "leaderboard.html")


def _compare(options: argparse.Namespace) -> int:
    from benchmark.leaderboard import compare
    from benchmark.leaderboard.formats import markdown

    table = compare(_read(options.records), options.defense)
    print(table.frame.to_json(orient="records") if options.json else markdown(table))
    return 0


def _print_differences(own: list[Any], records: list[Any]) -> None:
    """What each repairing defense of a run does better and worse than those of earlier runs."""
    from benchmark.leaderboard import CONTROLS, compare
    from benchmark.leaderboard.formats import markdown

    repairs = {record.defense.name for record in own if record.detection is None or
               record.detection.of == "training images"}
    for defense in sorted(repairs - {"none", *CONTROLS}):
        print(markdown(compare(records, defense)))


def _reproduce(options: argparse.Namespace) -> int:
    from benchmark import config, grid
    from benchmark.leaderboard.formats import markdown
    from benchmark.reproducing import comparison, request_of
    from benchmark.stages import Bench
    from benchmark.store import Store

    records = _read(options.records)
    cells = [cell for record in records for cell in config.cells(config.override(request_of(record), options.set))]
    bench = Bench(Store(options.out / "store"))
    outcome = grid.run(cells, bench, options.out)
    again = dict(zip(outcome.paths, outcome.records))
    paths = [grid.record_path(cell, bench, options.out) for cell in cells]
    pairs = [(record, again[path]) for record, path in zip(records, paths) if path in again]
    if pairs:
        table, agree = comparison(pairs)
        print(table.frame.to_json(orient="records") if options.json else markdown(table))
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return int(bool(outcome.failures) or not agree)


def _new(options: argparse.Namespace) -> int:
    from benchmark.new import write_new

    for path in (paths := write_new(options.what, options.name, options.out)):
        print(path)
    print(f"try: python -m pytest {paths[1]}; crowdbench run quick --defense {options.name} --plugin {paths[0]}",
          file=sys.stderr)
    return 0


def _ablation(options: argparse.Namespace) -> int:
    from benchmark.figures import write_curves
    from benchmark.leaderboard.ablation import ablation, show, tidy, write

    found = ablation(_read(options.records), options.rows, options.columns)
    out = options.out or options.records[0].parent / "ablation"
    write(found, out)
    write_curves(found, out)
    print(tidy(found).to_json(orient="records") if options.json else show(found))
    print(f"tables and curves: {out}", file=sys.stderr)
    return 0


def _figure_triggers(options: argparse.Namespace) -> int:
    from benchmark.figures import write_triggers

    write_triggers(options.out)
    print(options.out)
    return 0


def _figure_defenses(options: argparse.Namespace) -> int:
    from benchmark.figures import write_defenses
    from benchmark.leaderboard.cells import scenarios

    write_defenses(scenarios(_read(options.records)), options.out)
    print(f"{options.out}.png\n{options.out}.pdf")
    return 0


def _figure_of_counts(options: argparse.Namespace) -> int:
    from benchmark import figures_of_counts
    from benchmark.leaderboard.cells import scenarios

    out = options.out or Path(f"{options.kind}-{options.defense}")
    write = {"kde": figures_of_counts.write_kde, "scatter": figures_of_counts.write_scatter}[options.kind]
    write(scenarios(_read(options.records)), options.defense, out)
    print(f"{out}.png\n{out}.pdf")
    return 0


def _audit_paper(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.paper_audit import audit

    found = audit()
    print(json.dumps(found.to_dict()) if options.json else found.text())
    return 0


def _read(given: list[Path]) -> list[Any]:
    return [record for _, record in _pairs(given)]


def _pairs(given: list[Path]) -> list[tuple[Path, Any]]:
    """The records in files and folders, each with its path."""
    from benchmark.record import Record

    paths = [path for part in given for path in (sorted(part.rglob("*.json")) if part.is_dir() else [part])]
    if not paths:
        raise UserError(f"no record (*.json) in {', '.join(map(str, given))}")
    return [(path, Record.read(path)) for path in paths]


def _as_json(records: list[Any]) -> str:
    from benchmark.leaderboard import controls

    return controls(records).to_json(orient="records")


def _data_check(options: argparse.Namespace) -> int:
    from benchmark import config
    from benchmark.data.check import check

    given = config.override({}, options.set) | ({"root": options.root} if options.root else {})
    report = check(registry.build("dataset", options.name, given))
    print(json.dumps(report.to_dict()) if options.json else report.text())
    return 0


def _store_list(options: argparse.Namespace) -> int:
    from benchmark.housekeeping import contents

    _print_stages(contents(options.store), options.json)
    return 0


def _store_verify(options: argparse.Namespace) -> int:
    from benchmark.housekeeping import contents, damaged, remove

    found = list(damaged(options.store))
    if options.remove:
        remove(one for one, _ in found)
    told = [one.row() | {"wrong": wrong, "removed": options.remove} for one, wrong in found]
    print(json.dumps(told) if options.json else "\n".join(
        [*(f"{one.title}: {wrong}{'; removed' if options.remove else ''}" for one, wrong in found),
         f"{len(contents(options.store))} stages, {len(found)} damaged"]))
    return int(bool(found) and not options.remove)


def _store_gc(options: argparse.Namespace) -> int:
    from benchmark.housekeeping import garbage, remove

    gone = garbage(options.store, _read(options.keep) if options.keep else None)
    if not options.dry_run:
        remove(gone)
    _print_stages(gone, options.json)
    return 0


def _print_stages(stages: list[Any], as_json: bool) -> None:
    from benchmark.estimates import duration, size

    if as_json:
        print(json.dumps([one.row() for one in stages]))
        return
    rows = [{"kind": one.kind, "key": one.key, "stage": one.title, "status": one.status, "size": size(one.size),
             "took": "" if one.seconds is None else duration(one.seconds), "written": one.changed} for one in stages]
    total = f"{len(stages)} stages, {size(sum(one.size for one in stages))}"
    print("\n".join([*([tabulate(rows, headers="keys", tablefmt="simple"), ""] if rows else []), total]))


def _speed(options: argparse.Namespace) -> int:
    from benchmark import config, speed

    width, _, height = options.size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size {options.size!r}: expected WxH in pixels, for instance 1024x768")
    settings = config.override({}, options.set)
    models = [config.Entry("model", name, settings) for name in options.model.split(",")]
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
