"""Counts refused items in the table `refusal`, by day and reason, with one sample each.

Only what breaks the wire rules has a sample: whatever else is refused may be some person's valid
report, which has no place here. But somebody may have damaged such a report. So no sample is kept
for long, or after its signer has asked for an erasure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from methrics.aggregate.store.duck import Connection
from methrics.schema.wire.verdict import Decision, Reason

SAMPLE_MAX = 256
"""Number of bytes that are kept of a sample, enough to recognise the item."""

SAMPLE_DAYS = 30
"""Days after which a sample is deleted. The counts stay."""


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
            kept = sample[:SAMPLE_MAX] if reason.decision is Decision.REJECT else b""
            con.execute(
                f"INSERT INTO refusal VALUES ({date}, ?, ?, ?)", [reason.value, count, kept]
            )
    return sum(count for count, _ in refused.values())


def drop_samples(con: Connection, day: int) -> int:
    """Delete the samples that are too old on `day` (since 1970-01-01); return their number."""
    date = f"DATE '1970-01-01' + {day - SAMPLE_DAYS}"
    return _empty(con, f"day < {date}")


def drop_samples_of(con: Connection, keys: Iterable[bytes]) -> int:
    """Delete the samples in which one of `keys` stands; return their number."""
    keys = list(keys)
    some = "list_bool_or([contains(hex(sample), hex(key)) for key in ?::BLOB[]])"
    return _empty(con, some, [keys]) if keys else 0


def _empty(con: Connection, which: str, parameters: Sequence[object] = ()) -> int:
    row = con.execute(
        f"UPDATE refusal SET sample = ''::BLOB WHERE sample <> ''::BLOB AND {which}",
        list(parameters),
    ).fetchone()
    return row[0] if row else 0
