"""Starts anew on this machine with a new seed and a new installation week (MARS-7).

`renew` keeps the receipts and the old seed, so that old reports can still be found and erased.
`burn` destroys both: afterwards this machine does not know either which reports were its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from methrics.node.outbox.journal import Journal, note_edit
from methrics.node.outbox.rows import NEVER_LEFT
from methrics.schema.errors import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Burned:
    """What was destroyed. `receipts`: of reports that may have left. `unsent`: reports that will
    now never leave. `erasures`: erasures that will now never leave."""

    receipts: int
    unsent: int
    erasures: int


def renew(journal: Journal) -> None:
    """Makes the next report come from a new seed and a new installation week.

    Flags and milestones start again, so the next report of a type is the first of its day, week and
    month. The release schedule stays, so nothing leaves sooner. Pending rows become reports of the
    new seed. Raises StoreError.
    """
    with journal.database.transaction() as con:
        note_edit(con)
        con.execute(
            "INSERT OR IGNORE INTO old_seed (below, seed) SELECT n.value, s.value FROM meta n, "
            "meta s WHERE n.name = 'next_index' AND s.name = 'seed' AND n.value > "
            "(SELECT coalesce(max(below), 0) FROM old_seed)"
        )
        # An old seed is of use only while one of its receipts is kept.
        con.execute(
            "DELETE FROM old_seed WHERE below <= coalesce((SELECT min(idx) FROM report), 1 << 62)"
        )
        con.execute("DELETE FROM meta WHERE name IN ('seed', 'install_week')")
        con.execute("UPDATE pace SET last = 0, first_day = NULL, first_week = NULL")


def to_burn(journal: Journal) -> Burned:
    """What `burn` would destroy. Changes nothing."""
    ((receipts, unsent),) = journal.database.rows(
        f"SELECT count(*) FILTER (WHERE NOT {NEVER_LEFT}), "
        f"count(*) FILTER (WHERE {NEVER_LEFT} AND state = 'due') FROM report"
    )
    ((erasures,),) = journal.database.rows("SELECT count(*) FROM erasure WHERE state = 'due'")
    return Burned(receipts=receipts, unsent=unsent, erasures=erasures)


def burn(journal: Journal) -> Burned:
    """Does what `renew` does, and destroys every receipt, seed and erasure, in the file and beside
    it.

    Pending rows stay. Raises StoreError `outbox-busy` if another program keeps reading the file:
    then the old bytes may still be in its log, so call this again.
    """
    found = to_burn(journal)
    with journal.database.transaction() as con:
        note_edit(con)
        for table in ("report", "erasure", "old_seed"):
            con.execute(f"DELETE FROM {table}")
        # The next index stays, so that a running publisher never takes a new report for an old one.
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
