"""Reads from a data set what it keeps of each event type, and what is over."""

from __future__ import annotations

from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.store.duck import moment
from methrics.aggregate.store.retention import Held, Kept, plan
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.limits import DAY

_DAY = "date_diff('day', DATE '1970-01-01', i.time::DATE)"
_JOINED = (
    "FROM item i JOIN declaration d ON d.catalog = i.catalog AND d.type = i.type "
    f"JOIN type t ON t.n = i.type WHERE i.kind = {int(Kind.REPORT)}"
)


def retention(dataset: Dataset, now: int) -> list[Kept]:
    """Say of each event type in `dataset` what is kept at `now` (Unix seconds), and what is over.

    Raises StoreError.
    """
    query = f"SELECT t.schema, t.name, d.retention, {_DAY}, count(*) {_JOINED} GROUP BY ALL"
    return plan([Held(*row) for row in dataset.rows(query)], now)


def size_over(dataset: Dataset, kept: list[Kept], now: int) -> int:
    """Return the size in bytes of the signed bytes that are over, according to `kept` at `now`.

    Only days on which something is over are read. Raises StoreError.
    """
    last = max((day for one in kept for day, _ in one.over), default=None)
    if last is None:
        return 0
    over = f"i.time < {moment((last + 1) * DAY)} AND {_DAY} < {now // DAY} - d.retention"
    size: int = dataset.rows(f"SELECT sum(octet_length(i.raw))::BIGINT {_JOINED} AND {over}")[0][0]
    return size
