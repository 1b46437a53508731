"""Commands that say where a dataset comes from, unpack it, and check it."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.cli.options import add_command, add_group, add_plugin_flag
from benchmark.utils.errors import UserError


def add(commands: Any) -> None:
    """Add data check and data get."""
    data = add_group(commands, "data", "tell where a dataset comes from, unpack it and check it")
    command = add_command(data, "check", _check,
                          "count images and people, and report missing, broken, small and "
                          "duplicate files")
    command.add_argument("name", help="a dataset (see `crowdbench list datasets`)")
    command.add_argument("--root", help="the folder that holds it "
                                        "(default: the environment variable CROWD_DATA)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="a setting of the dataset")
    command.add_argument("--json", action="store_true", help="print JSON")
    add_plugin_flag(command)

    command = add_command(data, "get", _get,
                          "say where a dataset comes from, its licence and its size; or unpack "
                          "its downloaded archives and count its images")
    command.add_argument("name", help="a dataset (see `crowdbench list datasets`)")
    command.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE",
                         help="a downloaded .zip, .tar, .tar.gz or .tgz, or a list (.txt) that "
                              "lies beside them; nothing is downloaded")
    command.add_argument("--to", type=Path, metavar="FOLDER",
                         help="a new or empty folder to unpack into")
    add_plugin_flag(command)


def _check(options: argparse.Namespace) -> int:
    from benchmark.config.request import override
    from benchmark.data.check import check

    settings = override({}, [text.removeprefix("data.") for text in options.set])
    if options.root:
        settings["root"] = options.root
    report = check(registry.build("dataset", options.name, settings))
    print(json.dumps(report.to_dict()) if options.json else report.text())
    return 0 if report.ok else 1


def _get(options: argparse.Namespace) -> int:
    from benchmark.data.archives import unpack
    from benchmark.data.published import check_archived, compare_counts, describe

    dataset = registry.find("dataset", options.name)
    if bool(options.archives) != bool(options.to):
        raise UserError("data get: expected the archives that were downloaded and --to FOLDER, or "
                        "none of the two")
    if not options.archives:
        print(describe(dataset))
        return 0
    check_archived(dataset)
    unpack(options.archives, options.to)
    lines, as_published = compare_counts(dataset, options.to)
    print("\n".join([f"unpacked into {options.to}", *lines]))
    return 0 if as_published else 1
