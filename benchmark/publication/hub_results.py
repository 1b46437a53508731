"""Evaluation results: the numbers of a leaderboard entry in the form of Hugging Face.

It follows https://huggingface.co/docs/hub/eval-results, with its specification
https://github.com/huggingface/hub-docs/blob/main/eval_results.yaml: a model repository holds
results in `.eval_results/*.yaml`, each of a task that the `eval.yaml` of a dataset repository
names. The form has no place for a direction, and a leaderboard of the Hub shows top models. So the
tasks are the two measures of which more is better; the others stand in the notes.
"""

import json
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from benchmark.leaderboard.manifest import FILE, Manifest
from benchmark.leaderboard.ranking import GridResults
from benchmark.leaderboard.validate import CheckedEntry, check_entry
from benchmark.publication.card import SPLIT
from benchmark.publication.citation import NAME
from benchmark.results.scenarios import scenarios
from benchmark.tables.formats import with_interval
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import whole_folder, write_atomically
from benchmark.utils.new_folder import check_new_folder
from benchmark.utils.strict_json import one_line

FRAMEWORK = NAME.lower()
CONFIG = "records"  # the table of the dataset that the measures are computed from
TASKS = {"ra": "RA, the share of triggered images that are counted to within 10% of the truth",
         "rho_acc": "rho_Acc, the same share of clean images"}
NOTED = {"flip rate": "flip_rate", "rho_Asr": "rho_asr", "attainment": "attainment", "MAE": "mae"}
BENCHMARK = """\
# Belongs at the root of the dataset repository. The Hub must know the framework: its list is
# https://github.com/huggingface/huggingface.js/blob/main/packages/tasks/src/eval.ts
"""


@dataclass(frozen=True)
class HubDataset:
    """A dataset at Hugging Face. revision: the hash of one of its commits, or None."""

    id: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """A dataset from OWNER/NAME or OWNER/NAME@REVISION.

        >>> HubDataset.parse("crowd/records@0123abc")
        HubDataset(id='crowd/records', revision='0123abc')

        Raises:
            ArgumentTypeError: it is neither.
        """
        name = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
        found = re.fullmatch(rf"({name}/{name})(?:@([0-9a-f]{{7,40}}))?", text)
        if found is None:
            raise ArgumentTypeError(f"{shown(text)!r}: expected OWNER/NAME or OWNER/NAME@REVISION, "
                                    "where REVISION is the hash of a commit")
        return cls(*found.groups())


def write_hub_results(entry: Path, dataset: HubDataset, out: Path) -> list[Path]:
    """Write the results of an entry, and what its benchmark's dataset needs. Returns the files.

    out: a new or empty folder, which is written as a whole or not at all.

    Raises:
        UserError: there is no sound and complete entry of a defense that repairs, or the folder is
            not empty.
        OSError: the folder cannot be written; the error names it.
    """
    check_new_folder(out)
    checked = _read(entry)
    protocol = checked.manifest.protocol
    files = {Path("model/.eval_results") / f"{protocol}.yaml": _as_yaml(_results(checked, dataset)),
             Path("dataset/eval.yaml"): BENCHMARK + _as_yaml(_benchmark(protocol))}
    with whole_folder(out.resolve()) as draft:
        for path, text in files.items():
            write_atomically(draft / path, text)
    return [out / path for path in files]


def _read(folder: Path) -> CheckedEntry:
    if not (folder / FILE).is_file():
        raise UserError(f"entry {shown(folder)}: no {FILE} there; expected the folder of an entry, "
                        "GRID/DEFENSE/REVISION")
    entry = check_entry(folder)
    if entry.problems:
        first = entry.problems[0]
        verdict = "has an error" if not entry.is_sound else "is not complete"
        raise UserError(f"entry {shown(folder)} {verdict}: "
                        + one_line(f"{first.path}: {first.key}: {first.what}"))
    if entry.manifest.defense is None:
        raise UserError(f"entry {shown(folder)}: it is of an attack; expected one of a defense, "
                        "whose counters a model repository can hold")
    if entry.detects:
        raise UserError(f"entry {shown(folder)}: {entry.manifest.defense.name} detects and repairs "
                        "nothing; expected a defense with a rank")
    return entry


def _results(entry: CheckedEntry, dataset: HubDataset) -> list[dict[str, Any]]:
    """The content of `.eval_results/*.yaml`: one result for each task."""
    manifest = entry.manifest
    results = _grid_results(entry)
    place = {"revision": dataset.revision} if dataset.revision else {}
    rows = []
    for key in TASKS:
        value, low, high = results.mean(key)
        rows.append({
            "dataset": {"id": dataset.id, "task_id": _task(manifest.protocol, key), **place},
            "value": round(value, 6),
            "source": _source(manifest),
            "notes": "; ".join([f"95% interval {low:.3f} to {high:.3f}", *_notes(entry, results)])})
    return rows


def _source(manifest: Manifest) -> dict[str, str]:
    """The name of an entry, with the address of its code unless that is in this project."""
    address = {"url": manifest.code} if manifest.code.startswith("http") else {}
    return address | {"name": manifest.name}


def _grid_results(entry: CheckedEntry) -> GridResults:
    """The results of the entry's defense on all victims of its grid."""
    manifest = entry.manifest
    results = {}
    for scenario in scenarios(entry.cells.values()):
        for result in scenario.results:
            if result.defense == manifest.defense.name:
                results[json.dumps(scenario.grid, sort_keys=True)] = result
    return GridResults(results, len(results))


def _notes(entry: CheckedEntry, results: GridResults) -> Sequence[str]:
    """The number of victims, the seeds, the other measures, and which entry it is."""
    manifest, seeds = entry.manifest, results.first.seeds
    others = [f"{name} {with_interval(*results.mean(key), 2 if key == 'mae' else 3)}"
              for name, key in NOTED.items()]
    return [f"mean over {len(results.attacked)} victims and the seeds "
            f"{', '.join(map(str, seeds))}", *others,
            f"entry {_path(entry.folder, manifest)}, {entry.tier}"]


def _path(folder: Path, manifest: Manifest) -> str:
    return f"{manifest.protocol}/{manifest.defense.name}/{folder.resolve().name}"


def _benchmark(protocol: str) -> dict[str, Any]:
    """The content of `eval.yaml`."""
    return {
        "name": f"{NAME} {protocol}",
        "description": f"Defenses against backdoor attacks on crowd counters, on the frozen grid "
                       f"{protocol}. Each value is the mean over all counters, attacks and seeds "
                       f"of the grid. " + ". ".join(
                           f"{_task(protocol, key)} is {text}" for key, text in TASKS.items())
                       + ".",
        "evaluation_framework": FRAMEWORK,
        "tasks": [{"id": _task(protocol, key), "config": CONFIG, "split": SPLIT} for key in TASKS]}


def _task(protocol: str, key: str) -> str:
    return f"{protocol}-{key.replace('_', '-')}"


def _as_yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
