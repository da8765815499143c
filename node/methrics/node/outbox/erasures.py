"""The erasures in an outbox: journaled before they leave, and what became of each.

They stand in the journal's file. One transaction journals an erasure and stops its report, so a
process that is killed leaves both done or neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from methrics.node.outbox.journal import Journal, note_edit
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, NEVER_LEFT, STRUCK, from_row
from methrics.schema.errors import LocalError


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedErasure:
    """A signed erasure that is not journaled yet. `key_index` is that of its report, `raw` its
    exact bytes, `due` when it may leave (unix seconds)."""

    key_index: int
    raw: bytes
    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournaledErasure:
    """An erasure in the journal.

    `key_index` is that of its report. `made` and `due`: unix seconds. `route`: by which it may
    leave or has left. `state`: due, acknowledged, or struck (every relay refused it).
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
        """What became of the erasure, for a person."""
        if self.state == ACKNOWLEDGED:
            return f"erasure left by {self.route}"
        if self.state == STRUCK:
            return "erasure refused by every relay"
        return "erasure tried, will be tried again" if self.attempts else "erasure waits to leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCounts:
    """The result of a request. `journaled`: erasures that will leave. `dropped`: reports deleted
    here, which never left. `already`: reports whose erasure was requested before."""

    journaled: int = 0
    dropped: int = 0
    already: int = 0


_COLUMNS = "idx, raw, made, due, route, state, attempts"
_FIELDS = ("key_index", "raw", "made", "due", "route", "state", "attempts")
_WAITING = ("event", "counter", "state")


class Erasures:
    """The erasures in a journal's file. Every method raises StoreError as the journal does."""

    def __init__(self, journal: Journal) -> None:
        self._database = journal.database

    def seed_of(self, index: int) -> bytes:
        """The 32-byte seed that the key with this index derives from, even before a `reset`.

        Raises LocalError `no-seed` if it was burned.
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

    def request(self, signed: Sequence[SignedErasure], now: int) -> ErasureCounts:
        """Journals the erasures of reports that may have left, and deletes reports that never left.

        Whether a report may have left is looked up in the same transaction, so a publisher that is
        sending at this moment cannot come between.
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
        """Lets erasures leave once more, byte for byte, for an aggregator that missed them.

        `moments`: pairs of a key index and the unix seconds at which its erasure is due. Returns
        how many erasures will leave again.
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

    def forget_waiting(self, type_name: str | None = None) -> int:
        """Deletes recorded rows of which no report was made yet, of one type or of all. Returns how
        many."""
        with self._database.transaction() as con:
            note_edit(con)
            return sum(
                con.execute(
                    f"DELETE FROM {table} WHERE ?1 IS NULL OR type = ?1", (type_name,)
                ).rowcount
                for table in _WAITING
            )

    def due(self, now: int, routes: Collection[str]) -> list[JournaledErasure]:
        """Erasures to be sent at `now` whose report left by one of `routes`, earliest first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM erasure WHERE state = '{DUE}' AND due <= ? ORDER BY due, idx",
            (now,),
        )
        return [one for one in map(_erasure, rows) if one.route in routes]

    def all(self) -> dict[int, JournaledErasure]:
        """Every erasure, by the key index of its report."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM erasure")
        return {row[0]: _erasure(row) for row in rows}

    def attempt(self, index: int) -> bool:
        """Counts an attempt before it is made. False if the erasure is not due any more."""
        return bool(
            self._database.execute(
                f"UPDATE erasure SET attempts = attempts + 1 WHERE idx = ? AND state = '{DUE}'",
                (index,),
            )
        )

    def mark(self, index: int, state: str, route: str | None = None) -> None:
        """Sets the state of one erasure, acknowledged or struck, and the route that it took."""
        with self._database.transaction() as con:
            con.execute(
                "UPDATE erasure SET state = ?, route = coalesce(?, route) WHERE idx = ?",
                (state, route, index),
            )
            # An erasure that left is of no use once the receipt of its report is gone.
            con.execute(
                f"DELETE FROM erasure WHERE state != '{DUE}' AND idx != ? "
                "AND NOT EXISTS (SELECT 1 FROM report WHERE report.idx = erasure.idx)",
                (index,),
            )

    def postpone(self, moments: Iterable[tuple[int, int]]) -> None:
        """Sets new due times of erasures that did not leave: pairs of a key index and unix
        seconds."""
        with self._database.transaction() as con:
            con.executemany(
                f"UPDATE erasure SET due = ?2 WHERE idx = ?1 AND state = '{DUE}'", list(moments)
            )


def _erasure(row: Iterable[object]) -> JournaledErasure:
    return from_row(JournaledErasure, _FIELDS, row)
