"""Rows of the tables that records give, for the tests of tables."""

import numpy as np
import pandas as pd

from benchmark.leaderboard import report


def frames(records):
    return {table.name: table.frame for table in report.board(records).tables}


def row(frame, **where):
    found = frame[(frame[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(found) == 1, (where, frame.iloc[:, :3])
    return found.iloc[0]


def ratio_share(record, success):
    images = record.images
    return np.mean([success(y / c) for y, c in zip(images.triggered, images.truth)])
