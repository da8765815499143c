"""The rows of an outbox as values: pending rows, receipts, and the pace of each event type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

Row = TypeVar("Row")

DUE, ACKNOWLEDGED, STRUCK = "due", "acknowledged", "struck"
"""States of a report: to be sent; taken by a relay or peer; never to be sent, or not again."""

NEVER_LEFT = f"(attempts = 0 AND state IN ('{DUE}', '{STRUCK}'))"
"""SQL condition on a row of `report`: the report cannot have left. `Receipt.may_have_left` is its
opposite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A recorded row of which no report was made yet.

    `table`: event, counter or state. `n`: the row's number in its table. `catalog`: see
    `catalog_number`. `time` and `due`: unix seconds. `fields` and `steps`: CBOR. `total`: the sum
    of a counter, None in other tables. `period`: see `flags.period`, 0 in other tables than state.
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
    """Rows that may become reports, and the `token` with which `Journal.journal` finds out whether
    a person changed what is to leave since the rows were read."""

    rows: list[Pending]
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A report in the journal: the exact bytes that leave, and what became of them.

    `key_index` is the index from which the report's key is derived. `id` has 32 bytes. `time` is
    the time in the report, `made` when the report was made, `due` when it may leave (unix seconds).
    `attempts`: how often a pass began to send it.
    """

    key_index: int
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

    @property
    def may_have_left(self) -> bool:
        """Whether anybody else can have the report: a relay took it, or sending it was tried."""
        return self.attempts > 0 or self.state == ACKNOWLEDGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is kept of one event type between two reports. Times are unix seconds.

    `last`: the time of the last report (0: none yet). `next`: the earliest moment for the next one.
    For types with milestones: `first_day` is when the day of the first report began. After the last
    milestone only `first_week` is kept, when the ISO week of that day began.
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
    """All that is to leave, read in one moment.

    `due`: journaled reports that did not leave, however far ahead their due time is. `waiting`:
    rows of which no report was made yet. `seed` and `install_week` are None before the first
    report. `erasures`: when the journaled erasures are due (unix seconds).
    """

    due: list[Receipt]
    waiting: list[Pending]
    paces: dict[str, Pace]
    seed: bytes | None = None
    next_index: int = 0
    install_week: int | None = None
    erasures: list[int]


def from_row(model: type[Row], names: Iterable[str], row: Iterable[object]) -> Row:
    """The `model` whose fields `names` have the values of an SQL row, in the same order."""
    return model(**dict(zip(names, row, strict=True)))
