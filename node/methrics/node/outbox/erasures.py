"""Journals the erasures of own reports before they are sent, and stores the result of each.

Erasures are stored in the same file as the journal. One transaction journals an erasure and stops
the sending of its report, so if the process is killed, either both are done or neither is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from methrics.node.outbox.due_times import ERASURE_DUE
from methrics.node.outbox.edits import note_edit
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, NEVER_LEFT, STRUCK, from_row
from methrics.schema.errors import LocalError


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedErasure:
    """A signed erasure that is not journaled yet. `key_index`: that of its report. `raw`: the exact
    bytes. `due`: the earliest time at which it may be sent (Unix seconds)."""

    key_index: int
    raw: bytes
    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournaledErasure:
    """An erasure in the journal.

    `key_index`: that of its report. `made`: when it was requested; `due`: the earliest time at
    which it may be sent (Unix seconds). `route`: the route by which it is to be sent or was sent.
    `state`: due, acknowledged, or struck (every relay refused it). `attempts`: how often sending
    was tried.
    """

    key_index: int
    raw: bytes
    made: int
    due: int
    route: str
    state: str
    attempts: int

    @property
    def words(self) -> str:
        """The state of the erasure in words, for a person."""
        if self.state == ACKNOWLEDGED:
            return f"erasure left by {self.route}"
        if self.state == STRUCK:
            return "erasure refused by every relay"
        return "erasure tried, will be tried again" if self.attempts else "erasure waits to leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCounts:
    """The result of a request. `journaled`: erasures that will be sent. `dropped`: reports that
    were never sent, so they were only deleted here. `already`: reports whose erasure was requested
    before."""

    journaled: int = 0
    dropped: int = 0
    already: int = 0


_COLUMNS = "idx, raw, made, due, route, state, attempts"
_FIELDS = ("key_index", "raw", "made", "due", "route", "state", "attempts")


class Erasures:
    """Reads and changes the erasures in a journal's file. Every method raises StoreError as the
    journal does."""

    def __init__(self, journal: Journal) -> None:
        self._database = journal.database

    def seed_of(self, index: int) -> bytes:
        """Returns the 32-byte seed from which the key with this index was derived, also if a
        `reset` has replaced that seed since.

        Raises LocalError `no-seed` if the seed was destroyed (`burn`).
        """
        rows = self._database.rows(
            "SELECT seed FROM (SELECT seed, below FROM old_seed WHERE below > ?1 "
            "UNION ALL SELECT value, 1 << 62 FROM meta WHERE name = 'seed') ORDER BY below LIMIT 1",
            (index,),
        )
        if not rows:
            raise LocalError(
                "no-seed",
                "the keys of these reports are not on this machine any more",
                "without the keys the reports cannot be erased",
            )
        return bytes(rows[0][0])

    def report_of(self, index: int) -> tuple[bytes, bytes]:
        """Returns the bytes of the report with this key index and the salt of its key. Raises
        LocalError `no-report` if its receipt was deleted."""
        rows = self._database.rows("SELECT raw, salt FROM report WHERE idx = ?", (index,))
        if not rows:
            raise LocalError(
                "no-report",
                "the receipt of this report is not on this machine any more",
                "without it the report cannot be erased",
            )
        return bytes(rows[0][0]), bytes(rows[0][1])

    def request(self, signed: Sequence[SignedErasure], now: int) -> ErasureCounts:
        """Journals the erasures of reports that may have left, and deletes reports that never left.

        The look-up whether a report may have left is in the same transaction, so a publisher cannot
        send the report between the look-up and the change.
        """
        journaled = dropped = already = 0
        with self._database.transaction() as con:
            note_edit(con)
            for one in signed:
                key = (one.key_index,)
                if con.execute(f"DELETE FROM report WHERE idx = ? AND {NEVER_LEFT}", key).rowcount:
                    dropped += 1
                    continue
                done = con.execute(
                    f"INSERT INTO erasure ({_COLUMNS}) "
                    f"SELECT ?, ?, ?, ?, route, '{DUE}', 0 FROM report WHERE idx = ? "
                    "ON CONFLICT (idx) DO NOTHING",
                    (one.key_index, one.raw, now, one.due, one.key_index),
                ).rowcount
                journaled += done
                already += 1 - done
                con.execute(
                    f"UPDATE report SET state = '{STRUCK}' WHERE idx = ? AND state = '{DUE}'", key
                )
        return ErasureCounts(journaled=journaled, dropped=dropped, already=already)

    def request_again(self, moments: Iterable[tuple[int, int]]) -> int:
        """Schedules erasures to be sent once more, with the same bytes, for aggregators that missed
        them.

        `moments`: pairs of a key index and the Unix seconds at which its erasure is due. Erasures
        that still wait to be sent keep their due time. Returns how many erasures were scheduled.
        """
        with self._database.transaction() as con:
            return sum(
                con.execute(
                    f"UPDATE erasure SET state = '{DUE}', due = ?2 "
                    f"WHERE idx = ?1 AND state != '{DUE}'",
                    (index, due),
                ).rowcount
                for index, due in moments
            )

    def due(self, now: int, routes: Collection[str]) -> list[JournaledErasure]:
        """Returns the erasures that are due at `now` and whose report left by one of `routes`, the
        earliest first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM erasure WHERE state = '{DUE}' AND {ERASURE_DUE} <= ?1 "
            "ORDER BY due, idx",
            (now,),
        )
        return [one for one in map(_erasure, rows) if one.route in routes]

    def all(self) -> dict[int, JournaledErasure]:
        """Returns every erasure, by the key index of its report."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM erasure")
        return {row[0]: _erasure(row) for row in rows}

    def attempt(self, index: int, *, counted: bool = True) -> bool:
        """Counts an attempt to send an erasure, immediately before its bytes leave. `counted` is
        False for a further relay of the same attempt. Returns False if the erasure is not due any
        more, and must not be sent."""
        return bool(
            self._database.execute(
                f"UPDATE erasure SET attempts = attempts + ? WHERE idx = ? AND state = '{DUE}'",
                (counted, index),
            )
        )

    def mark(self, index: int, state: str, route: str | None = None) -> None:
        """Sets the state of one erasure, acknowledged or struck, and the route by which it was
        sent."""
        with self._database.transaction() as con:
            con.execute(
                "UPDATE erasure SET state = ?, route = coalesce(?, route) WHERE idx = ?",
                (state, route, index),
            )
            # A sent erasure is not needed any more once the receipt of its report is deleted.
            con.execute(
                f"DELETE FROM erasure WHERE state != '{DUE}' AND idx != ? "
                "AND NOT EXISTS (SELECT 1 FROM report WHERE report.idx = erasure.idx)",
                (index,),
            )

    def postpone(self, moments: Iterable[tuple[int, int]]) -> None:
        """Sets new due times of erasures that were not sent yet. `moments`: pairs of a key index
        and Unix seconds."""
        with self._database.transaction() as con:
            con.executemany(
                f"UPDATE erasure SET due = ?2 WHERE idx = ?1 AND state = '{DUE}'", list(moments)
            )


def _erasure(row: Iterable[object]) -> JournaledErasure:
    return from_row(JournaledErasure, _FIELDS, row)
