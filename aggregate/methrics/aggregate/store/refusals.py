"""Counts refused items in the table `refusal`, by day and reason, with one sample each."""

from __future__ import annotations

from collections.abc import Mapping

from methrics.aggregate.store.duck import Connection
from methrics.schema.wire.verdict import Reason

SAMPLE_MAX = 256
"""Number of bytes that are kept of a sample, enough to recognise the item."""


def count_refusals(con: Connection, day: int, refused: Mapping[Reason, tuple[int, bytes]]) -> int:
    """Add `refused` to the counts of `day` (since 1970-01-01), in the caller's transaction.

    `refused` maps a reason to (number of items, bytes of one of them). Returns the sum of the
    numbers.
    """
    date = f"DATE '1970-01-01' + {day}"
    for reason, (count, sample) in refused.items():
        known = con.execute(
            f"UPDATE refusal SET count = count + ? WHERE day = {date} AND reason = ?",
            [count, reason.value],
        ).fetchone()
        if known == (0,):
            con.execute(
                f"INSERT INTO refusal VALUES ({date}, ?, ?, ?)",
                [reason.value, count, sample[:SAMPLE_MAX]],
            )
    return sum(count for count, _ in refused.values())
