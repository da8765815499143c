"""Notes that rows were deleted from the file, whose bytes stay in it until it is rewritten."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.aggregate.store.duck import Connection, moment


@dataclass(frozen=True, slots=True)
class Wasted:
    """The bytes of how many deleted rows are still in the file, and since when (Unix seconds)."""

    rows: int
    since: int

    def is_due(self, now: int, within: float, rows: int) -> bool:
        """Whether the file is to be rewritten at `now`, so that the bytes are gone `within` so many
        seconds of their deletion.

        Half of that time is left for the work, and for further deletions to come together. It is
        also due if at least as many rows were deleted as the file has: `rows`. A `since` in the
        future comes from a clock that was set back.
        """
        waited = now - self.since
        return waited < 0 or waited * 2 >= within or self.rows >= max(rows, ROWS_LEAST)


ROWS_LEAST = 100_000
"""Number of deleted rows, 40 MB, below which the file is not rewritten just to save disk."""


class Waste:
    """Maintains the table `waste`, on the writer's connection and in its transactions."""

    def __init__(self, con: Connection) -> None:
        self._con = con

    def add(self, rows: int, now: int) -> None:
        """Note that `rows` rows are deleted in this transaction, at the time `now`."""
        if rows:
            self._con.execute(
                f"INSERT INTO waste SELECT coalesce(max(n), 0) + 1, {moment(now)}, ? FROM waste",
                [rows],
            )


def wasted(con: Connection) -> Wasted | None:
    """Return what the file, as `con` sees it, has of deleted rows; None if nothing."""
    rows, since = con.execute(
        "SELECT sum(rows)::BIGINT, epoch(min(since))::BIGINT FROM waste"
    ).fetchall()[0]
    return None if rows is None else Wasted(rows, since)
