"""The folder of an export: checked, measured, and written as a whole or not at all."""

import csv
import json
from pathlib import Path

from benchmark.data.scene import Scene
from benchmark.export.content import Content
from benchmark.export.images import can_link, estimated_size, write_split
from benchmark.export.readme import described, part_of, readme
from benchmark.export.victim import write_victim
from benchmark.pipeline.counter_files import WEIGHTS
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import free_space, nearest_folder, whole_folder
from benchmark.utils.human import size
from benchmark.utils.new_folder import check_new_folder
from benchmark.utils.progress import log

FORMS = 2


def export(content: Content, out: Path) -> None:
    """Write an export into a new or empty folder.

    Raises:
        UserError: the folder has something in it, something is missing (see `Content.check`), or
            the disk has too little room.
        OSError: the folder cannot be written; the error names it, and nothing is left of it.
    """
    check_new_folder(out)
    content.check()
    _check_room(content, out)
    with whole_folder(out.resolve()) as draft:
        _write(content, draft)


def _check_room(content: Content, out: Path) -> None:
    """Print how much will be written. Raises UserError if the disk has less room."""
    images = (estimated_size(content.training, _unchanged)
              + estimated_size(content.test, _unchanged)
              + estimated_size(content.test, content.triggered))
    weights = (content.victim_folder / WEIGHTS).stat().st_size
    files_of_an_image = 1 if can_link(nearest_folder(out)) else FORMS
    total = images * files_of_an_image + 2 * weights
    free = free_space(out)
    numbers = (f"training images: {len(content.originals)} clean, {len(content.copies)} stamped; "
               f"test images: {len(content.test)}, without and with the trigger")
    if total > free:
        raise UserError(f"--to {shown(out)}: about {size(total)} ({numbers}), and {size(free)} are "
                        "free there; expected a disk with more room")
    log(f"{shown(out)}: about {size(total)} of {size(free)} that are free; {numbers}")


def _write(content: Content, draft: Path) -> None:
    """Write everything into a folder. Raises OSError."""
    part = part_of(content.cell)
    clean, triggered = draft / "shanghaitech" / part, draft / "shanghaitech-triggered" / part
    write_split(content.training, _unchanged, clean, draft / "folder", "train",
                "write training images")
    write_split(content.test, _unchanged, clean, draft / "folder", "test", "write test images")
    write_split(content.test, content.triggered, triggered, draft / "folder-triggered", "test",
                "write triggered test images")
    counter = content.victim()
    write_victim(draft, counter, content.victim_folder)
    with (draft / "counts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(content.rows())
    (draft / "export.json").write_text(json.dumps(described(content), indent=1) + "\n",
                                       encoding="utf-8")
    (draft / "README.txt").write_text(readme(content, counter, part), encoding="utf-8")


def _unchanged(scene: Scene) -> Scene:
    return scene
