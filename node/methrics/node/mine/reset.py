"""Replaces the seed and the installation week of an app on this machine (MARS-7).

`renew` keeps the receipts and the old seed, so that old reports can still be found and erased.
`burn` destroys both, so that even this machine does not know any more which reports were its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from methrics.node.outbox.edits import note_edit
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import NEVER_LEFT
from methrics.schema.errors import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Burned:
    """How many rows `burn` destroys. `receipts`: receipts of reports that may have left. `unsent`:
    reports that will now never be sent. `erasures`: erasures that will now never be sent."""

    receipts: int
    unsent: int
    erasures: int


def renew(journal: Journal) -> None:
    """Makes the next report use a new seed and a new installation week.

    Flags and milestones start again, so the next report of a type is the first of its day, week and
    month. The times of the release schedule stay, so no report is sent sooner. The reports of
    pending rows use the new seed. Raises StoreError.
    """
    with journal.database.transaction() as con:
        note_edit(con)
        con.execute(
            "INSERT OR IGNORE INTO old_seed (below, seed) SELECT n.value, s.value FROM meta n, "
            "meta s WHERE n.name = 'next_index' AND s.name = 'seed' AND n.value > "
            "(SELECT coalesce(max(below), 0) FROM old_seed)"
        )
        # An old seed is needed only while a receipt of one of its reports is kept.
        con.execute(
            "DELETE FROM old_seed WHERE below <= coalesce((SELECT min(idx) FROM report), 1 << 62)"
        )
        con.execute("DELETE FROM meta WHERE name IN ('seed', 'install_week')")
        con.execute("UPDATE pace SET last = 0, first_day = NULL, first_week = NULL")


def to_burn(journal: Journal) -> Burned:
    """Counts the rows that `burn` would destroy. Changes nothing."""
    ((receipts, unsent),) = journal.database.rows(
        f"SELECT count(*) FILTER (WHERE NOT {NEVER_LEFT}), "
        f"count(*) FILTER (WHERE {NEVER_LEFT} AND state = 'due') FROM report"
    )
    ((erasures,),) = journal.database.rows("SELECT count(*) FROM erasure WHERE state = 'due'")
    return Burned(receipts=receipts, unsent=unsent, erasures=erasures)


def burn(journal: Journal) -> Burned:
    """Makes the next report use a new seed and a new installation week, as `renew` does. Also
    destroys every receipt, seed and erasure, and what would open the answers to reports that were
    handed over, in the outbox and in a damaged outbox beside it.

    Pending rows stay. Raises StoreError `outbox-busy` if another process keeps using the file. Then
    the old bytes may still be in the file's log, so call this again.
    """
    found = to_burn(journal)
    with journal.database.transaction() as con:
        note_edit(con)
        for table in ("report", "erasure", "old_seed", "handed"):
            con.execute(f"DELETE FROM {table}")
        # The next key index stays. Otherwise a running publisher could mistake a new report for an
        # old one with the same index.
        con.execute("DELETE FROM meta WHERE name IN ('seed', 'install_week')")
        con.execute("UPDATE pace SET last = 0, first_day = NULL, first_week = NULL")
    journal.database.compact()
    damaged = journal.path + ".damaged"
    try:
        os.unlink(damaged)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(
            "outbox-read-only", f"cannot remove {damaged}: {error.strerror}", "remove it yourself"
        ) from error
    return found
