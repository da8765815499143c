"""What the file remembers of this machine's clock: the table `clock`, of one row at most."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.aggregate.store.duck import Connection, moment


@dataclass(frozen=True, slots=True)
class ClockNotes:
    """Times are in Unix seconds by this machine's clock; 0 means never."""

    believed: int = 0
    """When the clock was last believed."""
    looked: int = 0
    """When it was last looked at."""
    doubted: int = 0
    """For how many seconds an aggregator has run with a clock that it doubts."""


def read_notes(con: Connection) -> ClockNotes:
    """Return what the file remembers."""
    times = ", ".join(f"coalesce(epoch({one}), 0)::BIGINT" for one in ("believed", "looked"))
    rows = con.execute(f"SELECT {times}, doubted FROM clock").fetchall()
    return ClockNotes(*rows[0]) if rows else ClockNotes()


def write_notes(con: Connection, notes: ClockNotes) -> None:
    """Replace what the file remembers, in the caller's transaction."""
    times = ", ".join(moment(time) if time else "NULL" for time in (notes.believed, notes.looked))
    con.execute("DELETE FROM clock")
    con.execute(f"INSERT INTO clock VALUES ({times}, ?)", [notes.doubted])


def newest_day(con: Connection) -> int | None:
    """Return the newest day (since 1970-01-01) that has a report; None without reports."""
    rows = con.execute(
        "SELECT max(date_diff('day', DATE '1970-01-01', day)) FROM digest"
    ).fetchall()
    return None if rows[0][0] is None else int(rows[0][0])
