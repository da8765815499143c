"""Simulated people with known behaviour, whose real reports take the real path into a data set.

People are invented (`population`); recorder, publisher, flags, pacing, keys and signatures are the
real ones (`install`), and so are the judge and the store that the reports end in (`arrival`). What
really happened is written beside the data (`truth`). `methrics simulate` is the command.
"""

from methrics.aggregate.simulate.run import DATA, TRUTH, Summary, simulate
from methrics.aggregate.simulate.settings import Settings

__all__ = ["DATA", "TRUTH", "Settings", "Summary", "simulate"]
