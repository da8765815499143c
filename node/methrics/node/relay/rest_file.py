"""What rests at a relay: a SQLite file, and a stand-in in memory with the same interface.

The file tells nothing about who sent an item or when it came: it has no address and no time of
arrival. Rows are ordered by id, which is a hash, and `tidy` removes the traces that SQLite leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from methrics.node.relay.state_database import StateDatabase

NAME = "rest.db"
"""The file in the state folder of a relay."""

LAYOUT = 1
"""The version of the tables; SQLite's `user_version`."""

_TABLES = """
CREATE TABLE rest (
    id BLOB PRIMARY KEY, topic TEXT NOT NULL, catalog BLOB NOT NULL, raw BLOB NOT NULL,
    leaves INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE erased (id BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE beat (half INTEGER NOT NULL);
INSERT INTO beat VALUES (0);
"""


class Resting(NamedTuple):
    """A report or erasure that rests. `leaves`: when it is published (Unix seconds)."""

    id: bytes
    topic: str
    catalog: bytes
    raw: bytes
    leaves: int


@dataclass(slots=True)
class Changes:
    """What one commit changes: it drops `drops` (ids), then puts `puts` (by id), and notes
    `erased` (id of a report -> Unix seconds from when on receivers refuse it as late anyway)."""

    puts: dict[bytes, Resting] = field(default_factory=dict)
    drops: set[bytes] = field(default_factory=set)
    erased: dict[bytes, int] = field(default_factory=dict)

    def put(self, resting: Resting) -> None:
        """Add an item."""
        self.puts[resting.id] = resting

    def drop(self, ids: Iterable[bytes]) -> None:
        """Drop items, also those that these changes put."""
        for item_id in ids:
            self.puts.pop(item_id, None)
            self.drops.add(item_id)

    def add(self, later: Changes) -> None:
        """Add the changes that `later` makes after these."""
        self.drop(later.drops)
        self.puts.update(later.puts)
        self.erased.update(later.erased)


class RestFile(Protocol):
    """What keeps items at rest. One thread at a time may use it."""

    def load(self) -> tuple[list[Resting], dict[bytes, int]]:
        """Return all items by id, and the erased reports. Raises StoreError."""
        ...

    def write(self, changes: Changes) -> None:
        """Make changes, all or none; they survive a power cut. Raises StoreError."""
        ...

    def tidy(self, now: int) -> None:
        """Remove the traces of what was dropped and of the order of arrival, and erased reports
        that are late by `now` (Unix seconds). Raises StoreError."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class MemoryRest:
    """Keeps items in memory: they are lost with the process."""

    def __init__(self) -> None:
        self.items: dict[bytes, Resting] = {}
        self.erased: dict[bytes, int] = {}

    def load(self) -> tuple[list[Resting], dict[bytes, int]]:
        """Return all items by id, and the erased reports."""
        return [self.items[item_id] for item_id in sorted(self.items)], dict(self.erased)

    def write(self, changes: Changes) -> None:
        """Make changes."""
        for item_id in changes.drops:
            self.items.pop(item_id, None)
        self.items.update(changes.puts)
        self.erased.update(changes.erased)

    def tidy(self, now: int) -> None:
        """Forget erased reports that are late by `now`."""
        self.erased = {one: until for one, until in self.erased.items() if until > now}

    def close(self) -> None:
        """Do nothing."""


class SqliteRest:
    """Keeps items in the SQLite file at `path`, which is made if it does not exist.

    Threads may share it if only one uses it at a time. Each write waits for the disk (fsync).
    Raises StoreError `rest-unusable`, `rest-full`, `rest-damaged` or `rest-newer`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._database = StateDatabase(path, _TABLES, LAYOUT)

    def load(self) -> tuple[list[Resting], dict[bytes, int]]:
        """Return all items by id, and the erased reports."""
        with self._database.reading() as con:
            rows = con.execute("SELECT id, topic, catalog, raw, leaves FROM rest ORDER BY id")
            items = [Resting(*row) for row in rows]
            return items, dict(con.execute("SELECT id, until FROM erased").fetchall())

    def write(self, changes: Changes) -> None:
        """Make changes. Even if there are none, this waits for the disk: an answer that comes
        sooner would tell that nothing was accepted."""
        with self._database.transaction() as con:
            con.executemany("DELETE FROM rest WHERE id = ?", [(one,) for one in changes.drops])
            con.executemany(
                "INSERT OR REPLACE INTO rest VALUES (?, ?, ?, ?, ?)", changes.puts.values()
            )
            con.executemany("INSERT OR REPLACE INTO erased VALUES (?, ?)", changes.erased.items())
            con.execute("UPDATE beat SET half = 1 - half")

    def tidy(self, now: int) -> None:
        """Write all pages anew, in the order of ids, and empty the log."""
        with self._database.reading() as con:
            con.execute("DELETE FROM erased WHERE until <= ?", (now,))
        self._database.tidy()

    def close(self) -> None:
        """Close the file; SQLite then removes the log."""
        self._database.close()
