"""A process that is killed while it writes tables, a figure or an entry leaves files that are whole; the next one ends."""

import pytest
from factories import make_record, submitted
from hard_times import killed_at_each_step, small_disk

from benchmark.figures import style
from benchmark.leaderboard.html_page import write_page
from benchmark.leaderboard.report import board
from benchmark.leaderboard.validate import validate
from benchmark.utils.errors import UserError


def contents(folder):
    """The bytes of all visible files below a folder, by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)}


@pytest.mark.slow
def test_tables_and_the_page_are_the_old_ones_or_the_new_ones(tmp_path):
    def writer(records):
        tables = board(records)

        def write(folder):
            tables.write(folder)
            write_page(tables.scenarios, {}, folder / "leaderboard.html")
        return write

    write_old = writer([make_record(seed=seed) for seed in range(2)])
    write_new = writer([make_record(seed=seed, effect=0.3) for seed in range(2)])
    for write, name in ((write_old, "old"), (write_old, "out"), (write_new, "new")):
        write(tmp_path / name)
    old, new = contents(tmp_path / "old"), contents(tmp_path / "new")

    def check():
        now = contents(tmp_path / "out")
        assert now.keys() == old.keys() and all(text in (old[name], new[name]) for name, text in now.items())

    assert killed_at_each_step(lambda: write_new(tmp_path / "out"), check) == 3 * len(new)
    assert contents(tmp_path / "out") == new


def test_a_figure_is_whole_or_not_there(tmp_path):
    from matplotlib.figure import Figure

    figure = style.Picture(Figure(figsize=(1, 1)), "A figure.")
    style.save(figure, tmp_path / "whole")
    whole = {name.removeprefix("whole"): content for name, content in contents(tmp_path).items()}

    def check():
        for name, content in contents(tmp_path / "out").items():
            assert content == whole[name.removeprefix("figure")]

    (tmp_path / "out").mkdir()
    assert killed_at_each_step(lambda: style.save(figure, tmp_path / "out/figure"), check) == 9
    assert len(contents(tmp_path / "out")) == 3


@pytest.mark.slow
def test_an_entry_is_whole_or_not_there_and_is_submitted_again(run, tmp_path):
    whole = submitted(run, tmp_path / "whole")

    def check():
        if contents(tmp_path / "entries"):
            assert contents(tmp_path / "entries") == contents(tmp_path / "whole")
        assert not [problem for problem in validate([tmp_path / "entries"]).problems if problem.grave]

    def work():
        try:
            submitted(run, tmp_path / "entries")
        except UserError as error:
            assert "exists already" in str(error)

    kills = killed_at_each_step(work, check)
    assert kills > 10 and contents(tmp_path / "entries") == contents(tmp_path / "whole")
    assert (tmp_path / "entries" / whole.relative_to(tmp_path / "whole")).is_dir()


def test_a_disk_that_is_full_for_an_entry_or_for_tables_is_named(run, tmp_path):
    with small_disk(tmp_path / "disk", 24) as remount:
        with pytest.raises(OSError) as failed:
            submitted(run, tmp_path / "disk/entries")
        assert failed.value.strerror == "No space left on device"
        assert failed.value.filename.startswith(f"{tmp_path}/disk/entries/")
        assert contents(tmp_path / "disk") == {}
        tables = board([make_record()])
        with pytest.raises(UserError, match="tables: cannot write .*No space left on device; free some space"):
            tables.write(tmp_path / "disk")
        remount("size=2M")
        tables.write(tmp_path / "disk")
        assert submitted(run, tmp_path / "disk/entries").is_dir()
