"""The three verdicts on an item and the stable reason codes (SPEC.md section "Verdicts").

REJECT is for what no honest node would send: it costs the forwarder score.
IGNORE is for what honest nodes may send at the wrong time or twice: it is dropped, free of charge.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Decision(IntEnum):
    """What to do with an item or a bundle."""

    ACCEPT = 0
    IGNORE = 1
    REJECT = 2


class Reason(StrEnum):
    """Why. The values are stable: they stand in tables, vectors, logs and replies."""

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
    ERASED = "erased"
    WRONG_KEY = "wrong-key"
    REVOKED = "revoked"
    EXPIRED = "expired"
    QUOTA = "quota"

    @property
    def decision(self) -> Decision:
        """The verdict that this reason stands for."""
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
        Reason.ERASED,
        Reason.WRONG_KEY,
        Reason.REVOKED,
        Reason.EXPIRED,
        Reason.QUOTA,
    }
)
