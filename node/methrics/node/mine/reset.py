"""Becoming somebody new on this machine: another seed, another installation week (MARS-7).

`renew` keeps the receipts, and the old seed with them, so that old reports can still be found and
erased. `burn` keeps nothing: afterwards not even this machine can tell which reports were its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from methrics.node.outbox.journal import Journal, note_edit
from methrics.node.outbox.rows import NEVER_LEFT
from methrics.schema.errors import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Burned:
    """What was destroyed: receipts of reports that left, reports that now never leave, erasures
    that now never leave."""

    receipts: int
    unsent: int
    erasures: int


def renew(journal: Journal) -> None:
    """The next report comes from a new seed and a new installation week.

    Flags and milestones begin anew, so that the next report is a first of its day, week, month
    and type. The schedule stays: nothing leaves sooner because of it. What waits, leaves as the new
    one.
    """
    with journal.database.transaction() as con:
        note_edit(con)
        con.execute(
            "INSERT OR IGNORE INTO old_seed (below, seed) SELECT n.value, s.value FROM meta n, "
            "meta s WHERE n.name = 'next_index' AND s.name = 'seed' AND n.value > "
            "(SELECT coalesce(max(below), 0) FROM old_seed)"
        )
        # A seed is kept for its receipts alone.
        con.execute(
            "DELETE FROM old_seed WHERE below <= coalesce((SELECT min(idx) FROM report), 1 << 62)"
        )
        con.execute("DELETE FROM meta WHERE name IN ('seed', 'install_week')")
        con.execute("UPDATE pace SET last = 0, first_day = NULL, first_week = NULL")


def to_burn(journal: Journal) -> Burned:
    """What `burn` would destroy."""
    ((receipts, unsent),) = journal.database.rows(
        f"SELECT count(*) FILTER (WHERE NOT {NEVER_LEFT}), "
        f"count(*) FILTER (WHERE {NEVER_LEFT} AND state = 'due') FROM report"
    )
    ((erasures,),) = journal.database.rows("SELECT count(*) FROM erasure WHERE state = 'due'")
    return Burned(receipts=receipts, unsent=unsent, erasures=erasures)


def burn(journal: Journal) -> Burned:
    """As `renew`, and destroys every receipt, seed and erasure, in the file and beside it.

    What was recorded and is not yet a report stays. Raises StoreError `outbox-busy` if another
    program reads the file all the time: then the old bytes may still be in its log, so try again.
    """
    found = to_burn(journal)
    with journal.database.transaction() as con:
        note_edit(con)
        for table in ("report", "erasure", "old_seed"):
            con.execute(f"DELETE FROM {table}")
        # The running index stays: a publisher at work must not mistake a new report for an old one.
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
