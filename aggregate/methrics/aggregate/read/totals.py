"""Known totals: numbers of installs from another source, which views compare with the counts.

One CSV file contains them:

    day,field,value,installs
    2026-07-01,,,5200
    2026-07-01,os,linux,1900

`field` and `value` are empty if the total is that of the whole day.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from methrics.aggregate.store.duck import Connection
from methrics.schema.errors import LocalError

FLOOR = 10
"""Views round counts down to a multiple of this number, and omit smaller groups (MARS-15)."""

COLUMNS = ("day", "field", "value", "installs")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTotal:
    """The number of installs with this value of a field on a UTC day.

    If `field` and `value` are empty, it is the number of all installs on that day.
    """

    day: date
    field: str
    value: str
    installs: int


@dataclass(frozen=True, slots=True)
class Shows:
    """The options of the views: `floor`, and the known totals."""

    floor: int
    known: list[KnownTotal]


def read_shows(floor: int, known: Path | str | None) -> Shows:
    """Return the options of the views. Raises LocalError, codes known and floor."""
    totals = read_known_totals(known) if known is not None else []
    if not isinstance(floor, int) or floor < 1:
        raise LocalError("floor", "the floor of views is a whole number from 1 on")
    return Shows(floor, totals)


def read_known_totals(path: Path | str) -> list[KnownTotal]:
    """Read the totals in the CSV file `path`.

    Raises LocalError, code known, which names the line.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            if tuple(next(reader, ())) != COLUMNS:
                raise _error(path, 1, f"the first line should be {','.join(COLUMNS)}")
            return _rows(path, reader)
    except OSError as error:
        raise LocalError("known", f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise LocalError("known", f"{path} is not CSV in UTF-8: {error}") from error


def _rows(path: Path | str, reader: object) -> list[KnownTotal]:
    rows: dict[tuple[date, str, str], int] = {}
    for row in reader:  # type: ignore[attr-defined]
        line = reader.line_num  # type: ignore[attr-defined]
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise _error(path, line, f"{len(row)} columns instead of {len(COLUMNS)}")
        day, field, value, installs = (cell.strip() for cell in row)
        try:
            key = date.fromisoformat(day), field, value
        except ValueError:
            raise _error(path, line, f"{day!r} is not a day such as 2026-07-01") from None
        if not (installs.isascii() and installs.isdecimal() and len(installs) <= 15):
            raise _error(path, line, f"{installs!r} is not a number of installs")
        if bool(field) != bool(value):
            raise _error(path, line, "either field and value are both given, or both are empty")
        if key in rows:
            raise _error(path, line, "this day, field and value occur twice")
        rows[key] = int(installs)
    return [
        KnownTotal(day=day, field=field, value=value, installs=installs)
        for (day, field, value), installs in rows.items()
    ]


def _error(path: Path | str, line: int, text: str) -> LocalError:
    return LocalError("known", f"{path}, line {line}: {text}")


def create_known_totals(con: Connection, totals: list[KnownTotal]) -> None:
    """Create the table `known`, which the views coverage and bias read."""
    con.execute("CREATE TABLE known (day DATE, field VARCHAR, value VARCHAR, installs BIGINT)")
    if totals:
        rows = [(one.day, one.field, one.value, one.installs) for one in totals]
        columns = [list(column) for column in zip(*rows, strict=True)]
        con.execute("INSERT INTO known SELECT unnest(?), unnest(?), unnest(?), unnest(?)", columns)
