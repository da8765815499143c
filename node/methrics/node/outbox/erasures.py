"""The erasures of one outbox: journaled before they leave, and what became of each.

Beside the journal, in the same file. One transaction either journals an erasure and stops its
report, or does nothing: a kill -9 leaves one or the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from methrics.node.outbox.journal import ACKNOWLEDGED, DUE, STRUCK, Journal, note_edit
from methrics.schema.errors import LocalError


class Signed(NamedTuple):
    """An erasure that was made, not yet journaled: of the report with that key index, the exact
    bytes, and when it may leave (unix seconds)."""

    key_index: int
    raw: bytes
    due: int


class Asked(NamedTuple):
    """A journaled erasure of the report with that key index. `due`, `made`: unix seconds; `route`:
    by which it may leave or has left; `state`: due, acknowledged, or struck (nobody takes it)."""

    key_index: int
    raw: bytes
    made: int
    due: int
    route: str
    state: str
    attempts: int


class Outcome(NamedTuple):
    """What a request did: erasures journaled; reports and waiting rows that will now never leave;
    reports whose erasure was asked for before."""

    journaled: int
    dropped: int
    already: int


_ASKED = "idx, raw, made, due, route, state, attempts"
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
                "without them nobody can erase the reports",
            )
        return bytes(rows[0][0])

    def request(self, signed: Sequence[Signed], now: int) -> Outcome:
        """Journals the erasures of reports that may have left, and drops those that never did.

        Which of the two is decided here, in one transaction with the publisher's own marks.
        """
        journaled = dropped = already = 0
        with self._database.transaction() as con:
            note_edit(con)
            for one in signed:
                key = (one.key_index,)
                if con.execute(
                    "DELETE FROM report WHERE idx = ? AND attempts = 0 "
                    f"AND state IN ('{DUE}', '{STRUCK}')",
                    key,
                ).rowcount:
                    dropped += 1
                    continue
                done = con.execute(
                    f"INSERT INTO erasure ({_ASKED}) "
                    f"SELECT ?, ?, ?, ?, route, '{DUE}', 0 FROM report WHERE idx = ? "
                    "ON CONFLICT (idx) DO NOTHING",
                    (one.key_index, one.raw, now, one.due, one.key_index),
                ).rowcount
                journaled += done
                already += 1 - done
                con.execute(
                    f"UPDATE report SET state = '{STRUCK}' WHERE idx = ? AND state = '{DUE}'", key
                )
        return Outcome(journaled, dropped, already)

    def ask_again(self, moments: Iterable[tuple[int, int]]) -> int:
        """Lets erasures leave once more, byte for byte, for somebody who missed them. `moments`:
        (key index, unix seconds). Returns how many will."""
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
        """Drops what was recorded and is not yet a report, of one type or of all."""
        with self._database.transaction() as con:
            note_edit(con)
            return sum(
                con.execute(
                    f"DELETE FROM {table} WHERE ?1 IS NULL OR type = ?1", (type_name,)
                ).rowcount
                for table in _WAITING
            )

    def due(self, now: int, routes: Collection[str]) -> list[Asked]:
        """Those to be sent at `now`, of reports that left by one of `routes`; earliest first."""
        rows = self._database.rows(
            f"SELECT {_ASKED} FROM erasure WHERE state = '{DUE}' AND due <= ? ORDER BY due, idx",
            (now,),
        )
        return [one for one in map(Asked._make, rows) if one.route in routes]

    def all(self) -> dict[int, Asked]:
        """Every erasure, by the key index of its report."""
        rows = self._database.rows(f"SELECT {_ASKED} FROM erasure")
        return {row[0]: Asked(*row) for row in rows}

    def attempt(self, index: int) -> bool:
        """Counts an attempt before it is made; False if the erasure is not due any more."""
        return bool(
            self._database.execute(
                f"UPDATE erasure SET attempts = attempts + 1 WHERE idx = ? AND state = '{DUE}'",
                (index,),
            )
        )

    def mark(self, index: int, state: str, route: str | None = None) -> None:
        """Sets what became of one: acknowledged or struck, and by which route."""
        with self._database.transaction() as con:
            con.execute(
                "UPDATE erasure SET state = ?, route = coalesce(?, route) WHERE idx = ?",
                (state, route, index),
            )
            # A receipt that is no longer kept needs no erasure that has left.
            con.execute(
                f"DELETE FROM erasure WHERE state != '{DUE}' AND idx != ? "
                "AND NOT EXISTS (SELECT 1 FROM report WHERE report.idx = erasure.idx)",
                (index,),
            )

    def postpone(self, moments: Iterable[tuple[int, int]]) -> None:
        """Moves erasures that did not leave: (key index, unix seconds)."""
        with self._database.transaction() as con:
            con.executemany(
                f"UPDATE erasure SET due = ?2 WHERE idx = ?1 AND state = '{DUE}'", list(moments)
            )


def state_words(asked: Asked) -> str:
    """What became of an erasure, in words."""
    if asked.state == ACKNOWLEDGED:
        return f"erasure left by {asked.route}"
    if asked.state == STRUCK:
        return "erasure refused by everybody"
    return "erasure waits to leave" if not asked.attempts else "erasure tried, tried again"
