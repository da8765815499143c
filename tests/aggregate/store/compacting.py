"""Rewrites a file, and is killed before the step that its argument counts.

A program, run by test_compaction.py: `compacting.py FILE STEP`. The steps are the statements of the
swap and the system calls between them.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from methrics.aggregate.store import compaction
from methrics.aggregate.store import store as store_module
from methrics.aggregate.store.duck import Connection

left = count(int(sys.argv[2]), -1)


def step() -> None:
    """Die if it is time."""
    if next(left) == 0:
        os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A connection whose statements are steps."""

    def __init__(self, con: Connection) -> None:
        self._con = con

    def execute(self, *arguments: Any) -> Any:
        step()
        return self._con.execute(*arguments)


def copy(con: Connection, path: Path) -> int:
    """Copy, and die afterwards if it is time."""
    last = compaction.copy(con, path)
    step()
    return last


def swap(con: Connection, path: Path) -> None:
    """Swap step by step."""
    compaction.swap(Mortal(con), path)  # type: ignore[arg-type]
    step()


replace = Path.replace


def replace_and_step(old: Path, new: Path) -> Path:
    """Die right before, or right after, the rename."""
    step()
    done = replace(old, new)
    step()
    return done


Path.replace = replace_and_step  # type: ignore[method-assign,assignment]
store_module.copy = copy  # type: ignore[attr-defined]
store_module.swap = swap  # type: ignore[attr-defined]
store_module.Store(sys.argv[1]).compact()
os.kill(os.getpid(), signal.SIGKILL)
