"""Other public traces of the same person, from a CSV file: things with a time and a label.

Columns `time` (ISO 8601, UTC unless it says otherwise, or unix seconds) and `label` (whose trace it
is: an account, an address); further columns are left alone.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from methrics.schema.errors import ConfigError

SIZE_MAX = 64 * 1024 * 1024
"""Bytes of a file of traces that is read."""

LABEL_MAX = 80
"""Characters of a label that are kept."""

_LATEST = 253_402_300_800
"""The year 10000, in unix seconds."""


class Trace(NamedTuple):
    """Something public that happened at `time` (unix seconds)."""

    time: int
    label: str


def read_traces(data: bytes) -> list[Trace]:
    """The traces in a CSV file's bytes, oldest first. ConfigError `traces`, naming the line."""
    if len(data) > SIZE_MAX:
        raise _wrong(f"the file is larger than {SIZE_MAX:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong("the file is not UTF-8 text") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    found = []
    try:
        head = [name.strip().lower() for name in next(rows, [])]
        if "time" not in head or "label" not in head:
            raise _wrong("the first line does not name the columns time and label")
        time_at, label_at = head.index("time"), head.index("label")
        for row in rows:
            if not row:
                continue
            if len(row) <= max(time_at, label_at):
                raise _wrong(f"line {rows.line_num} has {len(row)} of {len(head)} columns")
            time = _time(row[time_at].strip(), rows.line_num)
            found.append(Trace(time, _label(row[label_at])))
    except csv.Error as error:
        raise _wrong(f"line {rows.line_num}: {error}") from None
    return sorted(found)


def _label(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:LABEL_MAX] or "(no label)"


def _time(text: str, line: int) -> int:
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
            number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            number = -1.0
    if not (isfinite(number) and 0 <= number < _LATEST):
        raise _wrong(f"line {line}: {text[:40]!r} is neither an ISO 8601 time nor unix seconds")
    return int(number)


def _wrong(what: str) -> ConfigError:
    return ConfigError(
        "traces", f"the traces cannot be read: {what}", "give a CSV file with columns time,label"
    )
