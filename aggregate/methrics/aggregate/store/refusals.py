"""The table `refusal`: how many items were refused on each day, by reason, with one sample."""

from __future__ import annotations

from collections.abc import Mapping

from methrics.aggregate.store.duck import Connection
from methrics.schema.wire.verdict import Reason

SAMPLE_MAX = 256
"""Bytes kept of the sample: enough to recognise the item."""


def count_refusals(con: Connection, day: int, refused: Mapping[Reason, tuple[int, bytes]]) -> int:
    """Add reason -> (how many, one of them) to `day` (since 1970-01-01), in one transaction.

    Returns how many there were in all.
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
