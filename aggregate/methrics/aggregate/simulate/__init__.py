"""Simulates people with known behaviour. Their reports are made and stored by the real code.

Only the people are invented (`population`). Recorder, publisher, flags, pacing, keys and signatures
are the real ones (`install`), and so are the judge and the store (`arrival`). The true behaviour is
written to a second file beside the data (`truth`). `methrics simulate` is the command.
"""

from methrics.aggregate.simulate.run import DATA, TRUTH, Summary, simulate
from methrics.aggregate.simulate.settings import Settings

__all__ = ["DATA", "TRUTH", "Settings", "Summary", "simulate"]
