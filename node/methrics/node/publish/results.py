"""What one pass of the publisher did, as counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median_low

from methrics.node.outbox.rows import Receipt
from methrics.schema.errors import MethricsError


@dataclass(slots=True)
class PassResult:
    """Counts of one pass, without the content of any report, and the reports acknowledged in it."""

    made: int = 0
    acknowledged: int = 0
    postponed: Counter[str] = field(default_factory=Counter)
    """Reports and erasures that are tried again later, by reason."""
    struck: Counter[str] = field(default_factory=Counter)
    """Reports and erasures that were given up, by reason."""
    handed: int = 0
    """Reports and erasures that an entry has taken, and whose answers come at later visits."""
    erased: int = 0
    """Erasures acknowledged."""
    visited: bool | None = None
    """Whether an entry took the boxes of this pass; None if no visit was to be made."""
    again: int = 0
    """Seconds after which an entry that did not take them wants to be visited again."""
    waiting: Counter[str] = field(default_factory=Counter)
    """Due reports that may not leave by the record of their namespace, by reason (standing.py)."""
    note: str = ""
    """What a person should know about that record, "" if two relays agree on it."""
    way: str = ""
    """What a person should know about the way of the reports, "" if two operators share it."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows of which no report was made, by reason."""
    unusable: dict[str, str] = field(default_factory=dict)
    """The relays or peers that could not be used, by address: why, in words."""
    failed: MethricsError | None = None
    """The error that ended the pass early, if there was one."""
    sent: list[Receipt] = field(default_factory=list)
    """The reports acknowledged in this pass, so that they can be shown to their owner."""
    offsets: list[int] = field(default_factory=list)
    """How many seconds this machine's clock is ahead of each relay's; negative if it is behind."""

    @property
    def clock_ahead(self) -> int:
        """The median of `offsets`, 0 if no relay told its time."""
        return median_low(self.offsets) if self.offsets else 0
