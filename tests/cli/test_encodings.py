"""Encodings: a terminal that lacks a character, or a name that is no text, ends in no traceback."""

import io
import json
import os
from contextlib import redirect_stdout

import pytest
from PIL import Image

from benchmark.cli import main

pytestmark = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])


def own_images(root, names):
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for name in names:
            Image.new("L", (64, 48), split == "train").save(root / split / name, "PNG")
        (root / split / "points.json").write_text(json.dumps(dict.fromkeys(names, [])))
    return root


def check(encoding, root, *more):
    """The exit code of a data check, and what it prints to a terminal with this encoding, strict as Python's own."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    with redirect_stdout(terminal):
        code = main(["data", "check", "folder", "--root", str(root), *more])
    return code, terminal.buffer.getvalue().decode(encoding)


def test_a_report_is_printed_with_what_the_terminal_lacks_escaped(tmp_path, encoding):
    code, printed = check(encoding, own_images(tmp_path, ["日本.png", "日本 2.png", "ünï😀.png"]))
    assert code == 0 and f"train/{'日本.png' if encoding == 'utf-8' else chr(92) + 'u65e5' + chr(92) + 'u672c.png'}" in printed


def test_names_that_are_no_text_are_printed(tmp_path, encoding):
    root = own_images(tmp_path / os.fsdecode(b"r\xff"), ["a.png"])
    os.rename(root / "train/a.png", os.path.join(os.fsencode(root / "train"), b"a\xfe.png"))
    code, printed = check(encoding, root)
    assert code == 1 and r"r\udcff" in printed and r"a\udcfe.png" in printed
    code, printed = check(encoding, root, "--json")
    assert code == 1 and r"a\udcfe.png" in json.loads(printed)["splits"]["train"]["missing"]
