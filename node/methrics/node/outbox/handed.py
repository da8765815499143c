"""Keeps the boxes that were handed to an entry, until their answers come at a later visit.

One transaction stores the boxes of a visit and postpones what is in them, before their bytes leave.
So if the process is killed, the answers can still be asked for, and nothing leaves twice at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import CLOCK_SLACK, DUE, HANDED_TIME, from_row

REPORT, ERASURE, EMPTY = "report", "erasure", ""
"""What is in a box."""

KEPT_TIME = 10 * 86_400
"""Seconds for which a box is remembered: an entry keeps answers no longer."""


class Place(NamedTuple):
    """Names a report or an erasure: REPORT or ERASURE, and the key index of the report."""

    kind: str
    key_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBox:
    """A box that was handed to an entry.

    `handle`: 32 bytes, the SHA-256 of the box. `secret`: opens the answer. `entry`: the name of the
    entry. `exit`: its id, 32 bytes. `kind`, `key_index`: what is in it (`Place`); the index is 0 in
    an empty box. `handed`, `asked`: when it was handed over, and when its answer was asked for last
    (Unix seconds). `said`: what the exit answered, "" while no answer is here.
    """

    handle: bytes
    secret: bytes
    entry: str
    exit: bytes
    kind: str = EMPTY
    key_index: int = 0
    handed: int
    asked: int
    said: str = ""

    @property
    def place(self) -> Place:
        """What is in it."""
        return Place(self.kind, self.key_index)


_FIELDS = ("handle", "secret", "entry", "exit", "kind", "key_index", "handed", "asked", "said")
_COLUMNS = "handle, secret, entry, exit, kind, idx, handed, asked, said"
_HEARD = "visit_heard"
_DUE = {
    REPORT: f"UPDATE report SET due = ? WHERE idx = ? AND state = '{DUE}'",
    ERASURE: f"UPDATE erasure SET due = ? WHERE idx = ? AND state = '{DUE}'",
}


class HandedBoxes:
    """The handed boxes in a journal's file. Every method raises StoreError as the journal does."""

    def __init__(self, journal: Journal) -> None:
        self._database = journal.database

    def all(self, now: int) -> list[HandedBox]:
        """Returns the boxes, the oldest first, after those were forgotten that are too old at `now`
        (Unix seconds), or that were handed over while the clock was ahead."""
        self._database.execute(
            "DELETE FROM handed WHERE handed < ? OR handed > ?",
            (now - KEPT_TIME, now + CLOCK_SLACK),
        )
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM handed ORDER BY handed, handle")
        return [from_row(HandedBox, _FIELDS, row) for row in rows]

    def hand(self, boxes: Sequence[HandedBox], now: int) -> None:
        """Stores boxes that leave `now`, and postpones what is in them."""
        with self._database.transaction() as con:
            con.executemany(
                f"INSERT INTO handed ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [tuple(getattr(one, name) for name in _FIELDS) for one in boxes],
            )
            for one in boxes:
                if one.kind != EMPTY:
                    con.execute(_DUE[one.kind], (now + HANDED_TIME, one.key_index))

    def forget(self, handles: Iterable[bytes]) -> None:
        """Deletes boxes."""
        with self._database.transaction() as con:
            con.executemany("DELETE FROM handed WHERE handle = ?", [(one,) for one in handles])

    def note(self, asked: Collection[bytes], said: Mapping[bytes, str], now: int) -> None:
        """Stores for which boxes an answer was asked `now`, and what exits answered. What opened an
        answer is deleted with that."""
        with self._database.transaction() as con:
            con.executemany(
                "UPDATE handed SET asked = ? WHERE handle = ?", [(now, one) for one in asked]
            )
            con.executemany(
                "UPDATE handed SET said = ?, secret = x'' WHERE handle = ?",
                [(reason, one) for one, reason in said.items()],
            )

    def heard(self) -> int:
        """Returns when the last answer came, 0 if none ever did (Unix seconds)."""
        found = self._database.rows("SELECT value FROM meta WHERE name = ?", (_HEARD,))
        return int(found[0][0]) if found else 0

    def note_heard(self, now: int) -> None:
        """Stores that an answer came `now`."""
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_HEARD, now))
