"""The rows of an outbox as values: pending rows, receipts, and the pace of each event type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from methrics.schema.wire.limits import PERIOD_MAX

Row = TypeVar("Row")

DUE, ACKNOWLEDGED, STRUCK = "due", "acknowledged", "struck"
"""States of a report. DUE: it is to be sent. ACKNOWLEDGED: a relay or peer accepted it. STRUCK: it
is not sent, or not sent again."""

NEVER_LEFT = f"(attempts = 0 AND state IN ('{DUE}', '{STRUCK}'))"
"""SQL condition on a row of `report`: the report cannot have left this machine. It is the opposite
of `Receipt.may_have_left`."""


CLOCK_SLACK = 86_400
"""A time of the past that was stored as more than this many seconds after now was stored while the
clock was ahead. The times that were drawn with it are not waited for."""

CLOCK_FLOOR = 1_735_689_600
"""2025-01-01, in Unix seconds: before this software existed. A clock that is earlier has lost its
battery and was not set since, so no report is made and nothing is repaired."""

INSTALL_SLACK = 35 * 86_400
"""Seconds by which the week of installation may be later than a row: more than the age of any row,
because rows may be reported that are older than the first report."""

POSTPONED_MAX = 86_400
"""Most seconds by which a failed attempt to send a report postpones it."""

HANDED_TIME = 3 * 86_400
"""Seconds for which the answer to a report or erasure is awaited that was handed to an entry. Then
it is due again. A due time of a report further in the future was stored while the clock was
ahead."""

VISIT_MAX = 12 * 3600
"""Most seconds from one visit to the next. A stored time of the next visit further in the future
was drawn while the clock was ahead."""

ERASURE_MAX = 150 * 86_400
"""Most seconds until a requested erasure is due. The erasures of all receipts that an outbox keeps
are spread over 125 days."""

PACE_MAX = 3 * PERIOD_MAX
"""Most seconds from one report of a type to the next: the longest interval, jitter and slack that a
catalog may declare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A recorded row of which no report was made yet.

    `table`: event, counter or state. `n`: the row's number in its table. `catalog`: the
    `catalog_number`. `time`: when it happened; `due`: the earliest time for its report (Unix
    seconds). `fields` and `steps`: CBOR. `total`: the sum of a counter, None in other tables.
    `period`: see `flags.period`, 0 in other tables than state.
    """

    table: str
    n: int
    catalog: int
    type: str
    time: int
    due: int
    one_in: int
    fields: bytes
    steps: bytes | None = None
    total: int | None = None
    period: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRows:
    """Rows that may become reports now. `token` is passed to `Journal.journal`, which refuses it if
    the person has deleted or stopped anything since the rows were read."""

    rows: list[Pending]
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A report in the journal: the exact bytes that are sent, and whether they were sent.

    `key_index` and `salt` (16 bytes, empty in an old receipt): the report's key is derived from
    them and the seed. `id`: 32 bytes. `time`: the time
    in the report; `made`: when the report was made; `due`: the earliest time at which it may be
    sent (Unix seconds). `attempts`: in how many passes its bytes left, or
    began to.
    """

    key_index: int
    salt: bytes
    id: bytes
    raw: bytes
    catalog: int
    type: str
    time: int
    made: int
    due: int
    route: str
    state: str = DUE
    attempts: int = 0

    def due_at(self, now: int) -> int:
        """Returns `due`, or the report's own time if that is later (no receiver accepts it before)
        or if `due` was stored while the clock was ahead."""
        return self.time if self.due > now + HANDED_TIME else max(self.due, self.time)

    @property
    def may_have_left(self) -> bool:
        """Whether anybody else can have the report: a relay accepted it, or sending it was
        tried."""
        return self.attempts > 0 or self.state == ACKNOWLEDGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The times that the node stores for one event type between two reports (Unix seconds).

    `last`: the time of the last report, 0 before the first. `next`: the earliest time at which the
    next report may be made. Types with milestones also have `first_day`, the start of the day of
    their first report. After the last milestone, `first_week`, the start of the ISO week of that
    day, replaces `first_day`.
    """

    type: str
    last: int = 0
    next: int = 0
    first_day: int | None = None
    first_week: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The secret of one installation: the 32-byte seed of its keys, the first key index that is not
    used yet, and when the ISO week of the installation began (unix seconds)."""

    seed: bytes
    next_index: int
    install_week: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All unsent reports, waiting rows and due erasures, read in one transaction.

    `due`: journaled reports that were not sent, also those whose due time is in the future.
    `waiting`: rows of which no report was made yet. `seed` and `install_week` are None before the
    first report. `erasures`: the due times of the unsent erasures (Unix seconds).
    """

    due: list[Receipt]
    waiting: list[Pending]
    paces: dict[str, Pace]
    seed: bytes | None = None
    next_index: int = 0
    install_week: int | None = None
    erasures: list[int]


def from_row(model: type[Row], names: Iterable[str], row: Iterable[object]) -> Row:
    """Returns an instance of the class `model`, with the values of an SQL row for its fields
    `names`, in the same order."""
    return model(**dict(zip(names, row, strict=True)))
