"""Footnotes of tables: the settings that all rows share, and notes on single rows."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import comparable_group, short_name

# Kinds of settings that are noted, in this order, and the values that need no note.
KINDS = ("variant", "data", "trigger", "test_trigger", "poison_rate", "also", "latent", "choose",
         "attack")
UNNOTED = ("data.images", "attack.entry")
USUAL = {"test_trigger": "as trained", "also": "none", "latent": "0", "choose": "by target"}


def common_settings(rows: Sequence[Settings]) -> list[str]:
    """A note of the settings that have one value in all rows that can have them; [] without any.

    >>> common_settings([{"data": "a", "data.part": "B", "poison_rate": "0.1"},
    ...                  {"data": "a", "data.part": "B"}])
    ['All rows have the settings data a (part B), poison_rate 0.1.']
    >>> common_settings([{"data": "a", "data.part": "B", "poison_rate": "0.1"},
    ...                  {"data": "b", "poison_rate": "0.2"}])
    []
    """
    values = defaultdict(set)
    for key in set().union(*rows):
        for row in rows:
            if comparable_group(row, key) is not None:
                values[key].add(row.get(key))
    common = {}
    for key in values:
        value, *others = values[key]
        if not others and value not in (None, "null", USUAL.get(key)) and key not in UNNOTED:
            common[key] = f"{short_name(key)} {value}"
    notes = [note for kind in KINDS for note in _of_kind(kind, common)]
    return [f"All rows have the settings {', '.join(notes)}."] if notes else []


def _of_kind(kind: str, notes: Mapping[str, str]) -> list[str]:
    """The notes of a kind, with its own settings in brackets: 'data a (part B)'.

    notes: those of all common settings, by their keys.
    """
    of_its_own = [notes[key] for key in sorted(notes) if key.startswith(f"{kind}.")]
    if kind not in notes:
        return of_its_own
    return [f"{notes[kind]} ({', '.join(of_its_own)})" if of_its_own else notes[kind]]


def row_notes(rows: Iterable[tuple[str, Result | None]]) -> list[str]:
    """Notes on the rows (name, result) that need them.

    They are: variant `code`, warnings of the records, seeds that differ in their images, missing
    seeds, images without people, and defenses that changed nothing. A row that was not run (None)
    has no notes.
    """
    results = [(name, result) for name, result in rows if result]
    seeds = sorted({record.seed for _, result in results for record in result.records})
    return _lines([(name, [*_notes(result, seeds), *_unchanged(result)])
                   for name, result in results])


def unchanged_notes(rows: Iterable[tuple[str, Result]]) -> list[str]:
    """The notes of `row_notes` on defenses that changed nothing, and no others."""
    results = dict(rows)  # a table of differences has one result in several rows
    return _lines([(name, list(_unchanged(result))) for name, result in results.items()])


def _lines(rows: Sequence[tuple[str, list[str]]]) -> list[str]:
    """A line for each note, with the names of the rows that have it. rows: name and notes."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, notes in rows:
        for note in notes:
            names[note].append(name)
    lines = []
    for note, rows_of_note in sorted(names.items()):
        is_common = len(rows_of_note) == len(rows) > 1
        lines.append(f"In {'all rows' if is_common else '; '.join(rows_of_note)}: {note}.")
    return lines


def _unchanged(result: Result) -> Iterator[str]:
    """The note on a defense whose counts are those of no defense, for all seeds or some."""
    seeds = result.unchanged_seeds
    if seeds:
        which = "" if seeds == result.seeds else f" with {_listed(seeds)}"
        yield f"its counts equal those of no defense{which}: it changed nothing"


def _notes(result: Result, seeds: list[int]) -> Iterator[str]:
    """The other notes on one row. seeds: of all rows."""
    if result.settings["variant"] == "code":
        yield "variant code, which follows the paper's released code where it differs from the text"
    yield from sorted({warning for record in result.records for warning in record.warnings})
    hashes = {json.dumps(record.provenance.get("data"), sort_keys=True)
              for record in result.records}
    if len(hashes) > 1:
        yield "the seeds differ in their training or test images"
    if result.seeds != seeds:
        verb = "was" if len(result.seeds) == 1 else "were"
        yield f"only {_listed(result.seeds)} of {_listed(seeds)} {verb} run"
    images, with_people = (int(result.numbers[key]) for key in ("images", "images_ratio"))
    if with_people < images:
        yield (f"{images - with_people} of {images} images show no people and are left out of the "
               "ratios")


def _listed(seeds: list[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
