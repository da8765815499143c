"""Judges many items from a file, on several threads: libsodium releases Python's lock meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Refused, Verdict, judge_item
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import Report, decode_erasure, decode_report
from methrics.schema.wire.limits import EARLY_MAX
from methrics.schema.wire.record import Record
from methrics.schema.wire.signatures import count_valid
from methrics.schema.wire.verdict import Reason

TOGETHER = 64
"""Number of signatures that are checked by one call."""

THREADS = max(2, os.cpu_count() or 2)


Judged = list[tuple[Sequence[bytes], Future[list[Verdict]]]]
"""Some items at a time, and the verdicts on them when they are known."""


def begin(raws: Sequence[bytes], book: CatalogBook, now: int, pool: ThreadPoolExecutor) -> Judged:
    """Begin to judge items; `pool` does the work, while the caller does something else.

    Reports are not late, and nothing has ended by the clock. What is from the future at `now` (Unix
    seconds) is refused: whoever wrote the file may have invented its time.
    """
    parts = [raws[start : start + TOGETHER] for start in range(0, len(raws), TOGETHER)]
    return [(part, pool.submit(_judge, part, book, now)) for part in parts]


def verdicts_of(judged: Judged) -> Iterator[tuple[bytes, Verdict]]:
    """Yield each item with the verdict on it, in their order; wait for those not known yet."""
    for part, verdicts in judged:
        yield from zip(part, verdicts.result(), strict=True)


def catalog_of(raw: object) -> bytes | None:
    """Return the id of the catalog that the signed bytes of a report or an erasure name; None for
    anything else."""
    if not isinstance(raw, bytes):
        return None
    try:
        item = split(raw)
        if item.kind == Kind.REPORT:
            return decode_report(item.payload).catalog
        return decode_erasure(item.payload).catalog if item.kind == Kind.ERASURE else None
    except RefusedError:
        return None


def _judge(raws: Sequence[bytes], book: CatalogBook, now: int) -> list[Verdict]:
    items = [_split(raw) for raw in raws]
    valid = count_valid([item for item in items if isinstance(item, Item)])
    found: list[Verdict] = []
    for item in items:
        if isinstance(item, Refused):
            found.append(item)
            continue
        verdict = judge_item(item, book, now, live=False, verified=valid > 0)
        valid -= 1
        found.append(_in_time(verdict, now))
    return found


def _split(raw: bytes) -> Item | Refused:
    try:
        return split(raw)
    except RefusedError as error:
        return Refused(Reason(error.code))


def _in_time(verdict: Verdict, now: int) -> Verdict:
    timed = isinstance(verdict, Accepted) and isinstance(verdict.body, Report | Record)
    if timed and verdict.body.time > now + EARLY_MAX:  # type: ignore[union-attr]
        return Refused(Reason.EARLY, verdict.item)
    return verdict
