"""Takes a data set into a file, and is killed when so many items are done as its argument says.

A program, run by test_restore_killed.py: `restoring.py SOURCE FILE NOW ITEMS`.
"""

from __future__ import annotations

import os
import signal
import sys

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.restore import restore as restore_module
from methrics.aggregate.store.store import Store

source, file, now, items = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def progress(done: int, total: int) -> None:
    """Die if it is time."""
    if done >= items:
        os.kill(os.getpid(), signal.SIGKILL)


restore_module.CHUNK = 16
with Store(file) as store, open_dataset(source) as dataset:
    restore_module.restore(dataset, store, lambda: now, progress)
