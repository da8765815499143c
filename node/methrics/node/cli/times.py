"""Moments on the command line: an option whose value is one, and one for a person to read."""

from __future__ import annotations

from datetime import UTC, datetime

import click


class Moment(click.ParamType[int]):
    """The type of an option whose value is a date, or a date and a time, in ISO 8601. Without a
    time zone, it is UTC."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Returns the Unix seconds. Fails with one sentence if the value is not such a moment."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-12-01 or 2026-12-01T08:00", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if moment.timestamp() < 0:
            self.fail(f"{value!r} is before 1970", param, ctx)
        return int(moment.timestamp())


def utc_text(iso: str) -> str:
    """A moment in ISO 8601 as a person reads it: `2026-11-30 00:50:31 UTC`. Another text is
    returned as it is."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
