"""The command `convert`: what it answers to files that it takes and to others."""

from benchmark.cli import main


def converted(capsys, *arguments):
    """What a conversion printed: (stdout, stderr)."""
    assert main(["convert", *arguments]) == 0
    return capsys.readouterr()


def refused(capsys, desk, arguments, *words):
    """The request is answered with exit code 2 and one line that has all the words, and no file is written."""
    before = {path: path.read_bytes() for path in desk.iterdir()}
    assert main(["convert", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("crowdbench: ") and told.err.count("\n") == 1
    assert [word for word in words if word not in told.err] == []
    assert {path: path.read_bytes() for path in desk.iterdir()} == before
