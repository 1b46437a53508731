"""Regular files: what is a folder, a pipe, a socket or a device is refused before it is opened.

Opening a pipe waits for its writer, and a device such as /dev/zero has no end.
"""

import os
import stat
from pathlib import Path

from benchmark.utils.errors import UserError, shown
from benchmark.utils.human import size

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
         stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def check_regular(path: Path, most: int | None = None) -> None:
    """Check that a path leads to a regular file of at most `most` bytes; None sets no limit.

    Raises:
        UserError: it does not, or nothing is there.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # a ValueError: a name with a null character
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        if os.path.islink(path):
            reason = "a link to nothing"
        raise UserError(f"{shown(path)}: expected a file, found {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise UserError(f"{shown(path)}: expected a file, found {kind}")
    if most is not None and status.st_size > most:
        raise UserError(f"{shown(path)}: {size(status.st_size)}; expected a file of at most "
                        f"{size(most)}")
