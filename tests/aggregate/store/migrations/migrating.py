"""Opens a file, and is killed when it has run as many statements as its argument says.

A program, run by test_migrations.py: `migrating.py FILE STATEMENTS`.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from typing import Any

from methrics.aggregate.store import store
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.migrations.run import migrate

left = count(int(sys.argv[2]), -1)


class Mortal:
    """A connection that ends the process in the place of a statement."""

    def __init__(self, con: Connection) -> None:
        self._con = con

    def execute(self, *arguments: Any) -> Any:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._con.execute(*arguments)


store.migrate = lambda con, path, layout: migrate(Mortal(con), path, layout)  # type: ignore[attr-defined,arg-type]
store.Store(sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
