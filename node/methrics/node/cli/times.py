"""Moments on the command line: an option whose value is one, and one for a person to read."""

from __future__ import annotations

from datetime import UTC, datetime

from methrics.node.cli.typed import Typed


def read_moment(text: str) -> int:
    """Returns the Unix seconds of a date, or a date and a time, in ISO 8601. Without a time zone,
    it is UTC.

    Raises ValueError with a sentence for the person.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as 2026-12-01 or 2026-12-01T08:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment.timestamp() < 0:
        raise ValueError(f"{text!r} is before 1970")
    return int(moment.timestamp())


MOMENT = Typed("time", int, read_moment)
"""The type of an option whose value is a moment."""


def utc_text(iso: str) -> str:
    """A moment in ISO 8601 as a person reads it: `2026-11-30 00:50:31 UTC`. Another text is
    returned as it is."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
