"""Verify: draws cells of an entry with fresh seeds, and adds the records of their runs to it."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmark.config import frozen_grids
from benchmark.config.cell import Cell
from benchmark.leaderboard.entry_files import read_verification
from benchmark.leaderboard.fresh_seeds import DrawnCell, drawn_cells, is_commit, own_cells
from benchmark.leaderboard.manifest import FILE, VERIFICATION, revision
from benchmark.leaderboard.validate import CheckedEntry, check_entry
from benchmark.leaderboard.verification import Verification, check_verification
from benchmark.results.record import Record
from benchmark.results.rerun_request import cell_of
from benchmark.utils.errors import UserError
from benchmark.utils.files import publish
from benchmark.utils.strict_json import one_line

MOST_CELLS = 1000  # of an entry that may be verified


@dataclass(frozen=True)
class Drawing:
    """The cells of an entry that are to be run, and the commit from which they were drawn."""

    entry: CheckedEntry
    commit: str
    cells: Sequence[DrawnCell]

    @property
    def name(self) -> str:
        """The name of a folder for its runs, which no other entry has."""
        manifest = self.entry.manifest
        return f"{manifest.folder}-{revision(manifest.cells)}"

    def grid(self, assignments: Sequence[str] = ()) -> list[Cell]:
        """The cells, each with its drawn seed. assignments: see `cell_of`, which may raise."""
        return [cell_of(drawn.entered[0].model_copy(update={"seed": drawn.seed}), assignments)
                for drawn in self.cells]


def draw(folder: Path, number: int, commit: str | None = None) -> Drawing:
    """The first cells of the sequence of an entry, see `drawn_cells`.

    number: how many. commit: that which published the entry; None for the one that an earlier
    verification names, or else that which git finds.

    Raises:
        UserError: the entry is missing, has an error, is of a detector or was verified from another
            commit; fewer cells are asked for than were run before; or git knows no such commit.
    """
    if not folder.is_dir():
        raise UserError(f"verify {folder}: not a folder; expected that of an entry")
    entry = check_entry(folder)
    if not entry.is_sound:
        first = next(problem for problem in entry.problems if problem.grave)
        raise UserError(one_line(f"verify {first.path}: {first.key}: {first.what}"))
    cells = own_cells(entry.manifest, entry.cells.values())
    if not cells:
        raise UserError(f"verify {folder}: {entry.manifest.subject} repairs nothing; expected an "
                        "entry with attacked cells that have a rank")
    known, runs = read_verification(folder)
    if commit and known and commit != known:
        raise UserError(f"verify --commit {commit}: the entry was verified from {known}; expected "
                        "the same")
    if not max(len(runs), 1) <= number <= MOST_CELLS:
        raise UserError(f"verify --cells {number}: expected {max(len(runs), 1)} to {MOST_CELLS}"
                        + (f", since {len(runs)} were run before" if runs else ""))
    commit = commit or known or _publishing_commit(folder)
    if not is_commit(commit):
        raise UserError(one_line(f"verify --commit {commit:.80}: expected the full hash of a "
                                 "commit, 40 hex digits"))
    drawn = drawn_cells(cells, revision(entry.manifest.cells), commit)
    return Drawing(entry, commit, list(islice(drawn, number)))


def refuse_other_code(drawing: Drawing, cells: Sequence[Cell]) -> None:
    """Raise UserError if a component here is not of the version that the entry was made with.

    cells: the grid of the drawing.
    """
    for drawn, cell in zip(drawing.cells, cells):
        entered = drawn.entered[0]
        pairs = [(cell.defense, entered.defense)]
        for own, attack in ((cell, entered.attack), (cell.also, entered.attack.also)):
            if own and attack:
                pairs += [(own.trigger, attack.trigger), (own.target, attack.target)]
        for component, choice in pairs:
            if component.version != choice.version:
                raise UserError(f"verify: {choice.name} has the version {component.version} here; "
                                f"expected {choice.version}, the code that the entry was made with")


def add_runs(drawing: Drawing, files: Sequence[Path]) -> Verification:
    """Copy the records of the drawn cells into the entry, and compare them with the entry's.

    files: of the records, in the order of the drawn cells.

    Raises:
        UserError: a record cannot be one of a drawn cell.
    """
    entry = drawing.entry
    records, runs = list(entry.cells.values()), {file.name: Record.read(file) for file in files}
    grid = next(grid for grid in frozen_grids.frozen() if grid.name == entry.manifest.protocol)
    for file, key, message in check_verification(drawing.commit, runs, entry.manifest, records,
                                                 grid):
        raise UserError(one_line(f"verify: {file}: {key}: {message}"))
    verification = entry.folder / VERIFICATION / drawing.commit
    # Where the process is killed, the hidden folder is skipped, and what was moved is a shorter
    # verification, because the files come in the order of the drawn cells.
    with tempfile.TemporaryDirectory(dir=entry.folder.absolute().parents[2], prefix=".") as drafts:
        for file in files:
            draft = Path(shutil.copyfile(file, Path(drafts) / file.name))
            verification.mkdir(parents=True, exist_ok=True)
            publish(draft, verification / file.name)
    return Verification.of(entry.manifest, records, drawing.commit, list(runs.values()))


def _publishing_commit(folder: Path) -> str:
    """The commit of the checked-out branch that added an entry: for a pull request, its merge."""
    found = subprocess.run(
        ["git", "log", "-1", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "--", FILE],
        cwd=folder, capture_output=True, text=True)
    commit = found.stdout.strip()
    if found.returncode or not commit:
        raise UserError(f"verify {folder}: git knows no commit that added it; expected a published "
                        "entry, or --commit HASH")
    return commit
