"""What stands under a table: the settings that its rows share, and what a reader must know of single rows."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import peers, short

SHARED = ("variant", "data", "trigger", "test_trigger", "poison_rate", "also", "latent", "choose")  # kinds worth a line
USUAL = {"test_trigger": "as trained", "also": "none", "latent": "0", "choose": "by target"}  # not worth one


def shared(rows: Sequence[Settings]) -> list[str]:
    """A note of the settings that all rows have in common that could have them: a clean counter has no poison rate.

    >>> shared([{"data": "a", "data.part": "B", "poison_rate": "0.1"}, {"data": "a", "data.part": "B"}])
    ['All rows: data a, part B, poison_rate 0.1.']
    >>> shared([{"data": "a", "data.part": "B", "poison_rate": "0.1"}, {"data": "b", "poison_rate": "0.2"}])
    []
    """
    values = defaultdict(set)
    for key in set().union(*rows):
        for row in rows:
            if peers(row, key) is not None:
                values[key].add(row.get(key))
    common = [f"{short(key)} {min(values[key])}" for kind in SHARED for key in sorted(values)
              if key.partition(".")[0] == kind and len(values[key]) == 1 and key != "data.images"
              and values[key].isdisjoint({"null", USUAL.get(key)})]
    return [f"All rows: {', '.join(common)}."] if common else []


def remarks(rows: Iterable[tuple[str, Result | None]]) -> list[str]:
    """Notes on rows (name, cell): variant `code`, their records' warnings, missing seeds, images without people."""
    results = [(name, result) for name, result in rows if result]
    seeds = sorted({record.seed for _, result in results for record in result.records})
    names: dict[str, list[str]] = defaultdict(list)
    for name, result in results:
        for remark in _remarks(result, seeds):
            names[remark].append(name)
    return [f"In {'all rows' if len(named) == len(results) > 1 else '; '.join(named)}: {remark}."
            for remark, named in sorted(names.items())]


def _remarks(result: Result, seeds: list[int]) -> Iterator[str]:
    if result.settings["variant"] == "code":
        yield "variant code, the paper's released code where it differs from its text"
    yield from sorted({warning for record in result.records for warning in record.warnings})
    if len({json.dumps(record.provenance.get("data"), sort_keys=True) for record in result.records}) > 1:
        yield "seeds with other training or test images"
    own = [record.seed for record in result.records]
    if own != seeds:
        yield f"{_listed(own)} of {_listed(seeds)}"
    images, counted = (int(result.numbers[key]) for key in ("images", "images_ratio"))
    if counted < images:
        yield f"{images - counted} of {images} images show no people and are left out of the ratios"


def _listed(seeds: list[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
