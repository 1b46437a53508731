"""A file is there as a whole or not at all, also after a failure of power, and what stops it is told with its path."""

import errno
import os

import pytest
import torch
from hard_times import killed_at_each_step, small_disk

from benchmark.utils.files import publish, whole_file, write_atomically
from benchmark.utils.storage_errors import describe_error
from benchmark.utils.tensors import write_tensors


def write_folder(path):
    draft = path.with_name(".draft")
    (draft / "inner").mkdir(parents=True)
    (draft / "inner/a").write_text("a")
    publish(draft, path)


def write_block(path):
    with whole_file(path) as temporary:
        temporary.write_bytes(b"content")


WRITERS = [lambda path: write_atomically(path, "text"), write_block, write_folder,
           lambda path: write_tensors(path, {"a": torch.zeros(3)}, {})]


@pytest.fixture
def calls(monkeypatch):
    """The names of what is put on the disk, and of what gets its final name, in their order."""
    noted, sync, replace = [], os.fsync, os.replace

    def noted_sync(descriptor):
        noted.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        sync(descriptor)

    def noted_replace(source, target):
        noted.append(("rename", os.path.basename(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return noted


@pytest.mark.parametrize("write", WRITERS)
def test_all_content_is_on_the_disk_before_the_name_and_then_the_name(tmp_path, calls, write):
    write(tmp_path / "done")
    *before, (last, folder) = calls
    names = [name for what, name in before if what == "rename"]
    assert len(names) == 1 and before[-1] == ("rename", names[0]) and ("sync", names[0]) in before
    assert (last, folder) == ("sync", tmp_path.name) and (tmp_path / "done").exists()
    if write is write_folder:
        assert {("sync", "a"), ("sync", "inner")} < {*before}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_wait_for_its_disk_is_written_all_the_same(tmp_path, monkeypatch, code, write):
    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    write(tmp_path / "done")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("call, code, words", [
    ("fsync", errno.ENOSPC, "free some space"), ("fsync", errno.EIO, ""), ("fsync", errno.EDQUOT, "free some space"),
    ("replace", errno.EXDEV, "rename a file over another"), ("replace", errno.EOPNOTSUPP, "rename a file over another"),
    ("replace", errno.EROFS, "a folder that can be written"), ("replace", errno.EACCES, "")])
def test_what_the_disk_cannot_do_is_told_in_a_line_with_the_path(tmp_path, monkeypatch, write, call, code, words):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError) as failed:
        write(tmp_path / "done")
    line = describe_error(failed.value)
    assert line.startswith(f"{tmp_path / 'done'}: {os.strerror(code)}") and words in line and "\n" not in line
    assert not (tmp_path / "done").exists()


def test_a_full_disk_keeps_the_old_file_and_is_named(tmp_path):
    with small_disk(tmp_path / "disk", 64) as remount:
        path = tmp_path / "disk/a.json"
        write_atomically(path, "old")
        with pytest.raises(OSError) as failed:
            write_atomically(path, 200_000 * "x")
        assert describe_error(failed.value).startswith(f"{path}: No space left on device; free some space")
        assert [(one.name, one.read_text()) for one in path.parent.iterdir()] == [("a.json", "old")]
        remount("ro")
        with pytest.raises(OSError) as failed:
            write_atomically(path, "new")
        assert describe_error(failed.value).startswith(f"{path}: Read-only file system; expected a folder")
        remount("rw,size=1M")
        write_atomically(path, 200_000 * "x")
        assert len(path.read_text()) == 200_000


def test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path):
    path, seen = tmp_path / "a.json", []
    write_atomically(path, "old")
    kills = killed_at_each_step(lambda: write_atomically(path, "new"), lambda: seen.append(path.read_text()))
    assert kills == len(seen) == 3 and seen == ["old", "old", "new"] and path.read_text() == "new"


def test_a_text_has_the_same_bytes_on_every_system(tmp_path):
    write_atomically(tmp_path / "a.md", "é\n\r\n")
    assert (tmp_path / "a.md").read_bytes() == "é\n\r\n".encode()
