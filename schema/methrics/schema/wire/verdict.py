"""The three verdicts on an item and the stable reason codes (SPEC.md section "Verdicts").

REJECT: no honest node would send this item; the node that forwarded it loses peer score.
IGNORE: an honest node may send this item, for example too late or twice; it is dropped, and no node
loses peer score.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Decision(IntEnum):
    """The decision on an item or a bundle: accept, ignore or reject."""

    ACCEPT = 0
    IGNORE = 1
    REJECT = 2


class Reason(StrEnum):
    """The reason of a verdict. Values are stable: tables, vectors, logs and replies use them."""

    OK = "ok"

    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    BAD_KEY = "bad-key"
    FORGED = "forged"
    OFF_SCHEMA = "off-schema"
    EMPTY = "empty"
    UNROUNDED = "unrounded"
    NO_WORK = "no-work"
    FOREIGN = "foreign"

    DUPLICATE = "duplicate"
    EARLY = "early"
    LATE = "late"
    UNKNOWN_KIND = "unknown-kind"
    UNKNOWN_CATALOG = "unknown-catalog"
    UNLISTED = "unlisted"
    ERASED = "erased"
    REVOKED = "revoked"
    EXPIRED = "expired"
    RETENTION = "retention"
    QUOTA = "quota"

    @property
    def decision(self) -> Decision:
        """The decision that follows from this reason."""
        if self is Reason.OK:
            return Decision.ACCEPT
        return Decision.IGNORE if self in _IGNORED else Decision.REJECT


_IGNORED = frozenset(
    {
        Reason.DUPLICATE,
        Reason.EARLY,
        Reason.LATE,
        Reason.UNKNOWN_KIND,
        Reason.UNKNOWN_CATALOG,
        Reason.UNLISTED,
        Reason.ERASED,
        Reason.REVOKED,
        Reason.EXPIRED,
        Reason.RETENTION,
        Reason.QUOTA,
    }
)
