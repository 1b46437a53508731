"""Report for a terminal: the answer first, in tables that are no wider than the terminal.

All other tables, and all other columns, are in the files.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from benchmark.leaderboard.report import Board
from benchmark.paper import reference
from benchmark.paper.tables import paper_tables
from benchmark.results.controls import SHARED
from benchmark.tables.comparison import difference_table
from benchmark.tables.detection import detection_table
from benchmark.tables.formats import Table
from benchmark.tables.summary import GROUP, summary_table
from benchmark.tables.terminal import terminal
from benchmark.tables.verdicts import control_differences, verdict_table, win_table

LONGEST = 60  # rows of a table that is printed


def terminal_report(board: Board, width: int, defenses: Collection[str] | None = None) -> str:
    """The tables of a board for a terminal.

    They are the answers of audits, the rankings, the summary, the verdicts on the defenses, the
    detectors, and those rows of the paper's tables that were run.

    width: in characters. defenses: those that were just run, which are shown beside none and the
        controls, and whose wins over others are counted; None for all.
    """
    return "\n".join(_parts(board, width, defenses))


def comparison_report(differences: Table, width: int, over: str) -> str:
    """A table of differences for a terminal: wins, ties and losses, then the verdicts.

    On clean counters alone nothing is won or lost, and the first of the two is left out.

    over: what the wins are counted over, 'attack' or 'defense'.
    """
    rows = differences.frame.to_dict("records")
    subject = "defense" if over == "attack" else "attack"
    tables = [(win_table(rows, over), f"{{model}}, {{{subject}}}"),
              (verdict_table(rows, differences.title),
               f"{{model}}, {{{over}}}: {{{subject}}} compared with")]
    return "\n".join(terminal(table, width, group) for table, group in tables
                     if len(table.frame))


def _parts(board: Board, width: int, defenses: Collection[str] | None) -> Iterator[str]:
    for table in [*board.verdicts, *board.rankings]:
        yield terminal(table, width)
    differences = control_differences(board.scenarios, defenses)
    summaries = [
        (summary_table(board.scenarios, defenses), GROUP),
        (verdict_table(differences), "{model}, {defense} compared with {compared with}"),
        (win_table(differences), "{model}, {defense}")]
    for defense in sorted({*(defenses or ())} - {*SHARED}):
        rows = difference_table(board.scenarios, defense).frame.to_dict("records")
        others = [row for row in rows if row["compared with"].partition(" (")[0] not in SHARED]
        wins = win_table(others)
        summaries.append((replace(wins, title=f"{wins.title} against other defenses"),
                          "{model}, {defense}"))
    for table, group in summaries:
        if len(table.frame) > LONGEST:
            yield (f"{table.title}: {len(table.frame)} rows are too many to print; they are in "
                   f"{table.name}.md in the folder of tables (--out).\n")
        elif len(table.frame):
            yield terminal(table, width, group)
    detection = detection_table(board.scenarios)
    if len(detection.frame):
        yield terminal(detection, width)
    results = [result for scenario in board.scenarios for result in scenario.results]
    if any(reference.comparable(result.settings) and
           result.settings["model"] in reference.MODELS.values() for result in results):
        paper = paper_tables(board.trained, only_run=True)
        yield from (terminal(table, width) for table in paper if len(table.frame))
