"""Reads other public traces of the same person from a CSV file.

The columns are `time` (ISO 8601, in UTC unless a zone is given, or Unix seconds) and `label` (an
account or address of the person). Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

from methrics.schema.errors import ConfigError

SIZE_MAX = 64 * 1024 * 1024
"""Most bytes of a file of traces."""

LABEL_MAX = 80
"""Characters of a label that are kept."""

_LATEST = 253_402_300_800
"""The start of the year 10000 (Unix seconds)."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Trace:
    """A public event at `time` (Unix seconds) under a `label`."""

    time: int
    label: str


def read_traces(data: bytes) -> list[Trace]:
    """Returns the traces in the bytes of a CSV file, oldest first.

    Raises ConfigError `traces`, which names the faulty line.
    """
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
            found.append(Trace(time=time, label=_label(row[label_at])))
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
