"""What no test can wait for: a process that is killed while it writes, and a disk that is full."""

import itertools
import os
import signal
import subprocess
import traceback
from contextlib import contextmanager

import pytest


def killed_at_each_step(work, check):
    """Do `work` in processes that are killed with SIGKILL, the first at its first step, the next at its second one.

    A step is a file that is about to be on the disk, or to get its name. `check` is called after each kill. What a
    killed process leaves is there for the next one, and the last one ends. Returns the number of kills.
    """
    for kills in itertools.count():
        child = os.fork()
        if child == 0:
            _work_until_killed(work, kills)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return kills
        check()


def _work_until_killed(work, steps):
    def counted(function):
        def call(*arguments, **settings):
            nonlocal steps
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            steps -= 1
            return function(*arguments, **settings)
        return call

    code = 1
    try:
        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@contextmanager
def small_disk(folder, kilobytes):
    """A file system of a few kilobytes in a folder. Gives a function that mounts it again with other options.

    The test is skipped where none can be mounted.
    """
    def mount(*options):
        return subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)

    folder.mkdir()
    try:
        done = mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")
    except FileNotFoundError:
        pytest.skip("no small file system here: there is no command `mount`")
    if done.returncode:
        pytest.skip(f"no small file system here: {done.stderr.strip()}")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
