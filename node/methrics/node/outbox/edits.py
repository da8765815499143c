"""Tells a publisher that a person has changed what waits, by a number in the outbox's file."""

from __future__ import annotations

import sqlite3


def note_edit(con: sqlite3.Connection) -> None:
    """Makes earlier tokens of `Journal.pending` invalid. Call this in each transaction by which a
    person deletes or stops rows or reports, so that a publisher reads the pending rows again."""
    con.execute(
        "INSERT INTO meta VALUES ('edits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )
