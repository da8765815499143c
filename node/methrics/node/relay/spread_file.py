"""What an entry keeps: boxes that wait to be brought to their exits, and answers of the exits.

The file tells nothing about who brought a box or when: it has no address and no time of arrival. A
row is found by its handle, which is a hash of a box that was sealed with a key of its own. `leaves`
was drawn at random, and `until` is a day.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from methrics.node.relay.state_database import StateDatabase
from methrics.schema.wire.limits import DAY

NAME = "spread.db"
"""The file in the state folder of a relay."""

BOX_DAYS = 1
"""UTC days after that of its visit on which a box is still brought. Then no key opens it."""

ANSWER_DAYS = 10
"""UTC days for which an answer is kept until somebody asks for it."""

LEAVES_MAX = 3 * DAY
"""Most seconds until a box leaves: a day of patience that an exit asked for, and the longest time
over which boxes are spread, are less."""

LAYOUT = 1
"""The version of the tables; SQLite's `user_version`."""

_TABLES = """
CREATE TABLE box (
    handle BLOB PRIMARY KEY, exit BLOB NOT NULL, box BLOB NOT NULL, leaves INTEGER NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX box_leaves ON box (leaves);
CREATE TABLE answer (
    handle BLOB PRIMARY KEY, answer BLOB NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID
"""


class Spread(NamedTuple):
    """A box that waits. `exit`: the id of its exit (32 bytes). `leaves`: when it is brought there
    (Unix seconds). `until`: the last UTC day on which that is tried (days since 1970)."""

    handle: bytes
    exit: bytes
    box: bytes
    leaves: int
    until: int


class Told(NamedTuple):
    """An exit's answer to a box. `until`: the last UTC day on which it is kept."""

    handle: bytes
    answer: bytes
    until: int


@dataclass(slots=True)
class SpreadChanges:
    """What one commit changes. `puts`: boxes that are new. `moved`: new times for boxes, by handle.
    `drops`: boxes that need not wait any more, by handle. `told`: answers that are new. `asked`:
    answers that were told: by handle, the last day on which they are kept, in case that the reply
    was lost."""

    puts: list[Spread] = field(default_factory=list)
    moved: dict[bytes, int] = field(default_factory=dict)
    drops: list[bytes] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    asked: dict[bytes, int] = field(default_factory=dict)


class SpreadFile:
    """Keeps boxes and answers in the SQLite file at `path` (`state_database.MEMORY`: in memory).

    Threads may share it if only one uses it at a time. Each write waits for the disk (fsync). Every
    method raises StoreError `rest-unusable`, `rest-full`, `rest-damaged` or `rest-newer`.
    """

    def __init__(self, path: str) -> None:
        self._database = StateDatabase(path, _TABLES, LAYOUT)

    def counts(self) -> tuple[int, int]:
        """Return the number of boxes and of answers."""
        with self._database.reading() as con:
            (boxes,) = con.execute("SELECT count(*) FROM box").fetchone()
            (answers,) = con.execute("SELECT count(*) FROM answer").fetchone()
            return boxes, answers

    def next_leaving(self, without: Collection[bytes] = ()) -> int | None:
        """Return when the next box leaves that is not in `without` (handles), or None."""
        found = self._first(len(without) + 1)
        return next((leaves for handle, leaves in found if handle not in without), None)

    def _first(self, limit: int) -> list[tuple[bytes, int]]:
        with self._database.reading() as con:
            return con.execute(
                "SELECT handle, leaves FROM box ORDER BY leaves LIMIT ?", (limit,)
            ).fetchall()

    def due(self, now: int, limit: int, without: Collection[bytes] = ()) -> list[Spread]:
        """Return boxes that leave by `now` and are not in `without` (handles): at most `limit`."""
        with self._database.reading() as con:
            rows = con.execute(
                "SELECT handle, exit, box, leaves, until FROM box WHERE leaves <= ? "
                "ORDER BY leaves LIMIT ?",
                (now, limit + len(without)),
            )
            found = [Spread(*row) for row in rows]
        return [one for one in found if one.handle not in without][:limit]

    def known(self, handles: Iterable[bytes]) -> set[bytes]:
        """Return those of the handles whose boxes wait, or were answered."""
        with self._database.reading() as con:
            return {
                handle
                for handle in handles
                for table in ("box", "answer")
                if con.execute(f"SELECT 1 FROM {table} WHERE handle = ?", (handle,)).fetchone()
            }

    def answers(self, handles: Iterable[bytes]) -> list[bytes]:
        """Return the answer for each handle, in order, b"" where there is none."""
        with self._database.reading() as con:
            rows = [
                con.execute("SELECT answer FROM answer WHERE handle = ?", (handle,)).fetchone()
                for handle in handles
            ]
            return [b"" if row is None else row[0] for row in rows]

    def write(self, asked: Sequence[SpreadChanges]) -> tuple[int, int]:
        """Make the changes of several requests, all or none; return by how much the numbers of
        boxes and of answers grew. They survive a power cut."""
        boxes = answers = 0
        with self._database.transaction() as con:
            for one in asked:
                before = con.total_changes
                con.executemany("INSERT OR IGNORE INTO box VALUES (?, ?, ?, ?, ?)", one.puts)
                boxes += con.total_changes - before
                con.executemany(
                    "UPDATE box SET leaves = ? WHERE handle = ?",
                    [(leaves, handle) for handle, leaves in one.moved.items()],
                )
                before = con.total_changes
                con.executemany("DELETE FROM box WHERE handle = ?", [(it,) for it in one.drops])
                boxes -= con.total_changes - before
                before = con.total_changes
                con.executemany("INSERT OR IGNORE INTO answer VALUES (?, ?, ?)", one.told)
                answers += con.total_changes - before
                con.executemany(
                    "UPDATE answer SET until = min(until, ?) WHERE handle = ?",
                    [(until, handle) for handle, until in one.asked.items()],
                )
        return boxes, answers

    def tidy(self, now: int) -> None:
        """Drop boxes and answers whose last day is over `now` (Unix seconds), and remove the traces
        of what was dropped and of the order of arrival. Times that were drawn while the clock was
        days ahead are brought back."""
        day = now // DAY
        with self._database.transaction() as con:
            for table, most in (("box", BOX_DAYS), ("answer", ANSWER_DAYS)):
                con.execute(f"DELETE FROM {table} WHERE until < ?", (day,))
                con.execute(f"UPDATE {table} SET until = min(until, ?)", (day + most,))
            con.execute("UPDATE box SET leaves = ? WHERE leaves > ?", (now, now + LEAVES_MAX))
        self._database.tidy()

    def close(self) -> None:
        """Close the file; SQLite then removes the log."""
        self._database.close()
