"""Errors of the file system in one line: the path, what happened and what to do."""

import errno

from benchmark.utils.errors import shown

ROOM = ("free some space, for instance with `crowdbench store gc`, and give the same command "
        "again; what is finished is kept")
ELSEWHERE = ("expected a file system that can lock files and rename a file over another, as local "
             "disks can; choose a folder on one (--out, --store)")
ADVICE = {
    errno.ENOSPC: ROOM, errno.EDQUOT: ROOM,
    errno.EFBIG: "expected a file system, and a limit (`ulimit -f`), for files of this size",
    errno.EROFS: "expected a folder that can be written; choose another (--out, --store)",
    errno.ENOLCK: ELSEWHERE, errno.ENOSYS: ELSEWHERE, errno.EOPNOTSUPP: ELSEWHERE,
    errno.EXDEV: ELSEWHERE}


def describe_error(error: OSError) -> str:
    """An error of the file system in one line, with what to do where that is known.

    >>> describe_error(OSError(errno.ENOENT, "No such file or directory", "runs"))
    'runs: No such file or directory'
    >>> describe_error(OSError(errno.ENOSPC, "No space left on device", "runs")).split(", ")[0]
    'runs: No space left on device; free some space'
    """
    line = f"{shown(error.filename or 'file system')}: {error.strerror or error}"
    advice = ADVICE.get(error.errno)
    return f"{line}; {advice}" if advice else line
