"""Archives: unpacked into a new folder and nowhere else, as a whole or not at all."""

import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from hard_times import killed_at_each_step

from benchmark.data import archives
from benchmark.data.archives import unpack
from benchmark.utils.errors import UserError

FILES = {"images/0001.jpg": b"one", "images/inner/0002.jpg": b"two" * 5000, "train.txt": b""}


def zipped(path, files=FILES, **settings):
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path, files=FILES, members=()):
    """A tar file, compressed where its name says so. members: further headers, written without contents."""
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in members:
            archive.addfile(info)
    return path


def packed(path, files=FILES):
    return zipped(path, files) if path.suffix == ".zip" else tarred(path, files)


def a_header(name, kind=tarfile.REGTYPE, target="", **facts):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def found(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(paths, told, folder):
    """They are refused in one line with this text, and nothing is left of them."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(UserError, match=told) as refused:
        unpack(paths, folder)
    assert "\n" not in str(refused.value) and sorted(folder.parent.iterdir()) == before


@pytest.fixture
def to(tmp_path):
    (tmp_path / "there").mkdir()
    return tmp_path / "there/data"


KINDS = pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.TGZ"])


@KINDS
def test_an_archive_is_unpacked(tmp_path, to, kind):
    unpack([packed(tmp_path / kind)], to)
    assert found(to) == FILES and [path.name for path in to.parent.iterdir()] == ["data"]


def test_several_archives_and_a_list_are_unpacked_into_one_folder(tmp_path, to):
    (tmp_path / "val.txt").write_text("0003")
    one, two = zipped(tmp_path / "one.zip"), tarred(tmp_path / "two.tar.gz", {"images/0003.jpg": b"3"})
    unpack([one, two, one, tmp_path / "val.txt"], to)
    assert found(to) == {**FILES, "images/0003.jpg": b"3", "val.txt": b"0003"}


def test_an_empty_folder_is_filled_and_any_other_is_left(tmp_path, to):
    archive = zipped(tmp_path / "a.zip")
    to.mkdir()
    unpack([archive], to)
    assert found(to) == FILES
    with pytest.raises(UserError, match="expected a new or empty folder, found one that is not empty"):
        unpack([archive], to)


OUTSIDE = ["../x", "a/../../x", "/x", "//x/y", "C:/x", "C:x", "..\\x", "a\\..\\..\\x", "\\x", "a/.."]


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path, to, name, kind):
    archive = packed(tmp_path / kind, {**FILES, name: b"x"})
    assert_refused([archive], "expected paths inside of the folder.*nothing was unpacked", to)


@pytest.mark.parametrize("header", [
    a_header("link", tarfile.SYMTYPE, "train.txt"), a_header("link", tarfile.LNKTYPE, "train.txt"),
    a_header("link", tarfile.SYMTYPE, "/etc"), a_header("pipe", tarfile.FIFOTYPE), a_header("null", tarfile.CHRTYPE),
    a_header("disk", tarfile.BLKTYPE), a_header("what", b"Z")])
def test_a_link_or_a_device_in_a_tar_is_refused(tmp_path, to, header):
    archive = tarred(tmp_path / "a.tar", members=[header])
    assert_refused([archive], f"a.tar: {header.name}: expected files and folders, found a link or a device", to)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_a_device_in_a_zip_is_refused(tmp_path, to, kind):
    info = zipfile.ZipInfo("images/link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "../../x")
    assert_refused([tmp_path / "a.zip"], "images/link: expected files and folders, found a link or a device", to)


def test_a_file_is_never_written_over_another(tmp_path, to):
    one, two = zipped(tmp_path / "one.zip"), tarred(tmp_path / "two.tar", {"./Images/0001.JPG": b"other"})
    assert_refused([one, two], "two.tar: ./Images/0001.JPG: expected each file once, found it in .*one.zip before", to)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(one, "a") as archive:
        archive.writestr("train.txt", "again")
    assert_refused([one], "train.txt: expected each file once", to)


@KINDS
def test_more_than_the_disk_has_room_for_is_refused_before_anything_is_written(tmp_path, to, kind, monkeypatch):
    archive = packed(tmp_path / kind)
    monkeypatch.setattr(archives, "free_space", lambda path: 20_000)
    monkeypatch.setattr(archives, "whole_folder", None)
    assert_refused([archive], r"data: 7\.\d kB are missing on its disk", to)


def test_a_zip_of_more_than_it_announces_is_refused(tmp_path, to):
    """A bomb that says it is small: what is unpacked of it ends at the size that it announced."""
    archive = zipped(tmp_path / "a.zip", {"bomb": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED)
    content = archive.read_bytes()
    assert content.count(struct.pack("<I", 10**7)) == 2
    archive.write_bytes(content.replace(struct.pack("<I", 10**7), struct.pack("<I", 1000)))
    assert_refused([archive], "a.zip: expected an archive that can be unpacked: Bad CRC-32", to)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_of_a_tar_that_would_take_all_memory_is_refused(tmp_path, to, kind):
    header = a_header("x", kind, size=2**30)
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf() + bytes(2**25))
    tracemalloc.start()
    assert_refused([path], "a.tar.gz: expected an archive that can be unpacked: a header of 1,073,7", to)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**25


def test_too_many_files_are_refused(tmp_path, to, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    for kind in ("a.zip", "a.tar"):
        assert_refused([packed(tmp_path / kind)], "expected at most 2 files", to)


@pytest.mark.parametrize("name, content, told", [
    ("a.zip", b"", "can be unpacked: File is not a zip file"), ("a.tar", b"no tar" * 200, "can be unpacked"),
    ("a.tgz", b"no gzip", "can be unpacked: Not a gzipped file"), ("a.rar", b"Rar!", "expected .zip, .tar, .tar.gz or"),
    ("a.7z", b"", "unpack it with another program, and run `crowdbench data check NAME --root FOLDER`"),
    ("a", b"", "expected .zip")])
def test_what_is_no_archive_is_told(tmp_path, to, name, content, told):
    (tmp_path / name).write_bytes(content)
    assert_refused([tmp_path / name], f"{name}: expected .*{told}|{told}", to)
    assert_refused([tmp_path / "nowhere.zip"], "nowhere.zip: expected a file, found no such file", to)


@KINDS
def test_an_archive_that_is_cut_or_damaged_is_told_and_leaves_nothing(tmp_path, to, kind):
    archive = packed(tmp_path / kind)
    content = archive.read_bytes()
    for cut in (len(content) // 2, 700 if archive.suffix == ".tar" else len(content) - 30):
        archive.write_bytes(content[:cut])
        assert_refused([archive], f"{kind}: expected an archive that can be unpacked", to)


def test_a_zip_with_a_password_is_told(tmp_path, to):
    archive = zipped(tmp_path / "a.zip", {"x": b"x"})
    content = bytearray(archive.read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + place] |= 1
    archive.write_bytes(content)
    assert_refused([archive], "a.zip: expected an archive that can be unpacked: File .*x.* is encrypted", to)


def test_ctrl_c_leaves_nothing(tmp_path, to, monkeypatch):
    class Stopped(archives.Bar):
        def __iter__(self):
            yield next(iter(self.iterable))
            raise KeyboardInterrupt

    monkeypatch.setattr(archives, "Bar", Stopped)
    with pytest.raises(KeyboardInterrupt):
        unpack([zipped(tmp_path / "a.zip")], to)
    assert list(to.parent.iterdir()) == []


def test_a_process_that_is_killed_leaves_no_half_folder(tmp_path, to):
    archive, seen = zipped(tmp_path / "a.zip"), []
    kills = killed_at_each_step(lambda: to.exists() or unpack([archive], to), lambda: seen.append(to.exists()))
    assert kills > 5 and not any(seen[:-1]) and found(to) == FILES


def test_permissions_in_a_tar_lock_nobody_out(tmp_path, to):
    unpack([tarred(tmp_path / "a.tar", {}, [a_header("x", mode=0), a_header("y", mode=0o7777)])], to)
    assert [stat.S_IMODE((to / name).stat().st_mode) & 0o7622 for name in "xy"] == [0o600, 0o600]
