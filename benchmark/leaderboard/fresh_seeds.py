"""Fresh seeds: which cells of an entry a maintainer runs again, and with which seeds.

Nobody chooses them. They follow from a hash of the entry's revision, which the records determine,
and of the commit that published the entry. Its author cannot know that commit when the records are
made, because it names the time at which a maintainer merged them. So nobody can train many counters
first and then enter those whose verification looks best.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.consistency import slots_of
from benchmark.leaderboard.grid_slots import GridSlot, find_slot, victim_settings
from benchmark.leaderboard.manifest import Manifest, identity
from benchmark.leaderboard.record_checks import check_content
from benchmark.leaderboard.required_fields import check_fields
from benchmark.leaderboard.reruns import is_copy
from benchmark.results.controls import CONTROLS
from benchmark.results.record import Record
from benchmark.utils.strict_json import InvalidFile

LOWEST, NUMBER = 1000, 1_000_000  # of the seeds that are drawn; those of the grids are lower
COMMIT = r"[0-9a-f]{40}([0-9a-f]{24})?"  # the hash of a git commit, SHA-1 or SHA-256


@dataclass(frozen=True)
class DrawnCell:
    """A cell of an entry that is run again with a fresh seed.

    entered: the entry's records of this cell, one for each seed of the grid.
    """

    key: str
    seed: int
    entered: tuple[Record, ...]

    @property
    def identity(self) -> tuple[str, int]:
        """The cell and its seed, which no other drawn cell has; see `identity_of`."""
        return self.key, self.seed

    @property
    def title(self) -> str:
        record = self.entered[0]
        attack = f"{record.attack.trigger.name}/{record.attack.target.name}"
        return f"{record.model.name} {attack} {record.defense.name} seed {self.seed}"


def own_cells(manifest: Manifest, records: Iterable[Record]) -> dict[str, tuple[Record, ...]]:
    """The records that an entry is about, by their cell without the seed, in a fixed order.

    These are the attacked cells of the entered defense, or those of the entered attack with no
    defense and with each repair of the grid. Cells without an attack and those of detectors have no
    RA of their own, and a counter that was trained anew as a control never met the attack.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if manifest.attack:
            is_own = record.defense.name not in CONTROLS
        else:
            is_own = identity(record.defense) == identity(manifest.defense)
        repairs = not record.detection or record.detection.of == "training images"
        if record.attack and is_own and repairs:
            groups.setdefault(_key(record), []).append(record)
    return {key: tuple(sorted(group, key=lambda record: record.seed))
            for key, group in sorted(groups.items())}


def drawn_cells(cells: Mapping[str, tuple[Record, ...]], revision: str,
                commit: str) -> Iterator[DrawnCell]:
    """The sequence of cells and fresh seeds of an entry, without end.

    A verification runs the first few. No cell comes twice before every other one came once.

    cells: see `own_cells`. revision: of the entry. commit: the commit that published it.
    """
    for turn in itertools.count():
        digests = {key: _digest(revision, commit, turn, key) for key in cells}
        for key in sorted(cells, key=digests.__getitem__):
            yield DrawnCell(key, LOWEST + int(digests[key], 16) % NUMBER, cells[key])


def check_drawn(cell: DrawnCell, record: Record, manifest: Manifest,
                grid: FrozenGrid) -> Iterator[tuple[str, str]]:
    """The problems of the record of a drawn cell, as keys and messages."""
    try:
        check_fields(record)
        slot = find_slot(record, [_with_seed(slot, cell.seed) for slot in slots_of(manifest, grid)])
    except InvalidFile as error:
        yield error.key, error.what
        return
    yield from check_content(record, slot, grid)
    if any(is_copy(entered, record) for entered in cell.entered):
        yield "images", ("the counts of the entry's own record of another seed; expected those of "
                         "counters that were trained with this seed")


def _with_seed(slot: GridSlot, seed: int) -> GridSlot:
    return replace(slot, settings=slot.settings | {"seed": seed})


def identity_of(record: Record) -> tuple[str, int]:
    """The `identity` of the drawn cell that a record is of."""
    return _key(record), record.seed


def _key(record: Record) -> str:
    """The cell of a record without its seed, as text."""
    settings = victim_settings(record)
    del settings["seed"]
    return json.dumps([settings, identity(record.defense)], sort_keys=True)


def _digest(revision: str, commit: str, turn: int, key: str) -> str:
    return hashlib.sha256(f"{revision} {commit} {turn} {key}".encode()).hexdigest()


def is_commit(text: str) -> bool:
    """Whether a text is the full hash of a git commit."""
    return re.fullmatch(COMMIT, text) is not None
